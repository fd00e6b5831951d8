"""What every dispatch promises; each implementation is one more case here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from tests.cloud.serving.hashes import CRASH, HashReplica, a_frame, same

from sparsight_cloud.serving.batching import BatchRule
from sparsight_cloud.serving.dispatch import (
    Answered,
    Dispatch,
    DispatchUnavailableError,
    Refused,
    ReplicaFailedError,
)
from sparsight_cloud.serving.in_process import InProcessDispatch
from sparsight_cloud.serving.ray_app import RayApp
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.serving.ray_replica import Model
from sparsight_cloud.serving.ray_serve import RayServeDispatch
from sparsight_cloud.serving.replicas import Replicas

RULE = BatchRule(4, 2.0)


@dataclass(frozen=True)
class DispatchCase:
    """A dispatch over `HashReplica`s, wherever they run."""

    make: Callable[[], Dispatch]


def in_process(_: pytest.FixtureRequest) -> DispatchCase:
    return DispatchCase(lambda: InProcessDispatch(HashReplica(), RULE))


def on_ray(request: pytest.FixtureRequest) -> DispatchCase:
    """Two replicas in the cluster that this process is connected to."""
    request.getfixturevalue("ray_cluster")
    model = Model(HashReplica, HashReplica().serves)
    app = RayApp("contract", model, Replicas(2))
    return DispatchCase(lambda: RayServeDispatch(app, RayCluster(), RULE))


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[RayCluster]:
    """One cluster for all tests here: its processors are numbers, and its start takes seconds."""
    cluster = RayCluster(cpus=8)
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.close())


DISPATCHES = {"in-process": in_process, "ray": on_ray}


@pytest.fixture(params=DISPATCHES)
def dispatch_case(request: pytest.FixtureRequest) -> DispatchCase:
    return DISPATCHES[request.param](request)


def test_a_dispatch_is_one(dispatch_case: DispatchCase) -> None:
    async def look() -> None:
        dispatch = dispatch_case.make()
        assert isinstance(dispatch, Dispatch)
        await dispatch.start()
        assert dispatch.capacity_frames >= 1
        assert dispatch.serves == HashReplica().serves
        await dispatch.close()

    asyncio.run(look())


def test_every_frame_gets_its_own_answer(dispatch_case: DispatchCase) -> None:
    frames = [a_frame(seq, device=f"drone-{seq % 3}") for seq in range(30)]
    frames[7] = a_frame(7, payload=b"damaged")

    async def submit_all() -> None:
        dispatch = dispatch_case.make()
        await dispatch.start()
        outcomes = await asyncio.gather(*map(dispatch.submit, frames))
        await dispatch.close()
        for frame, outcome in zip(frames, outcomes, strict=True):
            assert same(outcome.answer, HashReplica().run([frame])[0])
            assert outcome.queue_ms >= 0 and outcome.compute_ms >= 0
        assert isinstance(outcomes[7].answer, Refused)

    asyncio.run(submit_all())


def test_a_frame_that_breaks_the_model_fails_alone(dispatch_case: DispatchCase) -> None:
    frames = [a_frame(seq) for seq in range(6)]
    frames[2] = a_frame(2, payload=CRASH)

    async def submit_all() -> None:
        dispatch = dispatch_case.make()
        await dispatch.start()
        outcomes = await asyncio.gather(*map(dispatch.submit, frames), return_exceptions=True)
        await dispatch.close()
        for seq, (frame, outcome) in enumerate(zip(frames, outcomes, strict=True)):
            if seq == 2:
                assert isinstance(outcome, ReplicaFailedError)
            else:
                assert not isinstance(outcome, BaseException)
                assert same(outcome.answer, HashReplica().run([frame])[0])

    asyncio.run(submit_all())


def test_closing_finishes_what_was_submitted(dispatch_case: DispatchCase) -> None:
    async def close_early() -> None:
        dispatch = dispatch_case.make()
        await dispatch.start()
        submitted = [asyncio.create_task(dispatch.submit(a_frame(seq))) for seq in range(10)]
        await asyncio.sleep(0)
        await dispatch.close()
        for outcome in await asyncio.gather(*submitted):
            assert isinstance(outcome.answer, Answered)
        with pytest.raises(DispatchUnavailableError):
            await dispatch.submit(a_frame(11))

    asyncio.run(close_early())


def test_nothing_is_taken_before_the_start(dispatch_case: DispatchCase) -> None:
    async def submit_early() -> None:
        with pytest.raises(DispatchUnavailableError):
            await dispatch_case.make().submit(a_frame())

    asyncio.run(submit_early())
