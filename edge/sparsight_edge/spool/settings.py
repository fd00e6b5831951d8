"""How much a spool may hold, what happens when it is full, and who goes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsight.errors import UsageError

MIB = 1 << 20
SPOOL_BYTES_MIN = 64 << 10

WhenFull = Literal["block", "drop-oldest", "drop-newest", "stop"]
Order = Literal["oldest-first", "live-first"]


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """What a spool promises.

    A disk that is full is dealt with as a spool that is.

    Attributes:
        max_bytes: Disk for frames, the done ones of a file not yet freed included.
        when_full: What becomes of a frame that finds no room. `block`: who brings it waits.
            `drop-oldest`: the oldest frames are forgotten for it. `drop-newest`: it is not kept.
            `stop`: an error ends the agent, and what is spooled stays.
        max_age_s: Frames older than this are forgotten; None keeps them until they are answered.
        order: `oldest-first`, or `live-first`: the newest frames pass those that wait.
    """

    max_bytes: int = 512 * MIB
    when_full: WhenFull = "block"
    max_age_s: float | None = None
    order: Order = "oldest-first"

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            UsageError: Too few bytes, no such policy or order, or an age that nothing has.
        """
        if self.max_bytes < SPOOL_BYTES_MIN:
            raise UsageError(
                f"spool: expected at least {SPOOL_BYTES_MIN} bytes, got {self.max_bytes}"
            )
        if self.max_age_s is not None and not self.max_age_s > 0:
            raise UsageError(f"max_age_s: expected more than 0 seconds, got {self.max_age_s}")
