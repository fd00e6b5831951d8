"""Cameras as programs of their own, which tests kill, freeze and start again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Literal


class CameraServer:
    """A camera on a port that stays the same over its deaths."""

    def __init__(self, kind: Literal["mjpeg", "rtsp"], *more: str) -> None:
        self.script = Path(__file__).with_name(f"{kind}_server.py")
        self.more = more
        self.port = 0
        self.start()

    def start(self) -> None:
        """Switch it on."""
        self.process = subprocess.Popen(
            [sys.executable, str(self.script), str(self.port), *self.more],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        """Pull its plug."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def freeze(self) -> None:
        """It keeps its connections and says nothing any more."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> CameraServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.returncode is None:
            self.kill()
