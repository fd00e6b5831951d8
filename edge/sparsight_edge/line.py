"""What lies between two threads of the agent: a short line of items, or only the newest.

put ─> [item][item] ─> take            full: `put` waits, or the oldest makes room
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """A bounded queue that can end.

    Attributes:
        skipped: Items that made room for newer ones.
    """

    def __init__(self, length: int, *, newest_wins: bool = False) -> None:
        """An empty line.

        Args:
            length: Items that may wait in it.
            newest_wins: A full line drops its oldest item instead of making `put` wait.
        """
        self.skipped = 0
        self._length = length
        self._newest_wins = newest_wins
        self._items: deque[T] = deque()
        self._ended = self._abandoned = False
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Add an item.

        Returns:
            False if nobody will take it any more.
        """
        with self._changed:
            if self._newest_wins and len(self._items) >= self._length:
                self._items.popleft()
                self.skipped += 1
            while len(self._items) >= self._length and not self._abandoned:
                self._changed.wait()
            if self._abandoned:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float | None = None) -> T | None:
        """The oldest item; None once the line has ended and is empty, or was abandoned.

        Args:
            timeout_s: How long to wait for one; None is for ever.

        Raises:
            TimeoutError: None came in that time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._ended, timeout_s):
                raise TimeoutError
            if not self._items:
                return None
            self._changed.notify_all()
            return self._items.popleft()

    def end(self) -> None:
        """Nothing more will be put."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nothing more will be taken; what waits is dropped."""
        with self._changed:
            self._ended = self._abandoned = True
            self._items.clear()
            self._changed.notify_all()
