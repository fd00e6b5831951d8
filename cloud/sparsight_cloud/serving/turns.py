"""Whose frame is computed next: devices take turns.

    drone-1: f f f f f f f f ─┐
    drone-2: f f             ─┼─ one of each in turn ─> batch
    drone-3: f               ─┘

While n devices wait, each has every n-th frame, however many the others have sent: the fair queue
of Nagle, "On packet switches with infinite storage" (IEEE Trans. Commun. 35(4), 1987), with frames
for packets. A frame waits for no more than its device's earlier ones and n - 1 others for each.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Owns what waits."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._by_device: OrderedDict[str, deque[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """How much waits."""
        return self._count

    def put(self, device: str, item: T) -> None:
        """An item of a device waits, behind its others."""
        self._by_device.setdefault(device, deque()).append(item)
        self._count += 1

    def take(self) -> T:
        """The next one; its device is the last to have another turn."""
        device, items = next(iter(self._by_device.items()))
        item = items.popleft()
        self._count -= 1
        if items:
            self._by_device.move_to_end(device)
        else:
            del self._by_device[device]
        return item

    def firsts(self) -> Iterator[T]:
        """What has waited longest, of each device."""
        return (items[0] for items in self._by_device.values())
