"""Frames told against others of their stream: joined for the model, answered like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from sparsight.codec.chain import CHAIN_MAX, join
from sparsight.wire import PAYLOAD_BYTES_MAX, FrameFeatures, FrameKey, FrameStatus
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
            assert device.welcome is not None
            assert device.welcome.reference_bytes_max == GatewayLimits().reference_bytes_max
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


def test_only_the_gateway_joins(tmp_path: Path) -> None:
    joined = a_frame(0, payload=join(b"reference", b"delta"))

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.send([joined])
            result = device.results[joined.key]
            assert result.status is FrameStatus.REFUSED and "only a gateway" in result.detail
            with pytest.raises(grpc.aio.AioRpcError, match="only a gateway"):
                await detect(channel, joined)

    run_cloud(tmp_path, do)


def test_what_would_be_too_large_with_its_reference_is_wanted_whole(tmp_path: Path) -> None:
    first = replace(a_frame(0, payload=b"hash" + bytes(400_000)), keep=True)
    large = replace(told(1, 0), payload=bytes(PAYLOAD_BYTES_MAX))

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.send([first, large, a_frame(2)])
            assert device.results[large.key].status is FrameStatus.NO_REFERENCE
            assert device.results[a_frame(2).key].status is FrameStatus.OK

    run_cloud(tmp_path, do, hashing(AnyPayload()))


def test_the_last_one_is_kept_unless_it_is_too_large() -> None:
    references = References(500)
    for seq in range(3):
        assert references.resolve(replace(a_frame(seq), keep=True)) is not None
        kept = [before for before in range(4) if references.resolve(told(9, before)) is not None]
        assert kept == [seq]
    large = replace(a_frame(3, payload=bytes(501)), keep=True)
    assert references.resolve(large) is not None
    assert all(references.resolve(told(9, seq)) is None for seq in range(4))


def test_a_chain_ends_where_readers_stop_reading() -> None:
    references = References(1 << 20)
    assert references.resolve(replace(a_frame(0), keep=True)) is not None
    for seq in range(1, CHAIN_MAX + 1):
        assert references.resolve(told(seq, seq - 1, keep=True)) is not None
    assert references.resolve(told(CHAIN_MAX + 1, CHAIN_MAX)) is None
