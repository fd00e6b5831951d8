"""One direction of a shaped link, by a clock that is given: no sockets, no threads.

put ─ lost? ─> [queue, bounded] ─ so many bits a second ─> [on the way, so many ms] ─> take
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Shape:
    """What a link is like.

    Attributes:
        kbps: Of packets with their IP headers; 0 is an outage, in which all is lost.
        delay_ms: How long a packet is on its way, once it is through.
        loss: Share of packets that get lost, by chance.
        queue_ms: How much may wait to be let through, in time; the rest is lost.
        down_kbps: Likewise on the way back; None is as much. An outage is one both ways.
    """

    kbps: float
    delay_ms: float = 20.0
    loss: float = 0.0
    queue_ms: float = 500.0
    down_kbps: float | None = None

    @property
    def back(self) -> Shape:
        """The same for the way back."""
        kbps = self.kbps if self.down_kbps is None or not self.kbps else self.down_kbps
        return replace(self, kbps=kbps)


_PACKETS_MIN = 8
_PACKET_BYTES = 1500


class Pipe:
    """Holds packets until they are due."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        self.shape = shape
        self._chance = random.Random(seed)
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._waiting_bytes = 0
        self._flying: deque[tuple[float, bytes]] = deque()
        self._free_s = 0.0

    def put(self, packet: bytes, now_s: float) -> None:
        """A packet comes to the link."""
        shape = self.shape
        room = max(_PACKETS_MIN * _PACKET_BYTES, shape.kbps * shape.queue_ms / 8)
        if not shape.kbps or self._chance.random() < shape.loss:
            return
        if self._waiting_bytes + len(packet) <= room:
            self._waiting.append((now_s, packet))
            self._waiting_bytes += len(packet)

    def take(self, now_s: float) -> list[bytes]:
        """The packets that are through by now, in order."""
        if not self.shape.kbps:
            self._waiting.clear()
            self._waiting_bytes = 0
        while self._waiting and max(self._free_s, self._waiting[0][0]) <= now_s:
            came_s, packet = self._waiting.popleft()
            self._waiting_bytes -= len(packet)
            self._free_s = max(self._free_s, came_s) + len(packet) / self.shape.kbps / 125
            self._flying.append((self._free_s + self.shape.delay_ms / 1e3, packet))
        due = []
        while self._flying and self._flying[0][0] <= now_s:
            due.append(self._flying.popleft()[1])
        return due

    def next_s(self) -> float:
        """When to look next; infinite if nothing is in it."""
        soon = [self._flying[0][0]] if self._flying else []
        if self._waiting:
            soon.append(max(self._free_s, self._waiting[0][0]))
        return min(soon, default=float("inf"))
