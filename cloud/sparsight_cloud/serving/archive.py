"""Payloads kept as they came, so that another head can be tried on them one day.

    frame ─ joined to its reference ─ answered ─> DIR/01764380000000.0000000000.seg, ...
                                                   the oldest files go when there are too many

The files are those of a device's spool (`sparsight.frame_file`), with the frames of all devices in
the order of their answers; `sparsight batch run --from-features` reads both. A frame is kept just
before its result is committed: once, or twice if that fails or the cloud dies there, and whoever
reads takes the first. Nothing waits for the disk: it is a record, and frames are answered without
it when it can't be written.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from sparsight.errors import UsageError
from sparsight.frame_file import header, name_of, record, seed_of
from sparsight.wire import FrameFeatures, pack_device_message

FILE_BYTES = 16 << 20
"""A file that has grown to this is closed; files are removed whole."""

LOCK = "lock"

_FILES_AT_LEAST = 8  # in an archive that is full, so that what goes at once is a small part of it

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ArchiveRule:
    """What is kept.

    Attributes:
        bytes_max: Size of all files.
        age_max_s: Files that were closed so long ago are removed; None keeps them.
    """

    bytes_max: int = 10 << 30
    age_max_s: float | None = None


class Archive:
    """Owns the folder, and a thread that writes."""

    def __init__(self, folder: Path, rule: ArchiveRule) -> None:
        """Take a folder.

        Args:
            folder: Made if it is missing.
            rule: What is kept in it.

        Raises:
            UsageError: It can't be written, or another cloud writes there.
        """
        self._folder, self._rule = folder, rule
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(
                f"{folder}: can't be written ({error.strerror}); change --archive"
            ) from error
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_fd)
            raise UsageError(
                f"{folder}: another cloud keeps its payloads here; change --archive"
            ) from error
        self._closed = deque(sorted(folder.glob("*.seg")))
        self._closed_bytes = sum(file.stat().st_size for file in self._closed)
        self._open: _File | None = None
        self._fails = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="archive")

    async def keep(self, frame: FrameFeatures) -> None:
        """Write a frame down; an error is logged, and the frames after it are tried again.

        Args:
            frame: Whole, or joined to its reference.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._keep, frame)

    def close(self) -> None:
        """Let others have the folder."""
        self._thread.shutdown()
        if self._open is not None:
            self._open.close()
        os.close(self._lock_fd)

    def _keep(self, frame: FrameFeatures) -> None:
        try:
            file = self._file()
            file.append(pack_device_message(frame))
            self._make_room()
        except OSError as error:
            if not self._fails:
                _log.error("archive can't be written", folder=str(self._folder), why=str(error))
            self._fails = True
        else:
            self._fails = False

    def _file(self) -> _File:
        """The file that grows."""
        most = min(FILE_BYTES, self._rule.bytes_max // _FILES_AT_LEAST)
        age = self._rule.age_max_s
        if self._open is not None and (
            self._open.size_bytes >= most
            or (age is not None and self._open.age_s >= age / _FILES_AT_LEAST)
        ):
            self._open.close()
            self._closed.append(self._open.path)
            self._closed_bytes += self._open.size_bytes
            self._open = None
        if self._open is None:
            self._open = _File(self._folder)
        return self._open

    def _make_room(self) -> None:
        assert self._open is not None
        while self._closed and (
            self._closed_bytes + self._open.size_bytes > self._rule.bytes_max
            or self._is_old(self._closed[0])
        ):
            oldest = self._closed[0]
            size_bytes = oldest.stat().st_size if oldest.exists() else 0
            oldest.unlink(missing_ok=True)
            self._closed.popleft()
            self._closed_bytes -= size_bytes

    def _is_old(self, file: Path) -> bool:
        age = self._rule.age_max_s
        try:
            return age is not None and time.time() - file.stat().st_mtime > age
        except FileNotFoundError:
            return True


class _File:
    """One file of frames, of this process alone: what a killed one left is never written again."""

    def __init__(self, folder: Path) -> None:
        epoch = time.time_ns() // 1_000_000
        while (folder / name_of(epoch, 0)).exists():
            epoch += 1
        self.path = folder / name_of(epoch, 0)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._seed, self._places = seed_of(epoch, 0), 0
        self._begun_s = time.monotonic()
        self.size_bytes = 0
        try:
            self._write(header(epoch, 0))
        except OSError:  # each frame tries again: nothing may be left of this one
            os.close(self._fd)
            self.path.unlink()
            raise

    @property
    def age_s(self) -> float:
        """Time since it was begun."""
        return time.monotonic() - self._begun_s

    def append(self, body: bytes) -> None:
        """Write a frame.

        Raises:
            OSError: It can't be written, and none of it is there.
        """
        ran_ms = int(self.age_s * 1e3)
        self._write(record(self._seed, self._places, body, time.time_ns() // 1_000_000, ran_ms))
        self._places += 1

    def close(self) -> None:
        """Write no more."""
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self.size_bytes)
            os.lseek(self._fd, self.size_bytes, os.SEEK_SET)
            raise
        self.size_bytes += len(data)
