"""Looks at cameras, for the tests of network cameras."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

from sparsight_edge.capture.camera import CameraSettings
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.outages import Outages
from sparsight_edge.capture.source import Captured

from .servers import CameraServer

Kind: TypeAlias = Literal["mjpeg", "rtsp"]
KINDS: tuple[Kind, ...] = ("mjpeg", "rtsp")
QUICK = CameraSettings(silent_s=1.5, wait_s=(0.1, 0.5))


class Viewer:
    """Looks at a camera."""

    def __init__(self, address: str, *, max_pixels: int = 1_000_000, **options: object) -> None:
        self.stop = threading.Event()
        self.said: list[str] = []
        self.unreadable: list[str] = []
        self.outages = Outages(self.said.append)
        self.source = open_source(
            address,
            self.stop,
            outages=self.outages,
            camera=QUICK,
            max_pixels=max_pixels,
            **options,  # type: ignore[arg-type]
        )
        self.frames: Iterator[Captured] = self.source.frames(
            lambda error: self.unreadable.append(str(error))
        )

    def close(self) -> None:
        self.frames.close()  # type: ignore[attr-defined]
        assert "camera" not in {thread.name for thread in threading.enumerate()}


def url(kind: Kind, server: CameraServer, account: str = "") -> str:
    scheme = "rtsp" if kind == "rtsp" else "http"
    return f"{scheme}://{account}127.0.0.1:{server.port}/live"


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.02)
