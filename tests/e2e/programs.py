"""The real programs as processes: a cloud, agents that call it, and what each wrote down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tests.split import scene

from sparsight.wire import FrameKey
from sparsight_cloud.serving.records import Record, from_line

PATIENCE_S = 240.0
"""Against a hang, not against a busy machine."""

_PROGRAM = "from sparsight.cli import main; main()"


def launch(*arguments: object, log: Path) -> subprocess.Popen[str]:
    """Begin `sparsight ...`; stdout is a pipe, stderr goes to the end of a file."""
    with log.open("a") as stderr:
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        )


def until(true: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait until something is so that nobody tells of."""
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s, f"it did not happen: {what}"
        time.sleep(0.05)


class CloudProgram:
    """`sparsight cloud up`; stopped as a person would.

    Attributes:
        out: Folder of its results.
        port: Where it listens; kept over restarts.
    """

    def __init__(self, folder: Path, bundle: Path, *how: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out = folder / "results"
        self.log = folder / "cloud.log"
        self.port = 0
        self._bundle = bundle
        self._how = how
        self._process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Begin, and don't wait until it listens."""
        self._process = launch(
            *("cloud", "up", "--insecure", "--bundle", self._bundle, "--out", self.out),
            *("--listen", self.address, *self._how),
            log=self.log,
        )

    def kill(self) -> None:
        """As a power button does, but for the disk."""
        assert self._process is not None
        _kill(self._process)

    def __enter__(self) -> CloudProgram:
        self.launch()
        assert self._process is not None and self._process.stdout is not None
        ready = self._process.stdout.readline()
        if not ready.startswith("listening on "):
            with self._process:
                self._process.kill()
            raise AssertionError(self.log.read_text())
        self.port = int(ready.split()[2].rstrip(",").rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        with self._process as process:
            process.send_signal(signal.SIGINT)
            try:
                code = process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert code == 0, self.log.read_text()

    def records(self, device: str) -> list[Record]:
        """What it has committed of a device, in order; it may be running."""
        lines = [
            line
            for file in sorted((self.out / "results").glob("*.jsonl"))
            for line in file.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")
        ]
        records = [from_line(line) for line in lines]
        return [record for record in records if record.result.key.device == device]

    def keys(self, device: str) -> list[FrameKey]:
        """Likewise, their keys."""
        return [record.result.key for record in self.records(device)]


@dataclass(frozen=True)
class Agent:
    """A device on which `sparsight edge run` is started, and started again.

    Attributes:
        folder: Holds its spool and what it writes down.
        bundle: What it runs.
        source: What it sees.
        name: Of the device.
    """

    folder: Path
    bundle: Path
    source: Path
    name: str

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def start(self, address: str, *options: object, record: bool = True) -> subprocess.Popen[str]:
        """Begin; `record` writes down frames and answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if record:
            options = ("--out", self.folder / "out", *options)
        return launch(
            *("edge", "run", "--insecure", "--json", "--cloud", address),
            *("--source", self.source, "--bundle", self.bundle, "--device", self.name),
            *("--spool", self.spool, *options),
            log=self.folder / "agent.log",
        )

    def finish(self, process: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
        """Wait for its end; the summary."""
        with process:
            said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, (self.folder / "agent.log").read_text()
        summary: dict[str, Any] = json.loads(said)
        return summary

    def kill(self, process: subprocess.Popen[str]) -> None:
        """As a power button does, but for the disk."""
        _kill(process)

    def frames(self) -> dict[FrameKey, str]:
        """The name of each frame that it meant to spool."""
        return {
            FrameKey(self.name, line["epoch"], line["seq"]): line["name"]
            for line in _lines(self.folder / "out" / "frames.jsonl")
        }

    def answers(self) -> list[tuple[FrameKey, str]]:
        """Key and status of each answer that it wrote down."""
        return [
            (FrameKey(line["device"], line["epoch"], line["seq"]), line["status"])
            for line in _lines(self.folder / "out" / "results.jsonl")
        ]


def _kill(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL


def _lines(file: Path) -> list[dict[str, Any]]:
    """JSON lines but for half a one at the end, which a kill leaves."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines(True) if line[-1] == "\n"]


def draw_scenes(folder: Path, count: int) -> None:
    """Pictures of several sizes, for the small bundle; no two the same."""
    folder.mkdir(parents=True)
    for i in range(count):
        hw = ((144, 256), (200, 150), (100, 300))[i % 3]
        Image.fromarray(scene(100 + i, hw)).save(folder / f"{i:04d}.png")
