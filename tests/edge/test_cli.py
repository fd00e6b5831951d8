from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from sparsight.wire import Telemetry

from .capture.films import write_film
from .capture.servers import CameraServer
from .small.bundles import draw_pictures, write_small_bundle
from .small.cable import Cable
from .small.cloud import Rules, SmallCloud
from .small.program import finish, memory_bytes, start


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_small_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    draw_pictures(folder, 10)
    return folder


@pytest.fixture
def cloud() -> Iterator[SmallCloud]:
    with SmallCloud() as cloud:
        yield cloud
        assert cloud.wrong == []


def options(folder: Path, bundle: Path, source: object, address: str) -> list[object]:
    return [
        *("run", "--source", source, "--cloud", address, "--bundle", bundle, "--insecure"),
        *("--device", "drone", "--spool", folder / "spool"),
    ]


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.02)


def line_with(word: str, stderr: IO[str]) -> str:
    """The next line of the log with a word in it."""
    return next(line for line in stderr if word in line)


def test_help_shows_examples() -> None:
    code, out, _ = finish(start("run", "--help"))
    assert code == 0
    for word in (
        "rtsp://USER",
        "gst://",
        "--every-frame",
        "--source",
        "--insecure",
        "--max-frames",
        "Examples:",
        "--cert drone-7.pem",
    ):
        assert word in out, word


def test_a_folder_from_end_to_end(
    cloud: SmallCloud, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, said, err = finish(
        start(*options(tmp_path, bundle, pictures, cloud.address), "--json", "--out", out)
    )
    assert code == 0, err
    summary = json.loads(said)
    assert summary["frames_captured"] == summary["frames_acknowledged"] == 10
    assert summary["frames_left"] == summary["frames_refused"] == summary["frames_dropped"] == 0
    assert summary["payload_bytes"] == sum(len(f.payload) for f in cloud.committed.values())
    assert summary["stages_ms"]["engine"]["frames"] == 9
    assert summary["spool_bytes"] == 0
    assert summary["outside_over_engine"] > 0
    assert len((out / "results.jsonl").read_text().splitlines()) == 10
    assert len(cloud.acked) == 10


def test_telemetry_goes_to_the_cloud_and_into_the_records(
    cloud: SmallCloud, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    table = tmp_path / "flight.csv"
    table.write_text("name,lat_deg,lon_deg,pitch_deg\n0001.png,48.1,11.5,-90\n")
    code, _, err = finish(
        start(
            *options(tmp_path, bundle, pictures, cloud.address),
            *("--telemetry", table, "--max-frames", 3, "--out", tmp_path / "out"),
        )
    )
    assert code == 0, err
    where = Telemetry(lat_deg=48.1, lon_deg=11.5, pitch_deg=-90)
    assert [frame.telemetry for frame in cloud.committed.values()] == [None, where, None]
    lines = (tmp_path / "out" / "frames.jsonl").read_text().splitlines()
    assert [json.loads(line)["telemetry"] for line in lines] == [None, where.known(), None]


def test_raw_frames_on_stdin(cloud: SmallCloud, bundle: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(range(256)) * (3 * 128 * 96 // 256) * 5)
    with raw.open() as stdin:
        code, out, err = finish(
            start(
                *options(tmp_path, bundle, "-?size=128x96&fps=10", cloud.address),
                *("--json", "--fps", 5),
                stdin=stdin,
            )
        )
    assert code == 0, err
    assert json.loads(out)["frames_captured"] == 3 and json.loads(out)["camera"] is None
    assert {frame.letterbox.frame_hw for frame in cloud.committed.values()} == {(96, 128)}
    stamps = [frame.captured_unix_ns for frame in cloud.committed.values()]
    assert [after - stamps[0] for after in stamps] == [0, 200_000_000, 400_000_000]


def test_a_truncated_film_is_sent_as_far_as_it_goes(
    cloud: SmallCloud, bundle: Path, tmp_path: Path
) -> None:
    film = tmp_path / "film.mkv"
    write_film(film, 40)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    code, out, err = finish(
        start(*options(tmp_path, bundle, film, cloud.address), "--latest", "--fps", 100, "--json")
    )
    assert code == 4, err
    summary = json.loads(out)
    assert summary["frames_unreadable"] == 1 and summary["frames_captured"] > 5
    assert summary["frames_spooled"] + summary["frames_skipped"] == summary["frames_captured"]
    assert summary["frames_acknowledged"] == len(cloud.committed) == summary["frames_spooled"]
    assert err.count("film.mkv") == 1


def test_the_table_at_the_end(
    cloud: SmallCloud, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    code, said, err = finish(
        start(*options(tmp_path, bundle, pictures, cloud.address), "--max-frames", 3, "--rate", 0)
    )
    assert code == 0, err
    assert re.search(r"frames acknowledged\W+3\b", said)
    assert {frame.rate for frame in cloud.committed.values()} == {0}


def test_without_a_terminal_a_line_now_and_then(
    cloud: SmallCloud, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    process = start(*options(tmp_path, bundle, pictures, cloud.address), "--loop", "--fps", 50)
    assert process.stderr is not None
    line = line_with("status", process.stderr)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130 and re.search(r"draining .*signal=SIGINT", err)
    for field in ("captured", "sent", "acknowledged", "in_spool", "spool_bytes"):
        assert re.search(rf"\b{field}=\d+\b", line), line
    assert "link=up" in line


@pytest.mark.parametrize("how", [(), ("--tui",)], ids=["table", "tui"])
def test_on_a_terminal_the_status_is_drawn(
    cloud: SmallCloud, bundle: Path, pictures: Path, tmp_path: Path, how: tuple[str, ...]
) -> None:
    ours, theirs = pty.openpty()
    process = start(
        *options(tmp_path, bundle, pictures, cloud.address), "--fps", 8, *how, stderr=theirs
    )
    os.close(theirs)
    drawn = b""
    try:
        while data := os.read(ours, 4096):
            drawn += data
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert finish(process)[0] == 0
    text = drawn.decode()
    assert "captured" in text and "acknowledged" in text and "link" in text
    whole = "\x1b[?1049h" in text  # the screen that a terminal keeps beside its own
    assert whole == bool(how) == ("last answer" in text)
    assert "link up" in text.rpartition("\x1b[?1049l")[2]


def test_unreadable_pictures_are_named_and_the_rest_is_sent(
    cloud: SmallCloud, bundle: Path, tmp_path: Path
) -> None:
    draw_pictures(tmp_path / "in", 3)
    (tmp_path / "in" / "0001.png").write_bytes(b"")
    code, _, err = finish(start(*options(tmp_path, bundle, tmp_path / "in", cloud.address)))
    assert code == 4
    assert len(cloud.committed) == 2
    assert [line for line in err.splitlines() if "0001.png" in line and "empty" in line]


def test_without_a_cloud_the_frames_are_kept(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    with Cable(1) as cable:
        address = cable.address
    code, _, err = finish(
        start(*options(tmp_path, bundle, pictures, address), "--drain-s", 0.3, "--json")
    )
    assert code == 9
    assert re.search(
        r"^sparsight: 10 frames were not acknowledged \(UNAVAILABLE: .*next run", err, re.M
    )
    with SmallCloud() as cloud:
        code, out, err = finish(
            start(*options(tmp_path, bundle, pictures, cloud.address), "--max-frames", 0, "--json")
        )
        assert code == 0, err
        assert json.loads(out)["frames_inherited"] == len(cloud.committed) == 10


def test_machines_read_objects_to_the_last_line(
    bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    with Cable(1) as cable:
        address = cable.address
    code, _, err = finish(
        start(
            *options(tmp_path, bundle, pictures, address),
            *("--drain-s", 0.3, "--log-format", "json", "--metrics-port", 0),
        )
    )
    assert code == 9
    said = [json.loads(line) for line in err.splitlines()]
    assert said[0]["event"] == "metrics" and said[0]["url"].startswith("http://127.0.0.1:")
    assert said[-1]["level"] == "error" and said[-1]["exit_code"] == 9
    assert "10 frames were not acknowledged" in said[-1]["event"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_a_signal_ends_it_cleanly(
    cloud: SmallCloud,
    bundle: Path,
    pictures: Path,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    process = start(
        *options(tmp_path, bundle, pictures, cloud.address), "--loop", "--fps", 100, "--json"
    )
    until(lambda: len(cloud.committed) > 20)
    process.send_signal(number)
    done, out, err = finish(process)
    assert done == code, err
    summary = json.loads(out)
    assert summary["interrupted"] and summary["frames_left"] == 0
    spooled = summary["frames_spooled"]
    assert summary["frames_captured"] == spooled == summary["frames_acknowledged"]
    assert len(cloud.committed) == spooled == len(cloud.acked)
    assert "Traceback" not in err


def test_a_second_signal_does_not_wait(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    with SmallCloud(Rules(credit_frames=0)) as cloud:
        process = start(
            *options(tmp_path, bundle, pictures, cloud.address), "--drain-s", 600, "--json"
        )
        until(lambda: bool(cloud.hellos))
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        start_s = time.monotonic()
        code, _, err = finish(process)
        assert code == 130 and time.monotonic() - start_s < 4
        assert re.search(r"\d+ frames were not acknowledged", err)


def test_after_a_signal_answers_are_waited_for_only_so_long(
    bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    with SmallCloud(Rules(credit_frames=2, mute=True)) as cloud:
        process = start(
            *options(tmp_path, bundle, pictures, cloud.address),
            "--loop",
            "--grace-s",
            0.5,
            "--json",
        )
        until(lambda: len(cloud.arrivals) == 2)
        process.send_signal(signal.SIGTERM)
        start_s = time.monotonic()
        code, out, err = finish(process)
        assert code == 143 and 0.4 < time.monotonic() - start_s < 6, err
    summary = json.loads(out)
    assert summary["frames_left"] == summary["frames_spooled"] > 2
    assert summary["frames_unspooled"] == 0


def test_sighup_reads_the_settings_again(
    cloud: SmallCloud, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    file = tmp_path / "agent.toml"
    link = "[link]\nmax_kbps = 20000\n"
    file.write_text(f"[source]\nloop = true\nfps = 50\n{link}")
    process = start(
        *options(tmp_path, bundle, pictures, cloud.address),
        *("--config", file, "--log-format", "json"),
    )
    assert process.stderr is not None
    until(lambda: len(cloud.acked) > 3)
    file.write_text("[source]\nlop = true\n")
    process.send_signal(signal.SIGHUP)
    wrong = json.loads(line_with("not reloaded", process.stderr))
    assert wrong["level"] == "error" and "the nearest is source.loop" in wrong["reason"]
    file.write_text("[source]\nloop = true\nfps = 50\n")
    process.send_signal(signal.SIGHUP)
    wrong = json.loads(line_with("not reloaded", process.stderr))
    assert "max_kbps: can be changed while an agent runs, but not given or taken" in wrong["reason"]
    link = link.replace("20000", "30000")
    file.write_text(f"[source]\nloop = true\nfps = 60\n{link}[report]\nlog_level = 'debug'\n")
    process.send_signal(signal.SIGHUP)
    waits = json.loads(line_with("need a restart", process.stderr))
    assert waits["level"] == "warning" and waits["settings"] == ["source.fps"]
    done = json.loads(line_with("settings reloaded", process.stderr))
    assert done["changed"] == ["link.max_kbps", "report.log_level"]
    before = len(cloud.acked)
    until(lambda: len(cloud.acked) > before)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143


def test_a_terminal_that_is_gone_ends_it(
    cloud: SmallCloud, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    process = start(
        *options(tmp_path, bundle, pictures, cloud.address), "--loop", "--fps", 50, stderr=theirs
    )
    until(lambda: len(cloud.acked) > 3)
    process.send_signal(signal.SIGHUP)
    assert finish(process)[0] == 129
    os.close(ours)
    os.close(theirs)


def test_systemd_is_told(
    cloud: SmallCloud, bundle: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = f"/tmp/sparsight-test-{os.getpid()}"
        manager.bind(address)
        try:
            manager.settimeout(60)
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            monkeypatch.setenv("WATCHDOG_USEC", "600000")
            process = start(
                *options(tmp_path, bundle, pictures, cloud.address), "--loop", "--fps", 50
            )
            assert manager.recv(1000) == b"READY=1"
            until(lambda: len(cloud.acked) > 3)
            for _ in range(3):
                beat = manager.recv(1000).decode()
                assert beat.startswith("WATCHDOG=1\nSTATUS=captured ")
            process.send_signal(signal.SIGHUP)
            said = list(iter(lambda: manager.recv(1000), b"READY=1"))
            assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", said[-1])
            process.send_signal(signal.SIGTERM)
            said = list(iter(lambda: manager.recv(1000), b"STOPPING=1"))
            assert finish(process)[0] == 143
        finally:
            Path(address).unlink()


def own_frames(cloud: SmallCloud) -> int:
    """Frames of the newest boot that have come."""
    return sum(key.epoch == cloud.hellos[-1].epoch for key in list(cloud.committed))


def test_killed_again_and_again_nothing_is_lost_and_nothing_comes_twice(
    cloud: SmallCloud, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    with Cable(cloud.port) as cable:
        common = [
            *options(tmp_path, bundle, pictures, cable.address),
            *("--out", tmp_path / "out"),
        ]
        for round_ in range(3):
            streams = len(cloud.hellos)
            process = start(*common, "--loop", "--fps", 200)
            until(lambda: len(cloud.hellos) > streams)  # noqa: B023
            until(lambda: own_frames(cloud) > 30)
            if round_ == 1:
                cable.cut()  # so that frames pile up in the spool before the kill
                time.sleep(0.5)
            process.send_signal(signal.SIGKILL)
            finish(process)
            if round_ == 1:
                cable.mend()
        code, out, err = finish(start(*common, "--max-frames", 0, "--json"))
    assert code == 0, err
    summary = json.loads(out)
    assert summary["frames_left"] == summary["frames_damaged"] == 0
    spooled: dict[int, list[int]] = {}
    for line in (tmp_path / "out" / "frames.jsonl").read_text().splitlines():
        frame = json.loads(line)
        spooled.setdefault(frame["epoch"], []).append(frame["seq"])
    came: dict[int, list[int]] = {}
    for key in cloud.committed:
        came.setdefault(key.epoch, []).append(key.seq)
    for epoch, seqs in spooled.items():
        assert seqs == list(range(len(seqs)))
        # Killed between writing down the last frame and spooling it: then it never was.
        assert sorted(came[epoch]) in (seqs, seqs[:-1])
    assert came.keys() == spooled.keys() and len(came) == 3
    # What was acknowledged is never sent again; what was on its way when it died, once a life.
    assert cloud.arrivals.most_common(1)[0][1] <= 4


def test_prometheus_can_ask(
    cloud: SmallCloud, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    process = start(
        *options(tmp_path, bundle, pictures, cloud.address),
        *("--loop", "--fps", 50, "--metrics-port", 0),
    )
    assert process.stderr is not None
    line = line_with("metrics", process.stderr)
    (url,) = re.findall(r"url=(http://127\.0\.0\.1:\d+/metrics)", line)
    until(lambda: len(cloud.acked) > 10)
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    figures = dict(re.findall(r"^(sparsight_edge\S+) (\S+)$", text, re.MULTILINE))
    assert float(figures['sparsight_edge_frames_total{event="captured"}']) > 10
    assert float(figures['sparsight_edge_frames_total{event="acknowledged"}']) > 10
    assert float(figures["sparsight_edge_link_up"]) == 1
    assert float(figures['sparsight_edge_stage_seconds_total{stage="engine"}']) > 0
    assert float(figures["sparsight_edge_outside_over_engine"]) > 0
    assert "process_resident_memory_bytes" in text


def test_a_camera_that_dies_is_in_every_figure(
    cloud: SmallCloud, bundle: Path, tmp_path: Path
) -> None:
    with CameraServer("mjpeg") as camera:
        process = start(
            *options(
                tmp_path, bundle, f"http://joe:secret@127.0.0.1:{camera.port}/", cloud.address
            ),
            *("--metrics-port", 0, "--camera-timeout-s", 5, "--json"),
        )
        assert process.stderr is not None
        (url,) = re.findall(r"url=(http://\S+/metrics)", line_with("metrics", process.stderr))
        until(lambda: len(cloud.acked) > 3)
        camera.kill()
        lost = line_with("camera", process.stderr)
        with urllib.request.urlopen(url, timeout=30) as answer:
            text = answer.read().decode()
        camera.start()
        before = len(cloud.acked)
        until(lambda: len(cloud.acked) > before + 3)
        process.send_signal(signal.SIGTERM)
        code, out, err = finish(process)
    assert code == 143
    assert f"what='http://127.0.0.1:{camera.port}/: lost (" in lost
    assert "/: back after" in err and "secret" not in lost + err
    figures = dict(re.findall(r"^(sparsight_edge_camera\S+) (\S+)$", text, re.MULTILINE))
    assert float(figures["sparsight_edge_camera_up"]) == 0
    assert float(figures["sparsight_edge_camera_outages_total"]) == 1
    assert float(figures["sparsight_edge_camera_outage_seconds_total"]) > 0
    summary = json.loads(out)
    assert summary["camera"]["outages"] == 1 and summary["camera"]["outage_s"] > 0
    assert summary["camera"]["state"] == "up" and summary["frames_unreadable"] == 0
    assert summary["frames_left"] == 0


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (("--cloud", "nowhere"), 2, "expected HOST:PORT"),
        (("--cloud", "10.1.2.3:5"), 2, "without TLS only a cloud on this machine"),
        (("--source", "rtp://cam/"), 2, "the nearest is rtsp://"),
        (("--source", "gone"), 2, "gone is neither a file nor a folder"),
        (("--bundle", "gone"), 5, "no bundle here"),
        (("--rate", "9"), 2, "this bundle has 0"),
        (("--fps", "0"), 2, "fps: expected"),
        (("--cert", "c.pem"), 2, "but not both"),
        (("--device", ""), 0, ""),
        (("--device", "a\nb"), 7, "printable"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_one_line(
    bundle: Path,
    pictures: Path,
    tmp_path: Path,
    cloud: SmallCloud,
    change: tuple[str, str],
    code: int,
    says: str,
) -> None:
    process = start(*options(tmp_path, bundle, pictures, cloud.address), *change, cwd=tmp_path)
    done, _, err = finish(process)
    assert done == code, err
    if code:
        assert len(err.splitlines()) == 1 and err.startswith("sparsight: ") and says in err


def test_a_port_that_is_taken(
    bundle: Path, pictures: Path, tmp_path: Path, cloud: SmallCloud
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = finish(
            start(*options(tmp_path, bundle, pictures, cloud.address), "--metrics-port", port)
        )
    assert code == 2 and "can't be listened on" in err and "Traceback" not in err


def test_one_of_tls_and_insecure_must_be_said(bundle: Path, pictures: Path) -> None:
    code, _, err = finish(
        start("run", "--source", pictures, "--cloud", "localhost:1", "--bundle", bundle)
    )
    assert code == 2 and "give --cert, --key and --ca, or --insecure" in err


@pytest.mark.slow
def test_memory_stays_flat(cloud: SmallCloud, bundle: Path, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 4, (32, 64))
    frames = 6000
    process = start(
        *options(tmp_path, bundle, tmp_path / "in", cloud.address),
        *("--loop", "--max-frames", frames),
        stderr=subprocess.DEVNULL,
    )
    taken: list[int] = []
    for share in (0.3, 0.65, 0.95):
        until(lambda share=share: len(cloud.acked) > share * frames, 500)  # type: ignore[misc]
        taken.append(memory_bytes(process.pid))
    code, _, _ = finish(process)
    assert code == 0
    assert taken[-1] <= 1.05 * taken[0], taken
