"""`sparsight cloud` and `sparsight pki` as a person calls them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer

from sparsight.cli import run
from sparsight.errors import BundleError
from sparsight.wire import FrameResult, FrameStatus
from sparsight_cloud.commands.cloud import cloud_app
from sparsight_cloud.commands.pki import pki_app
from sparsight_cloud.serving.dispatch import Answered
from sparsight_cloud.serving.pki import write_dev_pki
from sparsight_cloud.serving.records import Record, to_line
from sparsight_cloud.serving.replica import BundleReplica
from sparsight_cloud.serving.segments import Segments
from sparsight_cloud.sinks.results import write_classes

from .device_half import DeviceHalf
from .devices import calling, detect
from .hashes import BUNDLE, CLASSES, a_frame, answer


def sparsight(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """The program, as a process."""
    return subprocess.Popen(
        [sys.executable, "-c", "from sparsight.cli import main; main()", *map(str, arguments)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


@pytest.fixture
def app() -> typer.Typer:
    whole = typer.Typer(pretty_exceptions_enable=False)
    whole.add_typer(cloud_app, name="cloud")
    whole.add_typer(pki_app, name="pki")
    return whole


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write(tmp_path / "out", range(5))
    return tmp_path / "out"


def write(folder: Path, seqs: range) -> None:
    segments = Segments(folder)
    frames = [a_frame(seq) for seq in seqs]
    segments.append([to_line(Record.of(frame, answer(frame), 7)) for frame in frames])
    segments.close()
    write_classes(folder, {BUNDLE: CLASSES})


def test_pki_names_what_it_wrote(
    app: typer.Typer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["pki", "dev", "--out", str(tmp_path / "p"), "--device", "a", "--device", "b"]
    assert run(app, arguments) == 0
    names = [Path(line).name for line in capsys.readouterr().out.split()]
    assert names == ["ca.crt", "server.crt", "a.crt", "b.crt"]
    assert run(app, arguments) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--in-process"], "got neither"),
        (["--in-process", "--insecure", "--pki", "p"], "got both"),
        (["--in-process", "--insecure", "--listen", "0.0.0.0:0"], "only this machine"),
        (["--in-process", "--insecure", "--listen", "nowhere"], "HOST:PORT"),
        (["--in-process", "--pki", "nowhere"], "sparsight pki dev"),
        (["--in-process", "--insecure", "--replicas", "2"], "--in-process alone"),
        (["--in-process", "--insecure", "--address", "auto"], "--in-process alone"),
        (["--insecure", "--address", "http://head:6379"], "expected HOST:PORT of a Ray cluster"),
        (["--insecure", "--listen", "0.0.0.0:0"], "only this machine"),
    ],
)
def test_what_cannot_run_is_said_in_one_line(
    app: typer.Typer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    assert run(app, ["cloud", "up", "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_cannot_be_served_is_said_before_ray_starts(
    app: typer.Typer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--insecure", "--bundle", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert run(app, ["cloud", "up", *arguments]) == BundleError.exit_code
    error = capsys.readouterr().err
    assert "none" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_up_answers_devices_until_it_is_told_to_end(split_bundle: Path, tmp_path: Path) -> None:
    """The real program with a real model, over mTLS, and every form of its results."""
    out, pki = tmp_path / "out", tmp_path / "pki"
    write_dev_pki(pki, ["drone-1"])
    options = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
    options += ["--sink", "parquet", "--sink", "coco", "--bundle", str(split_bundle)]
    process = sparsight("cloud", "up", "--in-process", "--pki", pki, "--out", out, *options)
    assert process.stdout is not None
    ready, shown = (process.stdout.readline().decode() for _ in range(2))
    address = ready.split()[2].rstrip(",")
    device = DeviceHalf(split_bundle)
    frames = [device.frame(seq) for seq in range(4)]

    async def call() -> list[FrameResult]:
        async with calling(address, pki) as channel:
            return await asyncio.gather(*(detect(channel, frame) for frame in frames))

    results = asyncio.run(call())
    with urllib.request.urlopen(shown.split()[-1]) as answered:
        assert b'sparsight_gateway_frames_total{status="ok"} 4.0' in answered.read()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()
    right = BundleReplica.from_bundles([split_bundle]).run(frames)
    for result, answer_ in zip(results, right, strict=True):
        assert isinstance(answer_, Answered)
        assert result.status is FrameStatus.OK and len(result.detections) > 0
        np.testing.assert_allclose(
            result.detections.xyxy, answer_.detections.xyxy, atol=0.01, rtol=0
        )
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 4
    assert pq.read_table(out / "parquet" / "000001.parquet").num_rows == 4


def test_watch_shows_what_is_there(
    app: typer.Typer, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["cloud", "watch", str(out), "--once"]) == 0
    assert "drone-1" in capsys.readouterr().out


def test_watch_for_machines_prints_the_lines(
    app: typer.Typer, out: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(app, ["cloud", "watch", str(out), "--once", "--json"]) == 0
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == (out / "results" / "000001.jsonl").read_bytes()


def test_watch_follows_until_it_is_told_to_end(out: Path) -> None:
    process = sparsight("cloud", "watch", out, "--json", "--all")
    assert process.stdout is not None
    assert [json.loads(process.stdout.readline())["seq"] for _ in range(5)] == list(range(5))
    write(out, range(5, 8))
    assert [json.loads(process.stdout.readline())["seq"] for _ in range(3)] == [5, 6, 7]
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.mark.parametrize("command", [["watch"], ["export", "--to", "coco", "--file", "x.json"]])
def test_a_folder_without_results_is_said_so(
    app: typer.Typer, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert run(app, ["cloud", command[0], str(tmp_path), *command[1:]]) == 2
    assert "no results here" in capsys.readouterr().err


def test_export_writes_one_file(
    app: typer.Typer, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco, parquet = tmp_path / "a.json", tmp_path / "a.parquet"
    assert run(app, ["cloud", "export", str(out), "--to", "coco", "--file", str(coco)]) == 0
    assert run(app, ["cloud", "export", str(out), "--to", "parquet", "--file", str(parquet)]) == 0
    assert "5 frames" in capsys.readouterr().out
    assert len(json.loads(coco.read_text())["images"]) == 5
    assert pq.read_table(parquet).num_rows == 5
    assert run(app, ["cloud", "export", str(out), "--to", "coco", "--file", str(coco)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
