"""Frames told against others of their stream: joined for the model, answered like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from sparsight.codec.chain import CHAIN_MAX, join
from sparsight.wire import FrameFeatures, FrameKey, FrameStatus
from sparsight_cloud.serving.dispatch import Answer
from sparsight_cloud.serving.references import References
from sparsight_cloud.serving.settings import GatewayLimits
from sparsight_cloud.serving.up import Ready

from .devices import Device, calling, detect, hashing, run_cloud
from .hashes import MAGIC, HashReplica, a_frame, answer
from .test_gateway import lines_of, shown


class AnyPayload(HashReplica):
    """Takes joined payloads, too, and notes all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.payloads: dict[FrameKey, bytes] = {}

    def run(self, frames: Sequence[FrameFeatures], /) -> Sequence[Answer]:
        self.payloads |= {frame.key: frame.payload for frame in frames}
        return [answer(replace(frame, payload=MAGIC + frame.payload)) for frame in frames]


def told(seq: int, against: int, *, keep: bool = False) -> FrameFeatures:
    frame = a_frame(seq, payload=b"delta %d" % seq)
    return replace(frame, reference=a_frame(against).key, keep=keep)


def test_a_frame_reaches_the_model_with_what_it_is_told_against(tmp_path: Path) -> None:
    replica = AnyPayload()
    first = replace(a_frame(0), keep=True)
    second, third = told(1, 0, keep=True), told(2, 1)

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            assert device.welcome is not None and device.welcome.references == 2
            await device.send([first, second, third])
            assert {r.status for r in device.results.values()} == {FrameStatus.OK}
            assert shown(ready)("delta_frames_total") == 2

    run_cloud(tmp_path, do, hashing(replica), metrics="127.0.0.1:0")
    joined = join(first.payload, second.payload)
    assert replica.payloads == {
        first.key: first.payload,
        second.key: joined,
        third.key: join(joined, third.payload),
    }
    sizes = {row["seq"]: row["payload_bytes"] for row in lines_of(tmp_path)}
    assert sizes == {f.key.seq: len(f.payload) for f in (first, second, third)}


def test_a_frame_whose_reference_is_gone_is_asked_for_again_and_not_written(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.send([replace(a_frame(0), keep=True), told(1, 7), told(2, 0)])
            assert device.results[a_frame(1).key].status is FrameStatus.NO_REFERENCE
            assert device.results[a_frame(2).key].status is FrameStatus.OK
            # Of what is kept on a stream nothing is left on the next one.
            assert await device.end() is grpc.StatusCode.OK
            again = Device(channel)
            await again.greet()
            await again.send([told(3, 0), a_frame(1)])
            assert again.results[a_frame(3).key].status is FrameStatus.NO_REFERENCE
            assert again.results[a_frame(1).key].status is FrameStatus.OK

    run_cloud(tmp_path, do, hashing(AnyPayload()))
    assert sorted(row["seq"] for row in lines_of(tmp_path)) == [0, 1, 2]  # type: ignore[type-var]


def test_credit_is_counted_by_what_was_sent(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            frames = [replace(a_frame(0), keep=True), *(told(seq, 0) for seq in range(1, 200))]
            await device.send(frames)  # which waits for credit, and fails if that runs out
            window = GatewayLimits().window_bytes
            assert 200 <= device.credit.frames <= 200 + GatewayLimits().window_frames
            assert window < device.credit.cost_bytes <= window + sum(f.cost_bytes for f in frames)

    run_cloud(tmp_path, do, hashing(AnyPayload()))


def test_there_are_no_references_outside_a_stream(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="none outside a stream") as error:
                await detect(channel, told(1, 0))
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    run_cloud(tmp_path, do)
    assert lines_of(tmp_path) == []


def test_two_are_kept_and_none_that_is_too_large() -> None:
    references = References(1000)
    for seq in range(3):
        assert references.resolve(replace(a_frame(seq), keep=True)) is not None
    large = replace(a_frame(3, payload=bytes(501)), keep=True)
    assert references.resolve(large) is not None
    kept = [seq for seq in range(4) if references.resolve(told(9, seq)) is not None]
    assert kept == [1, 2]


def test_a_chain_ends_where_readers_stop_reading() -> None:
    references = References(1 << 20)
    assert references.resolve(replace(a_frame(0), keep=True)) is not None
    for seq in range(1, CHAIN_MAX + 1):
        assert references.resolve(told(seq, seq - 1, keep=True)) is not None
    assert references.resolve(told(CHAIN_MAX + 1, CHAIN_MAX)) is None
