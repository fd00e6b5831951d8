"""What the link carries: bytes answered a second, counted only while frames waited."""

from __future__ import annotations

from collections import deque

WINDOW_S = 5.0
"""Of waiting, so long is looked back."""

_LEAST_S = 1.0


class Goodput:
    """A meter; for one thread."""

    def __init__(self) -> None:
        self._parts: deque[tuple[float, float]] = deque()
        self._before: tuple[float, int, bool] | None = None
        self._seen_s = float("-inf")
        self._value: float | None = None

    @property
    def value(self) -> float | None:
        """Bytes a second; None until frames have waited for a while, and if none was answered.

        Then nothing is known but that the link carries less than was sent: it may be a large frame
        on its way, or an outage.
        """
        return self._value

    def age_s(self, now_s: float) -> float:
        """How long ago frames waited; infinite if they never did."""
        return now_s - self._seen_s

    def look(self, now_s: float, answered_bytes: int, *, waits: bool) -> None:
        """How it stands now.

        Args:
            now_s: By any clock.
            answered_bytes: Of all frames answered so far.
            waits: Whether frames wait for the link, rather than the link for frames.
        """
        before, self._before = self._before, (now_s, answered_bytes, waits)
        if before is None or not (waits and before[2]):
            return
        self._parts.append((now_s - before[0], answered_bytes - before[1]))
        self._seen_s = now_s
        while sum(seconds for seconds, _ in self._parts) > WINDOW_S + _LEAST_S:
            self._parts.popleft()
        seconds = sum(seconds for seconds, _ in self._parts)
        if seconds >= _LEAST_S:
            self._value = sum(size for _, size in self._parts) / seconds or None
