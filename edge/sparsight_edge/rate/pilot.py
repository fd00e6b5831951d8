"""The owner of the rate control: asked by the agent's threads, told by them how it goes.

    capture ─ take? ──────────┐                  ┌── look, 4 times a second ─ main thread
    engine ── choice ─────> Pilot <── law, ladder ┘
    coding ── coded(bytes) ───┘

A fixed pilot always says the same: who does not ask for control has none.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparsight_edge.rate.goodput import Goodput
from sparsight_edge.rate.ladder import Choice, RateLimits, Sizes
from sparsight_edge.rate.law import Seen, State, step
from sparsight_edge.spool.stats import SpoolStats
from sparsight_edge.uplink.ledger import UplinkStats

_PACE_FRAMES = 20  # a pace is measured over so many
_CAP_SHARE = 0.85  # of `--max-kbps`, for messages; headers and the pacer's reserve take the rest


@dataclass(frozen=True, slots=True)
class RateStats:
    """The rate control in figures.

    Attributes:
        rate: Index of the codec's level that frames are taken at now.
        max_patches: Patches a frame at most, None for all.
        every: Of so many frames one is taken.
        adaptive: Whether it may change.
        skipped: Frames that were left out.
        switches: How often it changed.
        goodput_kbps: What the link last carried while frames waited; None if they never did.
        queue_age_s: How long the oldest frame has waited for its answer, less what the cloud takes.
    """

    rate: int = 0
    max_patches: int | None = None
    every: int = 1
    adaptive: bool = False
    skipped: int = 0
    switches: int = 0
    goodput_kbps: float | None = None
    queue_age_s: float = 0.0


class Pilot:
    """Chooses; from any thread."""

    def __init__(
        self,
        rungs: Sequence[Choice],
        begin: int,
        sizes: Sizes,
        target_age_s: float = RateLimits().target_age_s,
        max_kbps: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        adaptive: bool = True,
        may_skip: bool = False,
    ) -> None:
        """Begin at a rung.

        Args:
            rungs: The ladder.
            begin: Which one to begin at.
            sizes: What frames have.
            target_age_s: How old the queue may get.
            max_kbps: What may be sent at all; None for as much as the link carries.
            clock: Seconds from any moment.
            adaptive: Whether it may leave the rung.
            may_skip: Whether other limits may leave out frames.
        """
        self._adaptive, self._may_skip = adaptive, may_skip
        self._lock = threading.Lock()
        self._clock = clock
        self._rungs, self._sizes = tuple(rungs), sizes
        self._target_age_s, self._max_kbps = target_age_s, max_kbps
        self._state = State.begin(begin, clock())
        self._goodput = Goodput()
        self._coded: deque[tuple[float, int]] = deque(maxlen=_PACE_FRAMES)  # when, one of how many
        self._most_per_s = 0.0
        self._number = self._skipped = 0
        self._age_s = 0.0

    @classmethod
    def fixed(cls, rate: int) -> Pilot:
        """One that takes every frame at this rate."""
        return cls((Choice(rate),), 0, Sizes.of((), rate + 1), adaptive=False)

    @classmethod
    def following(
        cls,
        limits: RateLimits,
        sizes_bytes: Sequence[float],
        rates: int,
        begin_rate: int,
        *,
        may_skip: bool,
        max_kbps: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Pilot:
        """One that follows the link.

        Args:
            limits: What it keeps to.
            sizes_bytes: Of each rate, from the bundle; empty if it does not say.
            rates: How many there are.
            begin_rate: The rate to begin with, if the limits allow it.
            may_skip: Whether frames may be left out.
            max_kbps: As above.
            clock: As above.

        Raises:
            UsageError: The limits leave nothing.
        """
        rungs = limits.ladder(rates, may_skip=may_skip)
        begin = next((i for i, rung in enumerate(rungs) if rung.rate >= begin_rate), 0)
        sizes = Sizes.of(sizes_bytes, rates)
        return cls(rungs, begin, sizes, limits.target_age_s, max_kbps, clock, may_skip=may_skip)

    @property
    def adaptive(self) -> bool:
        """Whether it may choose differently from frame to frame."""
        return self._adaptive

    def take(self) -> bool:
        """Whether the frame that comes now is sent; the capture thread asks of each."""
        with self._lock:
            self._number += 1
            taken = self._number % self._now().every == 0
            self._skipped += not taken
            return taken

    def choice(self) -> Choice:
        """What the next frame may cost; the engine's thread asks of each."""
        with self._lock:
            return self._now()

    def coded(self, choice: Choice, patches: int, payload_bytes: int) -> None:
        """A frame was coded as was chosen for it."""
        with self._lock:
            self._coded.append((self._clock(), choice.every))
            self._most_per_s = max(self._most_per_s, self._coded_per_s())
            self._sizes = self._sizes.learn(choice, patches, payload_bytes)

    def look(self, spool: SpoolStats, uplink: UplinkStats) -> None:
        """See how the link fares, and follow.

        Args:
            spool: What waits.
            uplink: What was answered, and what telling by change has saved.
        """
        with self._lock:
            now_s = self._clock()
            # A cloud that is slow is not helped by fewer bytes.
            self._age_s = max(0.0, self._queue_age_s(spool) - uplink.cloud_ms / 1e3)
            waits = self._age_s > self._target_age_s / 2
            self._goodput.look(now_s, uplink.answered_bytes, waits=waits)
            if not self._adaptive or len(self._coded) < 2:
                return
            cap = None
            if self._max_kbps is not None:
                # Needs are of whole frames; of a still scene less is sent.
                sent = uplink.sent_bytes or 1
                cap = _CAP_SHARE * 125 * self._max_kbps * (sent + uplink.saved_bytes) / sent
            seen = Seen(
                now_s,
                self._age_s,
                self._goodput.value,
                self._goodput.age_s(now_s),
                [self._frames_per_s(rung) * self._sizes.frame_bytes(rung) for rung in self._rungs],
                cap,
                1 / per_s if (per_s := self._frames_per_s(self._now())) else 0.0,
            )
            self._state = step(self._state, seen, self._target_age_s)

    def change(self, limits: RateLimits, rates: int, *, max_kbps: float | None) -> None:
        """Keep to other limits from now on, at a rung that takes no more.

        Raises:
            UsageError: The limits leave nothing; the old ones hold on.
        """
        with self._lock:
            if not self._adaptive:
                return
            now = self._now()
            rungs = limits.ladder(rates, may_skip=self._may_skip)
            cost = self._sizes.frame_bytes(now) / now.every
            costs = [self._sizes.frame_bytes(rung) / rung.every for rung in rungs]
            alike = next((i for i, one in enumerate(costs) if one <= cost), len(rungs) - 1)
            self._state = State.begin(alike, self._clock())
            self._rungs = rungs
            self._target_age_s, self._max_kbps = limits.target_age_s, max_kbps

    def stats(self) -> RateStats:
        """How it stands."""
        with self._lock:
            now, goodput = self._now(), self._goodput.value
            return RateStats(
                rate=now.rate,
                max_patches=now.max_patches,
                every=now.every,
                adaptive=self._adaptive,
                skipped=self._skipped,
                switches=self._state.switches,
                goodput_kbps=None if goodput is None else goodput / 125,
                queue_age_s=self._age_s,
            )

    def _now(self) -> Choice:
        return self._rungs[self._state.rung]

    def _queue_age_s(self, spool: SpoolStats) -> float:
        waiting = spool.waiting + spool.taken
        if not waiting:
            return 0.0
        if spool.held and (per_s := self._coded_per_s()):
            # The oldest may be a held one, which does not wait for the link: by Little's law then.
            return min(spool.oldest_age_s, waiting / per_s)
        return spool.oldest_age_s

    def _frames_per_s(self, rung: Choice) -> float:
        """Frames a second that a rung would send, as far as the engine keeps up."""
        come = sum(every for _, every in list(self._coded)[1:])
        seconds = self._coded[-1][0] - self._coded[0][0]
        return min(come / seconds / rung.every, self._most_per_s) if seconds else 0.0

    def _coded_per_s(self) -> float:
        seconds = self._coded[-1][0] - self._coded[0][0] if self._coded else 0.0
        return (len(self._coded) - 1) / seconds if seconds else 0.0
