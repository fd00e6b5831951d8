"""How old frames are, on machines whose clock may be wrong and may jump.

A board without a battery boots in 1970, or at the hour of its last shutdown, and jumps to the right
time when the network tells it. So:

- Frames of this boot are aged by a clock that only runs, also while the machine sleeps. No jump of
  the wall clock touches them.
- Frames of earlier boots have what the wall clock showed, put right by what it showed last in their
  boot: a jump in the middle of it moves all of them. If that lies before this program was written
  nobody knows when it was, and their age counts from the start of this boot.
- No age is negative, and no frame of an earlier boot is younger than this boot.
- The wall clock is believed, as far as frames are to be forgotten for it, when it has stood for a
  minute: a wrong answer of the network that is put right at once costs none.

What is left: a clock that is ahead and stays so makes frames of earlier boots look old, and so does
one that was behind in an earlier boot and was put right only after it, or in a file of it that is
gone already. Where there is no such clock, no `max_age_s`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BORN_UNIX_S = 1_767_225_600.0
"""2026-01-01: a clock that shows less is not set."""

_STAND_S = 60.0
_STEP_S = 1.0


def _running_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SpoolClock:
    """The times that a spool needs; not for threads."""

    def __init__(
        self,
        unix_s: Callable[[], float] = time.time,
        running_s: Callable[[], float] = _running_s,
    ) -> None:
        """A clock that starts now.

        Args:
            unix_s: Seconds since 1970; may jump.
            running_s: Seconds since whenever; never jumps.
        """
        self.unix_s = unix_s
        self._running_s = running_s
        self._begin_s = running_s()
        self._ahead_s = unix_s()  # of the wall clock over `ran_s`
        self._stepped_s = 0.0

    def ran_s(self) -> float:
        """Seconds since this boot."""
        return self._running_s() - self._begin_s

    def age_s(self, ran_s: float) -> float:
        """Age of a frame of this boot, from what `ran_s` was then."""
        return max(self.ran_s() - ran_s, 0.0)

    def earlier_age_s(self, unix_s: float) -> float:
        """Age of a frame of an earlier boot, from what the wall clock was then."""
        ran_s = self.ran_s()
        return ran_s if unix_s < BORN_UNIX_S else max(self.unix_s() - unix_s, ran_s)

    def stands(self) -> bool:
        """Whether the wall clock has not jumped for a while; to be asked every second or so."""
        ran_s = self.ran_s()
        ahead_s = self.unix_s() - ran_s
        if abs(ahead_s - self._ahead_s) > _STEP_S:
            self._stepped_s = ran_s
        self._ahead_s = ahead_s
        return ran_s - self._stepped_s >= _STAND_S
