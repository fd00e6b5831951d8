"""Each frame's result once, on disk, before anyone hears of it.

    commit(record) ─┐
    commit(record) ─┼─ a group ─> thread: one write, one fsync ─> index ─> every commit returns
    commit(record) ─┘
    acknowledge(...) ────────────> index forgets ─> acks.jsonl

The event loop owns the index; the thread owns the files. While one group is on its way to the disk
the next one gathers, so a slow disk makes groups larger and not the service slower.

A key is written once: it is looked up before it joins a group, the groups before it are in the
index by then, and after a crash the index is built from the very lines that it is about.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from sparsight.detections import Detections
from sparsight.errors import DataError
from sparsight.wire import FrameKey, FrameResult, FrameStatus
from sparsight_cloud.serving.acks import add_acks, read_acks, rewrite_acks
from sparsight_cloud.serving.intervals import Intervals
from sparsight_cloud.serving.key_index import KeyIndex, Place
from sparsight_cloud.serving.records import Record, from_line, key_of_line, to_line
from sparsight_cloud.serving.segments import SEGMENT_BYTES, Segments, segment_path

GROUP_MAX = 256
"""Frames in one write; each may be a third of a megabyte."""

_log = structlog.get_logger(__name__)


class CommitFailedError(Exception):
    """The result is not on disk: no room, or the disk is broken. Worth another try."""


@dataclass(frozen=True, slots=True)
class CommitRule:
    """How results are kept.

    Attributes:
        fsync: Wait for the disk after every group: a power cut then loses nothing that a device
            was told. Without it only a crash of the whole machine can lose the last seconds.
        segment_bytes: A file that has grown to this is closed.
    """

    fsync: bool = True
    segment_bytes: int = SEGMENT_BYTES


class CommitLog:
    """Owns a folder of results."""

    def __init__(
        self,
        folder: Path,
        rule: CommitRule | None = None,
        saw_closed: Callable[[Path], None] | None = None,
    ) -> None:
        """Take a folder, and learn what was committed there before.

        Args:
            folder: Made if it is missing.
            rule: How results are kept.
            saw_closed: Told of every file that will not grow any more.

        Raises:
            UsageError: Another process has the folder, or it can't be written.
            DataError: A line of it is damaged.
        """
        rule = rule or CommitRule()
        self._folder = folder
        self._saw_closed = saw_closed
        self._segments = Segments(folder, segment_bytes=rule.segment_bytes, fsync=rule.fsync)
        try:
            self._index = _build_index(folder, self._segments)
            rewrite_acks(folder, self._index.acknowledged())
        except BaseException:
            self._segments.close()
            raise
        self._gathering: list[tuple[Record, asyncio.Future[None]]] = []
        self._writing: dict[FrameKey, asyncio.Future[None]] = {}
        self._acks: list[tuple[str, int, Intervals]] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
        self._loop: asyncio.Task[None] | None = None

    def __contains__(self, key: FrameKey) -> bool:
        """Whether the frame's result is on disk."""
        return key in self._index

    def __len__(self) -> int:
        """How many frames were committed, ever."""
        return len(self._index)

    def start(self) -> None:
        """Begin to write."""
        self._loop = asyncio.create_task(self._write_groups(), name="commit")

    async def commit(self, record: Record) -> bool:
        """Write a result; when this returns it is on disk.

        Args:
            record: The result.

        Returns:
            Whether it is this call that wrote it; if not, an earlier one of this key did.

        Raises:
            CommitFailedError: It is not on disk.
        """
        key = record.result.key
        if key in self._index:
            return False
        written = self._writing.get(key)
        if written is not None:
            await asyncio.shield(written)
            return False
        if self._closing or self._loop is None or self._loop.done():
            raise CommitFailedError("results are not (any more) written here")
        written = asyncio.get_running_loop().create_future()
        self._writing[key] = written
        self._gathering.append((record, written))
        self._wake.set()
        await asyncio.shield(written)
        return True

    async def stored(self, key: FrameKey) -> FrameResult | None:
        """The answer that was committed for a frame.

        Returns:
            It, ALREADY_DONE if the device has acknowledged it, None if there is none yet.

        Raises:
            DataError: The files were changed under our feet.
        """
        if key not in self._index:
            return None
        place = self._index.place(key)
        if place is None:
            detail = "committed before, and acknowledged"
            return FrameResult(key, FrameStatus.ALREADY_DONE, Detections.empty(), detail)
        line = await asyncio.to_thread(self._segments.read, place)
        return from_line(line).result

    def acknowledge(self, device: str, epoch: int, seqs: Iterable[int]) -> int:
        """A device has stored these results; they need not be found any more.

        Returns:
            How many of them were still findable.
        """
        forgotten = self._index.forget(device, epoch, seqs)
        if forgotten:
            runs = Intervals((seq, seq + 1) for seq in forgotten)
            self._acks.append((device, epoch, runs))
            self._wake.set()
        return len(forgotten)

    async def close(self) -> None:
        """Write what is to be written, then let go of the folder."""
        self._closing = True
        self._wake.set()
        if self._loop is not None:
            await self._loop
        self._thread.shutdown()
        self._segments.close()

    async def _write_groups(self) -> None:
        while True:
            while not (self._gathering or self._acks):
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
            group, self._gathering = self._gathering[:GROUP_MAX], self._gathering[GROUP_MAX:]
            acks, self._acks = self._acks, []
            before = self._segments.current
            if group:
                await self._write_group(group)
            if self._segments.current != before:
                acks = list(self._index.acknowledged())
                await self._in_thread(rewrite_acks, self._folder, acks)
                if self._saw_closed is not None:
                    self._saw_closed(segment_path(self._folder, before))
            elif acks:
                await self._in_thread(add_acks, self._folder, acks)

    async def _write_group(self, group: list[tuple[Record, asyncio.Future[None]]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            places = await loop.run_in_executor(
                self._thread, self._write, [record for record, _ in group]
            )
        except Exception as error:
            for record, written in group:
                del self._writing[record.result.key]
                _fail(written, CommitFailedError(f"the result could not be written: {error}"))
            # Whoever waits has been told; a log that can't be written either must not end this.
            with contextlib.suppress(OSError, ValueError):
                _log.error("results not written", folder=str(self._folder), error=str(error))
            return
        for (record, written), place in zip(group, places, strict=True):
            key = record.result.key
            self._index.add(key, place)
            del self._writing[key]
            written.set_result(None)

    def _write(self, records: list[Record]) -> list[Place]:
        return self._segments.append([to_line(record) for record in records])

    async def _in_thread(
        self,
        write: Callable[[Path, Iterable[tuple[str, int, Intervals]]], None],
        folder: Path,
        acks: list[tuple[str, int, Intervals]],
    ) -> None:
        """Write acknowledgements, which may be lost."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, write, folder, acks)
        except OSError as error:
            _log.warning("acknowledgements not written", folder=str(folder), error=str(error))


def _build_index(folder: Path, segments: Segments) -> KeyIndex:
    """What was committed, from the lines themselves."""
    acknowledged = read_acks(folder)
    index = KeyIndex()
    nothing = Intervals()
    for place, line in segments.lines():
        try:
            key = key_of_line(line)
        except DataError as error:
            path = segment_path(folder, place.segment)
            raise DataError(
                f"{path}: byte {place.offset_bytes}: {error}; the file was damaged: mend the line, "
                "or move the file away to go on without its results"
            ) from error
        done = key.seq in acknowledged.get((key.device, key.epoch), nothing)
        index.add(key, None if done else place)
    return index


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # whoever waited may have gone away, and that is no news
