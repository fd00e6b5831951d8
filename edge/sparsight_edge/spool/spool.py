"""Store and forward: a frame is on disk from its coding to its answer, whatever happens between.

    append ─> [seg][seg][seg] ─ take, oldest first ─> in flight ─ finish ─> gone
                   ^                                     │
                   └──── give_back (link lost, cloud busy), hold (the cloud can't read it yet)

- A frame that was appended survives the process at once (one `write`), and the machine once synced:
  whoever runs the spool calls `sync` every second or so. What says that a frame is done is never
  synced: if it is lost the frame is sent again, and the cloud knows it by its key.
- Frames of earlier boots come first. This boot's have its `epoch` and count `seq` from 0.
- Disk is freed file by file, a sixteenth of the whole each. So a spool that drops its oldest frames
  drops a file of them, and one frame that waits holds its file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sparsight.errors import SpoolError, UsageError
from sparsight_edge.spool.clock import SpoolClock
from sparsight_edge.spool.home import Home
from sparsight_edge.spool.layout import HEADER, epoch_in
from sparsight_edge.spool.refused import RefusedRecord
from sparsight_edge.spool.segment import DONE, HELD, PENDING, TAKEN, Segment, record_bytes

MIB = 1 << 20
SEGMENTS = 16
SEGMENT_BYTES_MAX = 8 * MIB
SPOOL_BYTES_MIN = 64 << 10
REFUSED_SHARE = 16  # the record of refused frames takes this part of the bytes, beside the frames
_LOOK_S = 0.2  # how often somebody who waits for room looks whether to stop

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_ROTTEN = (errno.EIO, errno.ENOENT)  # the frame is gone for good; all else may pass


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """How much a spool may hold, and what then.

    Attributes:
        max_bytes: Disk for frames, the done ones of a file not yet freed included.
        when_full: `block` makes who appends wait, `drop-oldest` forgets the oldest frames.
    """

    max_bytes: int = 512 * MIB
    when_full: Literal["block", "drop-oldest"] = "block"

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            UsageError: Too few bytes, or no such policy.
        """
        if self.max_bytes < SPOOL_BYTES_MIN:
            raise UsageError(
                f"spool: expected at least {SPOOL_BYTES_MIN} bytes, got {self.max_bytes}"
            )
        if self.when_full not in ("block", "drop-oldest"):
            raise UsageError(f"when_full: expected block or drop-oldest, got {self.when_full!r}")


@dataclass(frozen=True, slots=True)
class Spooled:
    """A frame that was taken to be sent.

    Attributes:
        epoch: Boot that it is of.
        seq: Its number in it.
        body: What was appended.
    """

    epoch: int
    seq: int
    body: bytes


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """A spool in figures; all but the first five count since this boot.

    Attributes:
        bytes: Disk taken.
        waiting: Frames to be sent.
        taken: Frames being sent.
        held: Frames that are not to be sent for now.
        full: Somebody waits for room.
        inherited: Frames of earlier boots that were found.
        appended: Frames that came.
        finished: Frames that were answered, the refused ones among them.
        refused: Frames that the cloud refused as bad.
        dropped: Frames that were forgotten for want of room; an answer may still come for those
            that were being sent.
        damaged: Frames that could not be read back.
        oldest_age_s: How long ago the oldest frame that is not answered was appended; 0.0 if all
            are. How clocks that jump are dealt with is told in `clock`.
    """

    bytes: int = 0
    waiting: int = 0
    taken: int = 0
    held: int = 0
    full: bool = False
    inherited: int = 0
    appended: int = 0
    finished: int = 0
    refused: int = 0
    dropped: int = 0
    damaged: int = 0
    oldest_age_s: float = 0.0

    @property
    def left(self) -> int:
        """Frames that are still on disk."""
        return self.waiting + self.taken + self.held


class Spool:
    """Frames on disk, for one thread that appends and others that send.

    Attributes:
        epoch: This boot.
        settings: How much, and what then.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        settings: SpoolSettings | None = None,
        clock: SpoolClock | None = None,
    ) -> None:
        """Open a folder, made if need be, and take over what earlier boots left.

        Args:
            folder: Where.
            device: Name of this device.
            settings: How much it may hold, and what then.
            clock: What frames are aged by.

        Raises:
            UsageError: The folder is another device's, or another agent runs on it.
            SpoolError: It can't be read or written.
        """
        self.settings = settings or SpoolSettings()
        self._folder = folder
        self._clock = clock or SpoolClock()
        self._changed = threading.Condition()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # The name of a file is its frames' epoch: known before the folder is ours to read.
            files = sorted(folder.glob("*.seg"))
            newest = max((epoch_in(file) for file in files), default=0)
        except OSError as error:
            raise SpoolError(f"{folder}: no spool can be here: {error.strerror}") from error
        self._home = Home(folder, device, newest)
        self.epoch = self._home.epoch
        self._next_seq = 0
        self._segments: list[Segment] = []
        self._current: Segment | None = None
        self._refused_record = RefusedRecord(folder, self.settings.max_bytes // REFUSED_SHARE)
        self._appended = self._finished = self._refused = self._dropped = self._damaged = 0
        self._full = self._closed = False
        try:
            self._take_over()
        except OSError as error:
            self._home.close()
            raise SpoolError(f"{folder}: can't be read: {error.strerror}") from error
        except SpoolError:
            self._home.close()
            raise
        self._inherited = sum(segment.open_frames for segment in self._segments)

    @property
    def device(self) -> str:
        """Whose frames are in it."""
        return self._home.device

    @property
    def next_seq(self) -> int:
        """The number that the next frame gets."""
        return self._next_seq

    def append(self, body: bytes, stop: threading.Event) -> int | None:
        """Put a frame on disk; from one thread.

        Args:
            body: The frame.
            stop: Ends the waiting for room.

        Returns:
            The frame's number, or None if `stop` came first.

        Raises:
            SpoolError: The frame is larger than the spool may be, or the disk refuses.
        """
        need = record_bytes(len(body))
        if need + HEADER.size > self.settings.max_bytes:
            raise SpoolError(
                f"{self._folder}: a frame of {len(body)} bytes does not fit into a spool of "
                f"{self.settings.max_bytes}; give it more (--spool-mb)"
            )
        with self._changed:
            while True:
                if self._room_for(need) and self._write(body):
                    self._full = False
                    self._appended += 1
                    self._next_seq += 1
                    return self._next_seq - 1
                self._full = True
                if self.settings.when_full == "drop-oldest":
                    self._drop_oldest()
                elif stop.is_set():
                    self._full = False
                    return None
                else:
                    self._changed.wait(_LOOK_S)

    def take(self) -> Spooled | None:
        """The oldest frame that nobody has taken, or None if there is none.

        Raises:
            SpoolError: It is there, but can't be read now.
        """
        with self._changed:
            for segment in self._segments:
                while (place := segment.states.find(PENDING, segment.hint)) >= 0:
                    body = _read(segment, place)
                    segment.hint = place + 1
                    if body is not None:
                        segment.states[place] = TAKEN
                        return Spooled(segment.epoch, segment.first_seq + place, body)
                    self._damaged += 1
                    segment.finish(place)
                segment.hint = len(segment)
                if segment is not self._current:
                    segment.rest()
            self._free()
            return None

    def give_back(self, epoch: int, seq: int) -> None:
        """Let a frame that was taken be taken again, before those behind it."""
        self._set(epoch, seq, PENDING)

    def give_back_all(self) -> None:
        """Let all frames that were taken be taken again."""
        self._replace(TAKEN)

    def hold(self, epoch: int, seq: int) -> None:
        """Keep a frame that was taken, but don't give it out again until `release`."""
        self._set(epoch, seq, HELD)

    def release(self) -> None:
        """Let all held frames be taken again."""
        self._replace(HELD)

    def finish(self, epoch: int, seq: int) -> bool:
        """Forget a frame that was answered.

        Returns:
            Whether it was there: an answer may come twice, or after the frame was dropped.
        """
        with self._changed:
            found = self._find(epoch, seq)
            if found is None:
                return False
            segment, place = found
            segment.finish(place)
            self._finished += 1
            self._free()
            self._changed.notify_all()
            return True

    def refuse(self, epoch: int, seq: int, reason: str) -> bool:
        """Forget a frame that is bad, and keep it in the record of such.

        Returns:
            As `finish`.
        """
        with self._changed:
            found = self._find(epoch, seq)
            if found is None:
                return False
            segment, place = found
            self._refused_record.add(epoch, seq, _read(segment, place) or b"", reason)
            self._refused += 1
            return self.finish(epoch, seq)

    def sync(self) -> None:
        """Make what was appended survive the machine as well.

        Raises:
            SpoolError: The disk refuses.
        """
        with self._changed:
            fd = self._current.sync_fd() if self._current else -1
        if fd < 0:
            return
        try:
            os.fdatasync(fd)  # without the lock: it takes a while on a memory card
        except OSError as error:
            raise SpoolError(f"{self._folder}: the disk refuses: {error.strerror}") from error
        finally:
            os.close(fd)

    def settle(self) -> None:
        """End the current file, which frees it if nothing waits in it."""
        with self._changed:
            self._seal()

    def stats(self) -> SpoolStats:
        """How it stands."""
        with self._changed:
            return SpoolStats(
                bytes=self._bytes(),
                waiting=sum(segment.states.count(PENDING) for segment in self._segments),
                taken=sum(segment.states.count(TAKEN) for segment in self._segments),
                held=sum(segment.states.count(HELD) for segment in self._segments),
                full=self._full,
                inherited=self._inherited,
                appended=self._appended,
                finished=self._finished,
                refused=self._refused,
                dropped=self._dropped,
                damaged=self._damaged,
                oldest_age_s=max((self._age_s(s) for s in self._segments), default=0.0),
            )

    def close(self) -> None:
        """Sync, and let go of the folder; what is not answered stays in it. May be called twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._seal()
            for segment in self._segments:
                segment.close()
            self._home.close()

    def _take_over(self) -> None:
        begun_unix_s: dict[int, float] = {}
        for file in sorted(self._folder.glob("*.seg")):
            segment = Segment.load(file)
            if segment is None:
                continue
            self._damaged += segment.damaged
            if len(segment):
                begun_unix_s[segment.epoch] = segment.begun_unix_s
            if segment.open_frames:
                self._segments.append(segment)
            else:
                segment.remove()
        for file in self._folder.glob("*.done"):  # of a file that was just being removed
            if not file.with_suffix(".seg").exists():
                file.unlink()
        for segment in self._segments:
            segment.begun_unix_s = begun_unix_s[segment.epoch]
        self._segments.sort(key=lambda segment: (segment.epoch, segment.first_seq))

    def _age_s(self, segment: Segment) -> float:
        """Of its oldest frame that is not done."""
        if not segment.open_frames:
            return 0.0
        ran_s = segment.ran_s(segment.oldest())
        if segment.epoch == self.epoch:
            return self._clock.age_s(ran_s)
        return self._clock.earlier_age_s(segment.begun_unix_s + ran_s)

    def _room_for(self, need: int) -> bool:
        """Whether a record fits, after ending the current file if that is due or frees it."""
        limit = self.settings.max_bytes
        segment_bytes = min(limit // SEGMENTS, SEGMENT_BYTES_MAX)
        current = self._current
        if current is not None and len(current):
            long_enough = current.bytes + need > segment_bytes
            if long_enough or (not current.open_frames and self._bytes() + need > limit):
                self._seal()
        return self._bytes() + need + (0 if self._current else HEADER.size) <= limit

    def _bytes(self) -> int:
        return sum(segment.bytes for segment in self._segments)

    def _write(self, body: bytes) -> bool:
        """Append to the current file, or say that the disk is full."""
        try:
            if self._current is None:
                self._current = Segment.create(self._folder, self.epoch, self._next_seq)
                self._segments.append(self._current)
            self._current.append(body, self._clock.unix_s(), self._clock.ran_s())
        except OSError as error:
            others = any(segment.open_frames for segment in self._segments)
            if error.errno in _DISK_FULL and others:
                return False
            raise SpoolError(
                f"{self._folder}: a frame can't be written: {error.strerror}; make room on the disk"
            ) from error
        return True

    def _seal(self) -> None:
        """Write no more to the current file."""
        if self._current is not None:
            current, self._current = self._current, None
            with contextlib.suppress(OSError):  # the frames are written; only the sync failed
                current.seal()
            self._free()

    def _free(self) -> None:
        """Remove the files in which nothing waits."""
        for segment in [s for s in self._segments if not s.open_frames and s is not self._current]:
            segment.remove()
            self._segments.remove(segment)

    def _drop_oldest(self) -> None:
        """Forget the oldest file's frames."""
        oldest = self._segments[0]
        if oldest is self._current:
            self._seal()
        if oldest in self._segments:
            self._dropped += oldest.open_frames
            oldest.open_frames = 0
            self._free()

    def _find(self, epoch: int, seq: int) -> tuple[Segment, int] | None:
        for segment in self._segments:
            place = seq - segment.first_seq
            if segment.epoch == epoch and 0 <= place < len(segment):
                return None if segment.states[place] == DONE else (segment, place)
        return None

    def _set(self, epoch: int, seq: int, state: int) -> None:
        with self._changed:
            found = self._find(epoch, seq)
            if found is not None:
                segment, place = found
                segment.states[place] = state
                segment.hint = min(segment.hint, place)

    def _replace(self, state: int) -> None:
        with self._changed:
            for segment in self._segments:
                first = segment.states.find(state)
                if first >= 0:
                    segment.states = segment.states.replace(bytes([state]), bytes([PENDING]))
                    segment.hint = min(segment.hint, first)


def _read(segment: Segment, place: int) -> bytes | None:
    try:
        return segment.read(place)
    except OSError as error:
        if error.errno in _ROTTEN:
            return None
        raise SpoolError(
            f"{segment.file}: can't be read: {error.strerror}; its frames are sent by the next run"
        ) from error
