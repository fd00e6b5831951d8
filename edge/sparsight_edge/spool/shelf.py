"""The files of a spool, oldest first; frames come to the last one and leave with whole files.

    [earlier boots' files][this boot's, sealed][current]  <─ append
          └── removed when nothing waits in it

Disk is freed file by file, a sixteenth of the whole each. So what drops the oldest frames drops a
file of them, and one frame that waits holds its file.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from sparsight.errors import SpoolError
from sparsight.frame_file import HEADER
from sparsight_edge.spool.clock import SpoolClock
from sparsight_edge.spool.segment import DONE, HELD, PENDING, Segment, record_bytes
from sparsight_edge.spool.settings import MIB

SEGMENTS = 16
SEGMENT_BYTES_MAX = 8 * MIB

Place = tuple[Segment, int]
"""Where a frame is."""


class Shelf:
    """Files of frames; not for threads.

    Attributes:
        epoch: This boot.
        damaged: Frames of earlier boots that could not be read.
    """

    def __init__(self, folder: Path, epoch: int, max_bytes: int, clock: SpoolClock) -> None:
        """Take over what earlier boots left.

        Raises:
            SpoolError: It can't be read, or is of a later version.
        """
        self.epoch = epoch
        self.damaged = 0
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._segments: list[Segment] = []
        self._current: Segment | None = None
        try:
            self._load()
        except OSError as error:
            raise SpoolError(f"{folder}: can't be read: {error.strerror}") from error

    def count(self, state: int) -> int:
        """Frames that are `PENDING`, `TAKEN` or `HELD`."""
        return sum(segment.states.count(state) for segment in self._segments)

    def open_frames(self) -> int:
        """Frames that are not done."""
        return sum(segment.open_frames for segment in self._segments)

    def disk_bytes(self) -> int:
        """Disk taken."""
        return sum(segment.bytes for segment in self._segments)

    def oldest_age_s(self) -> float:
        """Age of the oldest frame that is not done; 0.0 if there is none."""
        ages_s = [self._age_s(s, s.oldest()) for s in self._segments if s.open_frames]
        return max(ages_s, default=0.0)

    def has_room(self, body_length: int) -> bool:
        """Whether a frame fits, after ending the current file if that is due or frees it."""
        need = record_bytes(body_length)
        segment_bytes = min(self._max_bytes // SEGMENTS, SEGMENT_BYTES_MAX)
        current = self._current
        if current is not None and len(current):
            long_enough = current.bytes + need > segment_bytes
            freed = not current.open_frames and self.disk_bytes() + need > self._max_bytes
            if long_enough or freed:
                self.seal()
        head = 0 if self._current else HEADER.size
        return self.disk_bytes() + need + head <= self._max_bytes

    def append(self, body: bytes, seq: int) -> None:
        """Write a frame.

        Raises:
            OSError: It can't be written whole, and then none of it is there.
        """
        if self._current is None:
            self._current = Segment.create(self._folder, self.epoch, seq)
            self._segments.append(self._current)
        self._current.append(body, self._clock.unix_s(), self._clock.ran_s())

    def find(self, epoch: int, seq: int) -> Place | None:
        """A frame that is not done; None if there is no such."""
        for segment in self._segments:
            place = seq - segment.first_seq
            if segment.epoch == epoch and 0 <= place < len(segment):
                return None if segment.states[place] == DONE else (segment, place)
        return None

    def oldest_pending(self) -> Place | None:
        """The oldest frame that is to be sent."""
        for segment in self._segments:
            segment.hint = segment.states.find(PENDING, segment.hint)
            if segment.hint >= 0:
                return segment, segment.hint
            segment.hint = len(segment)
            if segment is not self._current:
                segment.rest()
        return None

    def put(self, epoch: int, seq: int, state: int) -> None:
        """Change what a frame is, if it is there."""
        if (found := self.find(epoch, seq)) is not None:
            segment, place = found
            segment.states[place] = state
            segment.hint = min(segment.hint, place)

    def replace(self, state: int) -> None:
        """Make all frames of a state `PENDING`."""
        for segment in self._segments:
            first = segment.states.find(state)
            if first >= 0:
                segment.states = segment.states.replace(bytes([state]), bytes([PENDING]))
                segment.hint = min(segment.hint, first)

    def drop_oldest(self) -> int:
        """Forget the oldest file's frames; how many they were."""
        oldest = self._segments[0]
        dropped = oldest.open_frames
        oldest.open_frames = 0
        if oldest is self._current:
            self.seal()
        self.free()
        return dropped

    def expire(self, max_age_s: float) -> int:
        """Forget frames older than this, but for those being sent; how many they were.

        An answer to one that is being sent may be on its way; without one it is given back, and is
        forgotten then. Frames of earlier boots wait until the wall clock is believed (`clock`).
        """
        believed, expired = self._clock.stands(), 0
        for segment in self._segments:
            if not segment.open_frames or not (believed or segment.epoch == self.epoch):
                continue
            for place in range(segment.oldest(), len(segment)):
                if self._age_s(segment, place) <= max_age_s:
                    break
                if segment.states[place] in (PENDING, HELD):
                    segment.finish(place)
                    expired += 1
        self.free()
        return expired

    def sync_fd(self) -> int:
        """A descriptor of its own to the file being written, to be synced and closed; -1: none."""
        return self._current.sync_fd() if self._current else -1

    def seal(self) -> None:
        """Write no more to the current file."""
        if self._current is not None:
            current, self._current = self._current, None
            with contextlib.suppress(OSError):  # the frames are written; only the sync failed
                current.seal()
            self.free()

    def free(self) -> None:
        """Remove the files in which nothing waits."""
        for segment in [s for s in self._segments if not s.open_frames and s is not self._current]:
            self._segments.remove(segment)
            with contextlib.suppress(OSError):  # the next boot removes it
                segment.remove()

    def close(self) -> None:
        """Let go of the files."""
        self.seal()
        for segment in self._segments:
            segment.close()

    def _age_s(self, segment: Segment, place: int) -> float:
        ran_s = segment.ran_s(place)
        if segment.epoch == self.epoch:
            return self._clock.age_s(ran_s)
        return self._clock.earlier_age_s(segment.begun_unix_s + ran_s)

    def _load(self) -> None:
        loaded = [Segment.load(file) for file in sorted(self._folder.glob("*.seg"))]
        segments = [segment for segment in loaded if segment is not None]
        segments.sort(key=lambda segment: (segment.epoch, segment.first_seq))
        begun_unix_s = {s.epoch: s.begun_unix_s for s in segments if len(s)}  # the last one's
        for segment in segments:
            self.damaged += segment.damaged
            if segment.open_frames:
                segment.begun_unix_s = begun_unix_s[segment.epoch]
                self._segments.append(segment)
            else:
                segment.remove()
        for file in self._folder.glob("*.done"):  # of a file that was just being removed
            if not file.with_suffix(".seg").exists():
                file.unlink()
