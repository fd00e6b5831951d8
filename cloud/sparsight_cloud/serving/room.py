"""Who may have how much in flight: nobody more than is left free.

    capacity  |aaaaaaaaaaaa|bbbbbbbb|cc|         free         |
                    a is refused: it has more than that; c may have more

A device that takes all it can get stops at half of the room. n of them stop at a share of n + 1, so
there is always one for who comes next: refusals hit those who have most. This is the dynamic
threshold of Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
switches" (IEEE/ACM Trans. Networking 6(2), 1998), with a factor of 1. Windows of credit are such a
share too (`credit`), so who keeps to them is not refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class Room:
    """Owns the counts of what each device has in flight."""

    def __init__(self, frames_max: Callable[[], int], bytes_max: int) -> None:
        """An empty one.

        Args:
            frames_max: Says how many frames may be in flight; may change.
            bytes_max: What they may cost.
        """
        self._frames_max = frames_max
        self._bytes_max = bytes_max
        self._frames: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def enter(self, device: str, cost_bytes: int) -> bool:
        """Take a frame in, if there is room for it.

        Returns:
            Whether there was.
        """
        free = self._frames_max() - self._frames.total()
        free_bytes = self._bytes_max - self._bytes.total()
        if self._frames[device] >= free or self._bytes[device] + cost_bytes > free_bytes:
            return False
        self._frames[device] += 1
        self._bytes[device] += cost_bytes
        return True

    def leave(self, device: str, cost_bytes: int) -> None:
        """A frame is answered."""
        self._frames[device] -= 1
        self._bytes[device] -= cost_bytes
        if not self._frames[device]:
            del self._frames[device], self._bytes[device]
