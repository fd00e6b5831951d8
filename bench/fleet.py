"""A cloud and its fleet as a discrete-event model (SimPy), fed with what was measured here.

    frames (Poisson) ─> gateway: one core, a frame after the other
                           └─> batcher: the rule of `serving.batching`
                                  └─> replicas: one queue of batches; n frames take `base + each n`
                                         └─> answered, `way_ms` after all that

Assumed: devices keep no step with each other, so that their frames come as a Poisson process; a
balancer gives every gateway the same share; whichever replica is free takes the next batch of any
gateway; machines and links are never the bottleneck; nothing dies; the way over the radio is not
counted. A frame costs the same however many machines there are.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy
from jaxtyping import Float64

Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class Service:
    """What a frame takes.

    Attributes:
        base_ms: Of a replica, for a batch.
        each_ms: More for each frame in it.
        spread: What batches took over `base_ms + each_ms * n`, to draw from.
        gateway_ms: Of a gateway's core.
        way_ms: Added to a frame that waits for nobody, without what the gateway's core takes.
    """

    base_ms: float
    each_ms: float
    spread: Sequence[float] = (1.0,)
    gateway_ms: float = 0.0
    way_ms: float = 0.0

    @classmethod
    def fitted(
        cls, batches: Sequence[tuple[int, float]], *, gateway_ms: float, way_ms: float
    ) -> Service:
        """The line through measured batches.

        Args:
            batches: Frames and milliseconds of each; all of one size give a line through zero.
            gateway_ms: See above.
            way_ms: See above.
        """
        n, took_ms = np.asarray(batches, np.float64).T
        columns = np.stack([np.ones_like(n), n], axis=1)
        base_ms, each_ms = np.linalg.lstsq(columns, took_ms, rcond=None)[0]
        if base_ms < 0 or np.ptp(n) == 0:
            base_ms, each_ms = 0.0, took_ms.sum() / n.sum()
        spread = took_ms / (base_ms + each_ms * n)
        return cls(float(base_ms), float(each_ms), tuple(spread.tolist()), gateway_ms, way_ms)

    def frames_per_s(self, batch: int) -> float:
        """What a replica can do in full batches."""
        mean = sum(self.spread) / len(self.spread)
        return batch * 1e3 / ((self.base_ms + self.each_ms * batch) * mean)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A cloud under load.

    Attributes:
        offered_per_s: Frames of all devices.
        replicas: Processes that compute.
        gateways: In front of them.
        batch: Frames in one forward pass at most.
        wait_ms: How long a frame waits for company while a lane is free.
        seconds: How long frames come; the first fifth is not counted.
        seed: Of all chance.
    """

    offered_per_s: float
    replicas: int = 1
    gateways: int = 1
    batch: int = 8
    wait_ms: float = 0.0
    seconds: float = 60.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of it.

    Attributes:
        per_s: Frames answered a second while frames came.
        took_ms: From coming to the answer, of each frame that was answered.
        replicas_busy: Share of their time.
        gateways_busy: Share of their cores' time.
        waiting: Frames without an answer when the last had come.
    """

    per_s: float
    took_ms: Float64[np.ndarray, " frames"]
    replicas_busy: float
    gateways_busy: float
    waiting: int

    def percentile_ms(self, percent: float) -> float:
        """Of `took_ms`; infinite if nothing was answered."""
        return float(np.percentile(self.took_ms, percent)) if len(self.took_ms) else math.inf


def simulate(fleet: Fleet, service: Service) -> Lived:
    """Let frames come for a while."""
    world = _World(fleet, service)
    world.env.run(until=fleet.seconds)
    return Lived(
        per_s=world.answered / fleet.seconds,
        took_ms=np.asarray(world.took_s) * 1e3,
        replicas_busy=world.computed_s / fleet.seconds / fleet.replicas,
        gateways_busy=world.came * service.gateway_ms / 1e3 / fleet.seconds / fleet.gateways,
        waiting=world.came - world.answered,
    )


@dataclass(slots=True)
class _Gateway:
    """What waits at one of them: when each frame came, and when it began to wait for company."""

    news: simpy.Event
    free_s: float = 0.0  # its core has taken in all that came, by then
    waiting: deque[tuple[float, float]] = field(default_factory=deque)
    under_way: int = 0


class _World:
    def __init__(self, fleet: Fleet, service: Service) -> None:
        self.env = simpy.Environment()
        self.took_s: list[float] = []
        self.came = self.answered = 0
        self.computed_s = 0.0
        self._fleet = fleet
        self._service = service
        self._chance = random.Random(fleet.seed)
        self._replicas = simpy.Resource(self.env, fleet.replicas)
        self._lanes = fleet.replicas
        for _ in range(fleet.gateways):
            gateway = _Gateway(self.env.event())
            self.env.process(self._come(gateway))
            self.env.process(self._make_batches(gateway))

    def _come(self, gateway: _Gateway) -> Steps:
        share_per_s = self._fleet.offered_per_s / self._fleet.gateways
        while True:
            yield self.env.timeout(self._chance.expovariate(share_per_s))
            self.came += 1
            self.env.process(self._take(gateway, self.env.now))

    def _take(self, gateway: _Gateway, came_s: float) -> Steps:
        gateway.free_s = max(gateway.free_s, came_s) + self._service.gateway_ms / 1e3
        yield self.env.timeout(gateway.free_s - came_s)
        gateway.waiting.append((came_s, self.env.now))
        if len(gateway.waiting) in (1, self._fleet.batch):  # those in between change nothing
            self._tell(gateway)

    def _make_batches(self, gateway: _Gateway) -> Steps:
        while True:
            wait_s = self._wait_s(gateway)
            if wait_s > 0:
                news = [gateway.news]
                if wait_s < math.inf:
                    news.append(self.env.timeout(wait_s))
                yield self.env.any_of(news)
                continue
            n = min(len(gateway.waiting), self._fleet.batch)
            came_s = [gateway.waiting.popleft()[0] for _ in range(n)]
            gateway.under_way += 1
            self.env.process(self._compute(gateway, came_s))

    def _wait_s(self, gateway: _Gateway) -> float:
        """How long until a batch is due; as `Batcher` has it."""
        full = len(gateway.waiting) >= self._fleet.batch
        room = self._lanes * (2 if full else 1)
        if not gateway.waiting or gateway.under_way >= room:
            return math.inf
        due_s = gateway.waiting[0][1] + self._fleet.wait_ms / 1e3
        left_s = due_s - self.env.now
        # A timeout may end a rounding before its time.
        return 0.0 if full or left_s < 1e-9 else left_s

    def _compute(self, gateway: _Gateway, came_s: Sequence[float]) -> Steps:
        with self._replicas.request() as turn:
            yield turn
            service = self._service
            took_ms = service.base_ms + service.each_ms * len(came_s)
            took_s = took_ms * self._chance.choice(service.spread) / 1e3
            yield self.env.timeout(took_s)
            self.computed_s += took_s
        gateway.under_way -= 1
        self._tell(gateway)
        yield self.env.timeout(self._service.way_ms / 1e3)
        self.answered += len(came_s)
        begin_s = self._fleet.seconds / 5
        self.took_s += [self.env.now - one for one in came_s if one >= begin_s]

    def _tell(self, gateway: _Gateway) -> None:
        news, gateway.news = gateway.news, self.env.event()
        news.succeed()
