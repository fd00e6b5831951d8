"""What Serve holds, without Serve: it calls from as many threads as it likes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sparsight.wire import FrameFeatures
from sparsight_cloud.serving.batching import Computed
from sparsight_cloud.serving.dispatch import Answer
from sparsight_cloud.serving.places import Ticket
from sparsight_cloud.serving.ray_replica import Broken, RayReplica

from .hashes import CRASH, HashReplica, a_frame

TICKET = Ticket(0, frozenset({0}))


class Watched(HashReplica):
    """Notes how many batches are in it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most, self._lock = 0, 0, threading.Lock()

    def run(self, frames: Sequence[FrameFeatures], /) -> list[Answer]:
        """Take a little while."""
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self._lock:
            self.now -= 1
        return list(super().run(frames))


def test_a_second_batch_waits_for_the_first() -> None:
    watched = Watched()
    replica = RayReplica(lambda: watched, on_loopback=False)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda i: replica.run([a_frame(seq=i)], TICKET), range(8)))
    assert watched.most == 1
    assert all(isinstance(answer, Computed) and answer.compute_ms < 200 for answer in answers)


def test_a_batch_that_breaks_the_model_lets_the_next_one_in() -> None:
    replica = RayReplica(HashReplica, on_loopback=False)
    assert isinstance(replica.run([a_frame(payload=CRASH)], TICKET), Broken)
    assert isinstance(replica.run([a_frame()], TICKET), Computed)
