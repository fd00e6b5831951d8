from __future__ import annotations

import asyncio
import time

import pytest

from sparsight.wire import FrameFeatures
from sparsight_cloud.serving import batching
from sparsight_cloud.serving.batching import Batcher, BatchRule, Computed
from sparsight_cloud.serving.dispatch import (
    DispatchUnavailableError,
    ReplicaFailedError,
)
from sparsight_cloud.serving.in_process import InProcessDispatch

from .hashes import CRASH, HashReplica, a_frame, answer


class Gate:
    """Computes when it is let, and notes what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.began: asyncio.Queue[int] = asyncio.Queue()
        self.open = asyncio.Event()
        self.at_once = 0
        self.most_at_once = 0

    async def compute(self, frames: list[FrameFeatures]) -> Computed:
        self.batches.append([frame.key.seq for frame in frames])
        self.began.put_nowait(len(frames))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.open.wait()
        self.at_once -= 1
        return Computed([answer(frame) for frame in frames], 1.0)


async def wait_for_batches(gate: Gate, n: int) -> None:
    for _ in range(n):
        await gate.began.get()


def test_a_device_that_sends_ten_times_as_much_does_not_slow_the_others_down() -> None:
    """Its frames came first, and yet each batch has one of everybody who waits."""

    async def run() -> None:
        gate = Gate()
        batcher = Batcher(gate.compute, BatchRule(frames_max=4, wait_ms=0))
        batcher.start()
        first = asyncio.create_task(batcher.submit(a_frame(0, device="first")))
        await wait_for_batches(gate, 1)
        greedy = [a_frame(100 + i, device="greedy") for i in range(50)]
        others = [a_frame(10 * d + i, device=f"d{d}") for d in (1, 2, 3) for i in range(5)]
        waiting = []
        for frame in (*greedy, *others):
            waiting.append(asyncio.create_task(batcher.submit(frame)))
            await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, *waiting)
        for i in range(5):
            assert gate.batches[1 + i] == [100 + i, 10 + i, 20 + i, 30 + i]
        await batcher.close()

    asyncio.run(run())


def test_frames_gather_while_a_batch_is_computed() -> None:
    async def run() -> None:
        gate = Gate()
        sizes: list[int] = []
        batcher = Batcher(gate.compute, BatchRule(frames_max=4, wait_ms=0), sizes.append)
        batcher.start()
        first = asyncio.create_task(batcher.submit(a_frame(0)))
        await wait_for_batches(gate, 1)
        rest = [asyncio.create_task(batcher.submit(a_frame(seq))) for seq in range(1, 7)]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, *rest)
        assert gate.batches == [[0], [1, 2, 3, 4], [5, 6]]
        assert sizes == [1, 4, 2]
        await batcher.close()

    asyncio.run(run())


def test_an_idle_batcher_waits_for_company_and_not_longer() -> None:
    async def run() -> None:
        gate = Gate()
        gate.open.set()
        batcher = Batcher(gate.compute, BatchRule(frames_max=8, wait_ms=150))
        batcher.start()
        start_s = time.monotonic()
        outcomes = await asyncio.gather(*(batcher.submit(a_frame(seq)) for seq in range(3)))
        assert gate.batches == [[0, 1, 2]]
        assert time.monotonic() - start_s > 0.1
        assert all(outcome.queue_ms > 100 for outcome in outcomes)
        await batcher.close()

    asyncio.run(run())


def test_a_full_batch_does_not_wait() -> None:
    async def run() -> None:
        gate = Gate()
        gate.open.set()
        batcher = Batcher(gate.compute, BatchRule(frames_max=2, wait_ms=60_000))
        batcher.start()
        await asyncio.wait_for(asyncio.gather(*(batcher.submit(a_frame(s)) for s in range(4))), 30)
        assert [len(batch) for batch in gate.batches] == [2, 2]
        await batcher.close()

    asyncio.run(run())


def test_no_more_batches_at_once_than_lanes() -> None:
    async def run() -> None:
        gate = Gate()
        batcher = Batcher(gate.compute, BatchRule(frames_max=1, wait_ms=0, lanes=3))
        batcher.start()
        tasks = [asyncio.create_task(batcher.submit(a_frame(seq))) for seq in range(7)]
        await wait_for_batches(gate, 3)
        await asyncio.sleep(0.02)
        assert len(gate.batches) == 3
        gate.open.set()
        await asyncio.gather(*tasks)
        assert gate.most_at_once == 3
        await batcher.close()

    asyncio.run(run())


def test_only_full_batches_go_ahead() -> None:
    async def run() -> None:
        gate = Gate()
        batcher = Batcher(gate.compute, BatchRule(frames_max=3, wait_ms=0, lanes=1, ahead=1))
        batcher.start()
        tasks = [asyncio.create_task(batcher.submit(a_frame(0)))]
        await wait_for_batches(gate, 1)
        tasks += [asyncio.create_task(batcher.submit(a_frame(seq))) for seq in (1, 2)]
        await asyncio.sleep(0.02)
        assert gate.batches == [[0]]
        tasks += [asyncio.create_task(batcher.submit(a_frame(seq))) for seq in range(3, 9)]
        await wait_for_batches(gate, 1)
        await asyncio.sleep(0.02)
        assert gate.batches == [[0], [1, 2, 3]]
        gate.open.set()
        await asyncio.gather(*tasks)
        assert gate.batches == [[0], [1, 2, 3], [4, 5, 6], [7, 8]]
        assert gate.most_at_once == 2
        await batcher.close()

    asyncio.run(run())


def test_others_do_not_wait_behind_a_batch_that_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "LATE_S", 0.3)

    async def run() -> None:
        gate = Gate()
        batcher = Batcher(gate.compute, BatchRule(frames_max=3, wait_ms=0, lanes=1, ahead=1))
        batcher.start()
        tasks = [asyncio.create_task(batcher.submit(a_frame(seq))) for seq in range(3)]
        await wait_for_batches(gate, 1)
        start_s = time.monotonic()
        tasks += [asyncio.create_task(batcher.submit(a_frame(3)))]
        await asyncio.wait_for(wait_for_batches(gate, 1), 30)
        assert time.monotonic() - start_s > 0.2
        # As many as may go ahead, and no more, however late it is.
        tasks += [asyncio.create_task(batcher.submit(a_frame(seq))) for seq in range(4, 8)]
        await asyncio.sleep(0.4)
        assert gate.batches == [[0, 1, 2], [3]]
        gate.open.set()
        await asyncio.gather(*tasks)
        await batcher.close()

    asyncio.run(run())


def test_a_model_that_answers_too_few_frames_fails_them() -> None:
    async def run() -> None:
        async def nothing(frames: list[FrameFeatures]) -> Computed:
            return Computed([], 1.0)

        batcher = Batcher(nothing, BatchRule(4, 0))
        batcher.start()
        with pytest.raises(ReplicaFailedError, match="0 answers to 1"):
            await batcher.submit(a_frame())
        await batcher.close()

    asyncio.run(run())


def test_nobody_there_is_told_to_every_frame_at_once() -> None:
    calls: list[int] = []

    async def dead(frames: list[FrameFeatures]) -> Computed:
        calls.append(len(frames))
        raise DispatchUnavailableError("all replicas died")

    async def run() -> None:
        batcher = Batcher(dead, BatchRule(8, 20))
        batcher.start()
        tasks = [batcher.submit(a_frame(seq)) for seq in range(4)]
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, DispatchUnavailableError)
        await batcher.close()

    asyncio.run(run())
    assert calls == [4]


def test_who_went_away_does_not_disturb_the_others() -> None:
    async def run() -> None:
        gate = Gate()
        batcher = Batcher(gate.compute, BatchRule(4, 5))
        batcher.start()
        gone = asyncio.create_task(batcher.submit(a_frame(0)))
        stays = asyncio.create_task(batcher.submit(a_frame(1)))
        await wait_for_batches(gate, 1)
        gone.cancel()
        gate.open.set()
        assert (await stays).answer is not None
        await batcher.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "rule", [(0, 0.0, 1), (1, -1.0, 1), (1, float("inf"), 1), (1, float("nan"), 1), (1, 0.0, 0)]
)
def test_rules_that_are_none_are_refused(rule: tuple[int, float, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        BatchRule(*rule)


def test_frames_of_different_devices_share_a_forward_pass() -> None:
    async def run() -> None:
        replica = HashReplica()
        dispatch = InProcessDispatch(replica, BatchRule(8, 50))
        await dispatch.start()
        frames = [a_frame(0, device=f"drone-{i}") for i in range(8)]
        await asyncio.gather(*map(dispatch.submit, frames))
        await dispatch.close()
        assert replica.batches == [[frame.key for frame in frames]]

    asyncio.run(run())


def test_a_crash_costs_its_batch_one_more_try() -> None:
    async def run() -> None:
        replica = HashReplica()
        dispatch = InProcessDispatch(replica, BatchRule(4, 50))
        await dispatch.start()
        frames = [a_frame(0), a_frame(1, payload=CRASH), a_frame(2), a_frame(3)]
        await asyncio.gather(*map(dispatch.submit, frames), return_exceptions=True)
        await dispatch.close()
        assert [len(batch) for batch in replica.batches] == [4, 1, 1, 1, 1]

    asyncio.run(run())
