"""A spool in figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """How a spool stands; all from `inherited` to `damaged` count since this boot.

    Attributes:
        bytes: Disk taken.
        waiting: Frames to be sent.
        taken: Frames being sent.
        held: Frames that are not to be sent for now.
        full: The newest frame found no room: it waits, or it was not kept.
        inherited: Frames of earlier boots that were found.
        appended: Frames that were kept.
        finished: Frames that were answered, the refused ones among them.
        refused: Frames that the cloud refused as bad.
        dropped: Frames that were forgotten for want of room; an answer may still come for those
            that were being sent.
        dropped_new: Frames that came and were not kept, for want of room.
        expired: Frames that were forgotten for their age.
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
    dropped_new: int = 0
    expired: int = 0
    damaged: int = 0
    oldest_age_s: float = 0.0

    @property
    def left(self) -> int:
        """Frames that are still on disk."""
        return self.waiting + self.taken + self.held
