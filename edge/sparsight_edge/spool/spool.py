"""Store and forward: a frame is on disk from its coding to its answer, whatever happens between.

    append ─> [files of frames] ─ take, whose turn it is ─> in flight ─ finish ─> gone
                     ^                                          │
                     └──── give_back (link lost, cloud busy), hold (the cloud can't read it yet)

- A frame that was appended survives the process at once (one `write`), and the machine once synced:
  whoever runs the spool calls `sync` every second or so. What says that a frame is done is never
  synced: if it is lost the frame is sent again, and the cloud knows it by its key.
- A kill or a power cut costs at most the frame that was being written. What rots on the disk costs
  the frames that it hits; they are passed over and counted.
- A boot's frames have its `epoch` and count `seq` from 0. Those of earlier boots come first, or the
  newest do (`turns`).
- A full disk is dealt with as a full spool, by `SpoolSettings.when_full`.
- An append log, not SQLite: the same promise costs half the processor and a sixth of the writes
  (`bench/spool.py`, docs/LOG.md).
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from sparsight.errors import SpoolError
from sparsight.frame_file import HEADER, epoch_in
from sparsight_edge.spool.clock import SpoolClock
from sparsight_edge.spool.home import Home
from sparsight_edge.spool.refused import RefusedRecord
from sparsight_edge.spool.segment import DISK_FULL, HELD, PENDING, TAKEN, record_bytes
from sparsight_edge.spool.settings import SpoolSettings
from sparsight_edge.spool.shelf import Shelf
from sparsight_edge.spool.stats import SpoolStats
from sparsight_edge.spool.turns import Turns

REFUSED_SHARE = 16  # the record of refused frames takes this part of the bytes, beside the frames
_LOOK_S = 0.2  # how often somebody who waits for room looks whether to stop
_EXPIRE_S = 1.0


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


class Spool:
    """Frames on disk, for one thread that appends and others that send.

    Attributes:
        epoch: This boot.
        settings: How much, and what then.
        waited_s: How long frames waited for room, in all.
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
        self.waited_s = 0.0
        self._folder = folder
        self._clock = clock or SpoolClock()
        self._changed = threading.Condition()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # The name of a file is its frames' epoch: known before the folder is ours to read.
            newest = max((epoch_in(file) for file in folder.glob("*.seg")), default=0)
        except OSError as error:
            raise SpoolError(f"{folder}: no spool can be here: {error.strerror}") from error
        self._home = Home(folder, device, newest)
        self.epoch = self._home.epoch
        try:
            self._shelf = Shelf(folder, self.epoch, self.settings.max_bytes, self._clock)
        except SpoolError:
            self._home.close()
            raise
        self._turns = Turns(self._shelf, self.settings.order)
        self._refused_record = RefusedRecord(folder, self.settings.max_bytes // REFUSED_SHARE)
        self._next_seq = 0
        self._inherited = self._shelf.open_frames()
        self._finished = self._refused = self._damaged = 0
        self._dropped = self._dropped_new = self._expired = 0
        self._expired_s = 0.0  # when frames were looked through for old ones
        self._full = self._closed = False

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
            The frame's number; None if `stop` came first or, for want of room, it was not kept.

        Raises:
            SpoolError: The frame is larger than the spool may be, the disk refuses, or there is no
                room and `when_full` is `stop`.
        """
        if record_bytes(len(body)) + HEADER.size > self.settings.max_bytes:
            raise SpoolError(
                f"{self._folder}: a frame of {len(body)} bytes does not fit into a spool of "
                f"{self.settings.max_bytes}; give it more (--spool-mb)"
            )
        with self._changed:
            while True:
                self._expire()
                if self._shelf.has_room(len(body)) and self._write(body):
                    self._full = False
                    self._next_seq += 1
                    return self._next_seq - 1
                self._full = True
                policy = self.settings.when_full
                if policy == "stop":
                    raise SpoolError(
                        f"{self._folder}: the spool is full and was to stop then; its "
                        f"{self._shelf.open_frames()} frames stay, and the next run sends them. "
                        "Make room on the disk, give it more (--spool-mb) or another --when-full"
                    )
                if policy == "drop-oldest" and self._shelf.open_frames():
                    self._dropped += self._shelf.drop_oldest()
                elif policy != "block":
                    self._dropped_new += 1
                    return None
                elif stop.is_set():
                    self._full = False
                    return None
                else:
                    begin_s = time.monotonic()
                    self._changed.wait(_LOOK_S)
                    self.waited_s += time.monotonic() - begin_s

    def take(self) -> Spooled | None:
        """The frame whose turn it is, of those that nobody has taken; None if there is none.

        Raises:
            SpoolError: It is there, but can't be read now.
        """
        with self._changed:
            self._expire()
            while (found := self._turns.next(self._next_seq)) is not None:
                segment, place = found
                body = segment.read(place)
                if body is not None:
                    segment.states[place] = TAKEN
                    return Spooled(segment.epoch, segment.first_seq + place, body)
                self._damaged += 1
                segment.finish(place)
            self._shelf.free()
            return None

    def give_back(self, epoch: int, seq: int) -> None:
        """Let a frame that was taken be taken again, before those behind it."""
        with self._changed:
            self._shelf.put(epoch, seq, PENDING)

    def give_back_all(self) -> None:
        """Let all frames that were taken be taken again."""
        with self._changed:
            self._shelf.replace(TAKEN)

    def hold(self, epoch: int, seq: int) -> None:
        """Keep a frame that was taken, but don't give it out again until `release`."""
        with self._changed:
            self._shelf.put(epoch, seq, HELD)

    def release(self) -> None:
        """Let all held frames be taken again."""
        with self._changed:
            self._shelf.replace(HELD)

    def finish(self, epoch: int, seq: int) -> bool:
        """Forget a frame that was answered.

        Returns:
            Whether it was there: an answer may come twice, or after the frame was dropped.
        """
        with self._changed:
            found = self._shelf.find(epoch, seq)
            if found is None:
                return False
            segment, place = found
            segment.finish(place)
            self._finished += 1
            self._shelf.free()
            self._changed.notify_all()
            return True

    def refuse(self, epoch: int, seq: int, reason: str) -> bool:
        """Forget a frame that is bad, and keep it in the record of such.

        Returns:
            As `finish`.
        """
        with self._changed:
            found = self._shelf.find(epoch, seq)
            if found is None:
                return False
            segment, place = found
            self._refused_record.add(epoch, seq, segment.read(place) or b"", reason)
            self._refused += 1
            return self.finish(epoch, seq)

    def sync(self) -> None:
        """Make what was appended survive the machine as well, and forget what is too old.

        Raises:
            SpoolError: The disk refuses.
        """
        with self._changed:
            self._expire()
            fd = self._shelf.sync_fd()
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
            self._shelf.seal()

    def stats(self) -> SpoolStats:
        """How it stands."""
        with self._changed:
            return SpoolStats(
                bytes=self._shelf.disk_bytes(),
                waiting=self._shelf.count(PENDING),
                taken=self._shelf.count(TAKEN),
                held=self._shelf.count(HELD),
                full=self._full,
                inherited=self._inherited,
                appended=self._next_seq,
                finished=self._finished,
                refused=self._refused,
                dropped=self._dropped,
                dropped_new=self._dropped_new,
                expired=self._expired,
                damaged=self._shelf.damaged + self._damaged,
                oldest_age_s=self._shelf.oldest_age_s(),
            )

    def close(self) -> None:
        """Sync, and let go of the folder; what is not answered stays in it. May be called twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._shelf.close()
            self._home.close()

    def _write(self, body: bytes) -> bool:
        """Append to the current file, or say that the disk is full."""
        try:
            self._home.write()
            self._shelf.append(body, self._next_seq)
        except OSError as error:
            # Who waits must have something here whose answer makes room.
            if error.errno in DISK_FULL and (
                self.settings.when_full != "block" or self._shelf.open_frames()
            ):
                return False
            raise SpoolError(
                f"{self._folder}: a frame can't be written: {error.strerror}; make room on the disk"
            ) from error
        return True

    def _expire(self) -> None:
        """Forget what is too old, if it is time to look."""
        ran_s = self._clock.ran_s()
        if self.settings.max_age_s is not None and ran_s - self._expired_s >= _EXPIRE_S:
            self._expired_s = ran_s
            self._expired += self._shelf.expire(self.settings.max_age_s)
