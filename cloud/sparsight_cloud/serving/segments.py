"""Lines in files that only grow, one after the other.

    OUT/lock                        held by the process that writes
    OUT/results/000001.jsonl        closed: never touched again
    OUT/results/000002.jsonl        open: lines are added at its end

A group of lines is one write and, with `fsync`, one wait for the disk; `append` returns after it.
Killed in between, a process leaves half a line at most, and the next one cuts it off: nobody was
told of it. So what `append` returned for survives a `kill -9` always, and a power cut with `fsync`.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sparsight.errors import DataError, UsageError
from sparsight_cloud.serving.key_index import Place

SEGMENT_BYTES = 64 << 20
"""A file that has grown to this is closed, and the next one begun."""

RESULTS, LOCK = "results", "lock"

_ENDING = ".jsonl"
_PIECE_BYTES = 1 << 20


class Segments:
    """Owns the files of a folder; one thread writes, any may read."""

    def __init__(
        self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, fsync: bool = True
    ) -> None:
        """Take a folder, and mend what a killed process left.

        Args:
            folder: Made if it is missing.
            segment_bytes: Size from which a file is closed.
            fsync: Wait for the disk after every group.

        Raises:
            UsageError: Another process writes there, or the folder can't be written.
        """
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._fsync = fsync
        self._broken = False
        try:
            (folder / RESULTS).mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(
                f"{folder}: can't be written ({error.strerror}); change --out"
            ) from error
        try:
            self._lock()
            numbers = segment_numbers(folder)
            self._number = numbers[-1] if numbers else 1
            self._fd, self._size_bytes = self._open()
        except BaseException:
            os.close(self._lock_fd)
            raise

    @property
    def current(self) -> int:
        """Number of the open file."""
        return self._number

    def lines(self) -> Iterator[tuple[Place, bytes]]:
        """Every line there is, in the order of writing."""
        for number in segment_numbers(self._folder):
            yield from read_lines(self._folder, number)

    def append(self, lines: Sequence[bytes]) -> list[Place]:
        """Write a group of lines; when this returns they are safe.

        Args:
            lines: Each with its end.

        Returns:
            Where each went.

        Raises:
            OSError: Nothing was written, all is as before.
        """
        if self._broken:
            raise OSError(errno.EIO, "an earlier write failed and could not be taken back")
        if self._size_bytes >= self._segment_bytes:
            self._roll()
        before_bytes = self._size_bytes
        places = []
        for line in lines:
            places.append(Place(self._number, self._size_bytes, len(line)))
            self._size_bytes += len(line)
        try:
            _write_all(self._fd, b"".join(lines))
            if self._fsync:
                os.fdatasync(self._fd)
        except OSError:
            # Lines that nobody was told of must not be found after a restart, when their frames
            # have been sent again and written elsewhere.
            self._broken = True
            os.ftruncate(self._fd, before_bytes)
            self._size_bytes, self._broken = before_bytes, False
            raise
        return places

    def read(self, place: Place) -> bytes:
        """The line at a place.

        Raises:
            DataError: The file is gone or shorter.
        """
        path = segment_path(self._folder, place.segment)
        try:
            with path.open("rb") as file:
                file.seek(place.offset_bytes)
                line = file.read(place.size_bytes)
        except OSError as error:
            raise DataError(f"{path}: can't be read: {error.strerror}") from error
        if len(line) < place.size_bytes:
            raise DataError(f"{path}: shorter than it was; something else wrote to it")
        return line

    def close(self) -> None:
        """Let others have the folder."""
        os.close(self._fd)
        os.close(self._lock_fd)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"{self._folder}: another cloud writes its results here; change --out"
            ) from error

    def _open(self) -> tuple[int, int]:
        """Open the current file at its end, without the half line it may have there."""
        path = segment_path(self._folder, self._number)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        whole_bytes = _whole_bytes(fd)
        if whole_bytes < os.fstat(fd).st_size:
            os.ftruncate(fd, whole_bytes)
        sync_folder(path.parent)
        return fd, whole_bytes

    def _roll(self) -> None:
        self._number += 1
        try:
            fd, self._size_bytes = self._open()
        except OSError:
            self._number -= 1
            raise
        os.close(self._fd)
        self._fd = fd


def segment_path(folder: Path, number: int) -> Path:
    """The file of a number."""
    return folder / RESULTS / f"{number:06d}{_ENDING}"


def segment_numbers(folder: Path) -> list[int]:
    """Numbers of the files there are, in order."""
    names = (path.name.removesuffix(_ENDING) for path in (folder / RESULTS).glob(f"*{_ENDING}"))
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def read_lines(folder: Path, number: int, offset_bytes: int = 0) -> Iterator[tuple[Place, bytes]]:
    """The whole lines of one file, from a line's beginning on.

    Half a line at the end is left out: it may be on its way.
    """
    with segment_path(folder, number).open("rb") as file:
        file.seek(offset_bytes)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield Place(number, offset_bytes, len(line)), line
            offset_bytes += len(line)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as safe as the files' contents."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _whole_bytes(fd: int) -> int:
    """Length of a file up to the end of its last whole line."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _PIECE_BYTES)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
