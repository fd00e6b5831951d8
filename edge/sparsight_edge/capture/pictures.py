"""A list of picture files as a source: one frame each, in their order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sparsight.errors import PictureError
from sparsight.pictures import MAX_PIXELS, SUFFIXES, read_picture
from sparsight.wire import Telemetry
from sparsight_edge.capture.source import Captured, Report
from sparsight_edge.telemetry.stills import read_still


class PictureSource:
    """Picture files, decoded one at a time.

    Attributes:
        paths: The files.
        max_pixels: The most pixels one may have; checked before it is decoded.
        named: Telemetry by the files' names; of those not in it, their own headers tell.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        max_pixels: int = MAX_PIXELS,
        named: Mapping[str, Telemetry] | None = None,
    ) -> None:
        """A source of these files; none is touched yet."""
        self.paths = tuple(paths)
        self.max_pixels = max_pixels
        self.named = named or {}

    def frames(self, report: Report) -> Iterator[Captured]:
        """Each picture that can be read; its time is that of its reading."""
        index = 0
        for path in self.paths:
            captured_unix_ns, begin_s = time.time_ns(), time.perf_counter()
            try:
                frame = read_picture(path, self.max_pixels)
            except PictureError as error:
                report(error)
                continue
            telemetry = self.named.get(path.name) or read_still(path)
            read_ms = (time.perf_counter() - begin_s) * 1e3
            yield Captured(frame, captured_unix_ns, path.name, index, read_ms, telemetry)
            index += 1


def is_picture(path: Path) -> bool:
    """Whether a file's name says that it is a picture."""
    # macOS leaves "._a.jpg" beside "a.jpg" on memory cards: no picture, in spite of its name.
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._") and not path.is_dir()
