"""`python -m tools.demo` with real programs: what it writes, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tools.demo.plan import ROOT

from sparsight.pictures import read_picture

MARK = "SPARSIGHT_TEST_MARK"
SET_BY_TESTS = ("ORT_DISABLE_TELEMETRY", "TORCHINDUCTOR_CACHE_DIR")


@dataclass
class Demo:
    """A demo whose processes and temporary files can be told from all others."""

    folder: Path
    bundle: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def out(self) -> Path:
        return self.folder / "demo"

    def start(self, *options: str) -> subprocess.Popen[str]:
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        words = ["--bundle", str(self.bundle), "--out", str(self.out), "--in-process", *options]
        return subprocess.Popen(
            [sys.executable, "-m", "tools.demo", *words],
            cwd=ROOT,
            env={
                # As a user has it: what a program must not leave, it must not leave by itself.
                **{name: value for name, value in os.environ.items() if name not in SET_BY_TESTS},
                MARK: self.mark,
                "TMPDIR": str(self.folder / "tmp"),
                "COLUMNS": "80",
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def left(self) -> list[str]:
        """Its processes that run, and its temporary files."""
        running = [
            (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            for process in Path("/proc").glob("[0-9]*")
            if f"{MARK}={self.mark}".encode() in environment(process)
        ]
        return running + [str(path) for path in (self.folder / "tmp").rglob("*")]


def environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # ended, or somebody else's
        return b""


def wait_for_line(process: subprocess.Popen[str], pattern: str) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if re.search(pattern, line):
            return
    raise AssertionError("".join(said))


@pytest.fixture(scope="module")
def ended(split_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demo that ended by itself."""
    demo = Demo(tmp_path_factory.mktemp("demo"), split_bundle)
    classes = ("--class-map", "red=car", "--class-map", "green=bus")
    with demo.start("--frames", "3", *classes) as process:
        out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    (demo.folder / "said").write_text(out)
    return demo


def test_the_summary_says_what_came_of_the_frames(ended: Demo) -> None:
    summary = json.loads((ended.out / "summary.json").read_text())
    assert summary["frames_sent"] == summary["frames_committed"] == 6
    assert summary["frames_lost"] == summary["frames_duplicated"] == 0
    assert 30 < summary["bytes_per_frame"] < summary["avif_bytes_per_frame"]
    assert summary["avif_bytes_per_frame"] < summary["jpeg75_bytes_per_frame"] < 150_000
    times = summary["latency_ms"]
    assert list(times) == ["total", "device", "link", "queue", "cloud"]
    assert all(0 < times[part]["p50"] <= times[part]["p99"] for part in times)
    # Untrained, so that it finds next to nothing; but the same next to nothing.
    assert summary["ap"] == pytest.approx(summary["ap_in_process"], abs=1e-4)
    assert [one["frames_committed"] for one in summary["cameras"].values()] == [3, 3]


def test_the_table_stands_on_standard_output(ended: Demo) -> None:
    said = (ended.folder / "said").read_text()
    assert re.search(r"frames committed\W+3\W+3\W+6", said)
    assert "as JPEG 75" in said and "AP in one process" in said


def test_every_frame_is_there_annotated(ended: Demo) -> None:
    written = sorted(str(path.relative_to(ended.out)) for path in ended.out.rglob("*.jpg"))
    assert written == [
        *(f"avenue/MOS{i}.jpg" for i in (155, 156, 157)),
        *(f"street/MunichStreet02-MOS{i}.jpg" for i in (74, 75, 76)),
    ]
    height, width, _ = read_picture(ended.out / written[0]).shape
    assert width == 1764 and height > 430  # the frame and its legend


def test_nothing_of_it_stays(ended: Demo) -> None:
    assert ended.left() == []


@pytest.mark.parametrize(
    "moment", [r"^starting the cloud", r"avenue: [1-9]\d* of 25"], ids=["starting", "streaming"]
)
def test_ctrl_c_leaves_nothing(split_bundle: Path, tmp_path: Path, moment: str) -> None:
    demo = Demo(tmp_path, split_bundle)
    with demo.start() as process:
        wait_for_line(process, moment)
        assert demo.left()  # what is looked for can be found
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        begin_s = time.monotonic()
        _, err = process.communicate(timeout=500)
    assert process.returncode == 130, err
    assert "stopped; everything that it had started has ended" in err
    assert "Traceback" not in err
    assert demo.left() == [], f"after {time.monotonic() - begin_s:.0f} s"
    assert not (demo.out / "summary.json").exists()
