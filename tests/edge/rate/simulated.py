"""A device, a link and a cloud in simulated time, around a real pilot."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from sparsight_edge.rate.ladder import MESSAGE_BYTES, Choice, RateLimits
from sparsight_edge.rate.pilot import Pilot
from sparsight_edge.spool.stats import SpoolStats
from sparsight_edge.uplink.ledger import UplinkStats

SIZES = (29_000.0, 20_000.0, 13_000.0, 8_000.0, 4_700.0)
"""What the bundle says of its rates."""

_STEP_S = 0.05
_LOOK_EVERY = 5


@dataclass
class Simulated:
    """Runs once.

    Attributes:
        capacity: Bytes a second that the link carries, by time.
        fps: Of the camera.
        scene: What frames have over what the bundle says.
        patches: Of an uncut frame.
        rtt_s: Of link and cloud.
        ages: Of the queue, 4 a second.
        choices: What held, likewise.
        sent: How many frames were coded.
    """

    capacity: Callable[[float], float]
    fps: float = 2.0
    scene: float = 1.0
    patches: int = 40
    rtt_s: float = 0.1
    may_skip: bool = True
    limits: RateLimits = field(default_factory=RateLimits)
    max_kbps: float | None = None

    def __post_init__(self) -> None:
        self.now_s = 0.0
        self.pilot = Pilot.following(
            self.limits,
            SIZES,
            len(SIZES),
            2,
            may_skip=self.may_skip,
            max_kbps=self.max_kbps,
            clock=lambda: self.now_s,
        )
        self.ages: list[float] = []
        self.choices: list[Choice] = []
        self.sent = 0

    def run(self, seconds: float) -> Simulated:
        queue: deque[list[float]] = deque()  # when spooled, bytes, bytes left to send
        flying: deque[tuple[float, float, float]] = deque()  # when answered, when spooled, bytes
        answered, next_s = 0.0, 0.0
        for number in range(int(seconds / _STEP_S)):
            now_s = self.now_s = number * _STEP_S
            if now_s >= next_s:
                next_s += 1 / self.fps
                if self.pilot.take():
                    size = self._code(self.pilot.choice())
                    queue.append([now_s, size, size])
            budget = self.capacity(now_s) * _STEP_S
            while queue and budget > 0:
                part = min(budget, queue[0][2])
                budget -= part
                queue[0][2] -= part
                if queue[0][2] <= 0:
                    spooled_s, size, _ = queue.popleft()
                    flying.append((now_s + self.rtt_s, spooled_s, size))
            while flying and flying[0][0] <= now_s:
                answered += flying.popleft()[2]
            if number % _LOOK_EVERY == 0:
                oldest = flying[0][1] if flying else queue[0][0] if queue else now_s
                stats = SpoolStats(
                    waiting=len(queue), taken=len(flying), oldest_age_s=now_s - oldest
                )
                self.pilot.look(stats, UplinkStats(answered_bytes=int(answered)))
                self.ages.append(now_s - oldest)
                self.choices.append(self.pilot.choice())
        return self

    def rates(self, from_s: float, to_s: float | None = None) -> list[int]:
        """The rates that held in a part of the time."""
        end = None if to_s is None else int(4 * to_s)
        return [choice.rate for choice in self.choices[int(4 * from_s) : end]]

    def switches(self, from_s: float, to_s: float) -> int:
        """How often it changed in a part of the time."""
        part = self.choices[int(4 * from_s) : int(4 * to_s)]
        return sum(a != b for a, b in pairwise(part))

    def _code(self, choice: Choice) -> float:
        budget = choice.max_patches
        patches = self.patches if budget is None else min(budget, self.patches)
        payload = SIZES[choice.rate] * self.scene * patches / self.patches
        self.pilot.coded(choice, patches, int(payload))
        self.sent += 1
        return payload + MESSAGE_BYTES
