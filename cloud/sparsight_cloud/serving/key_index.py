"""Which frames were committed, and where the answers are that a device may still ask for.

    (device, epoch) ─> done: runs of seqs             for ever; a few words
                       places: seq -> line on disk    until the device has acknowledged it

A device that never acknowledges costs no more than `PLACES_MAX` places: the oldest are let go as if
they had been acknowledged. Their results are not lost, only no longer sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sparsight.wire import FrameKey
from sparsight_cloud.serving.intervals import Intervals

PLACES_MAX = 8192
"""Answers of one device's epoch that are kept findable; far more than it may have in flight."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line of results is.

    Attributes:
        segment: Number of the file.
        offset_bytes: Where it begins.
        size_bytes: Its length, the end of the line included.
    """

    segment: int
    offset_bytes: int
    size_bytes: int


@dataclass(slots=True)
class _Epoch:
    done: Intervals = field(default_factory=Intervals)
    places: dict[int, Place] = field(default_factory=dict)


class KeyIndex:
    """Owns what is known of committed frames."""

    def __init__(self) -> None:
        self._epochs: dict[tuple[str, int], _Epoch] = {}

    def __contains__(self, key: FrameKey) -> bool:
        """Whether the frame was committed."""
        epoch = self._epochs.get((key.device, key.epoch))
        return epoch is not None and key.seq in epoch.done

    def __len__(self) -> int:
        """How many frames were committed."""
        return sum(epoch.done.count for epoch in self._epochs.values())

    def place(self, key: FrameKey) -> Place | None:
        """Where the frame's line is, if the device may still ask for it."""
        epoch = self._epochs.get((key.device, key.epoch))
        return None if epoch is None else epoch.places.get(key.seq)

    def add(self, key: FrameKey, place: Place | None) -> None:
        """A frame was committed; without a place it counts as acknowledged."""
        epoch = self._epochs.setdefault((key.device, key.epoch), _Epoch())
        epoch.done.add(key.seq)
        if place is not None:
            epoch.places[key.seq] = place
            if len(epoch.places) > PLACES_MAX:
                del epoch.places[next(iter(epoch.places))]

    def forget(self, device: str, epoch: int, seqs: Iterable[int]) -> list[int]:
        """A device has stored these results.

        Returns:
            Those that were still findable.
        """
        known = self._epochs.get((device, epoch))
        if known is None:
            return []
        return [seq for seq in seqs if known.places.pop(seq, None) is not None]

    def acknowledged(self) -> Iterator[tuple[str, int, Intervals]]:
        """The frames that nobody will ask for again: device, epoch, seqs."""
        for (device, number), epoch in self._epochs.items():
            waiting = sorted(epoch.places)
            runs, start = [], 0
            for seq in waiting:
                runs.append((start, seq))
                start = seq + 1
            runs.append((start, 2**64))
            yield device, number, _overlap(epoch.done, runs)


def _overlap(done: Intervals, runs: list[tuple[int, int]]) -> Intervals:
    """What lies in both; the runs are in order and apart."""
    out, i = [], 0
    for start, end in done:
        while i < len(runs) and runs[i][1] <= start:
            i += 1
        j = i
        while j < len(runs) and runs[j][0] < end:
            out.append((max(start, runs[j][0]), min(end, runs[j][1])))
            j += 1
    return Intervals(out)
