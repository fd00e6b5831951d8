"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Waits that double from try to try up to a cap, each shortened by chance by up to a half.

    By chance, since a fleet that lost its cloud at one moment must not come back at one moment.
    """

    def __init__(
        self, first_s: float, cap_s: float, chance: Callable[[], float] = random.random
    ) -> None:
        """Begin with the shortest wait.

        Args:
            first_s: The first wait at its longest.
            cap_s: The longest wait.
            chance: Gives numbers in [0, 1).
        """
        self.first_s = first_s
        self.cap_s = cap_s
        self._chance = chance
        self._tries = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """The next wait, never shorter than what the other side asked for."""
        longest_s = min(self.cap_s, self.first_s * 2.0 ** min(self._tries, 60))
        self._tries += 1
        return max(at_least_s * (1 + 0.1 * self._chance()), longest_s * (1 - 0.5 * self._chance()))

    def slow_s(self) -> float:
        """A wait for something that only people can mend."""
        return self.cap_s * (1 - 0.5 * self._chance())

    def reset(self) -> None:
        """It worked: begin anew."""
        self._tries = 0
