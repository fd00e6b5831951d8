"""What strangers send: each refused with its own status and counted, and the cloud goes on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from sparsight.wire import (
    DETECT_METHOD,
    WIRE_VERSION,
    FrameStatus,
    pack_device_message,
    pack_frame,
)
from sparsight_cloud.serving.settings import GatewayLimits
from sparsight_cloud.serving.up import Ready
from sparsight_proto.v1 import features_pb2

from .devices import Device, a_hello, calling, detect, eventually, hashing, run_cloud
from .hashes import HashReplica, a_frame
from .test_gateway import lines_of, shown

METRICS: dict[str, Any] = {"metrics": "127.0.0.1:0"}
Status = grpc.StatusCode


async def assert_alive(ready: Ready, seq: int = 10_000) -> None:
    async with calling(ready.address) as channel:
        assert (await detect(channel, a_frame(seq))).status is FrameStatus.OK


def changed(change: Callable[[features_pb2.FrameFeatures], Any]) -> bytes:
    message = features_pb2.FrameFeatures.FromString(pack_frame(a_frame(0)))
    change(message)
    return features_pb2.DeviceMessage(frame=message).SerializeToString()


@pytest.mark.parametrize(
    ("hello", "refusal", "code"),
    [
        (a_hello(wire_version=WIRE_VERSION + 1), "WIRE_VERSION", Status.FAILED_PRECONDITION),
        (a_hello(bundle_id="0" * 64), "UNKNOWN_BUNDLE", Status.NOT_FOUND),
        (a_hello(codec_version=99), "CODEC_VERSION", Status.FAILED_PRECONDITION),
        (a_frame(0), "BAD_MESSAGE", Status.INVALID_ARGUMENT),
        (b"", "BAD_MESSAGE", Status.INVALID_ARGUMENT),
        (b"\xff" * 100, "BAD_MESSAGE", Status.INVALID_ARGUMENT),
        (b"\x7a\x00", "BAD_MESSAGE", Status.INVALID_ARGUMENT),
    ],
)
def test_a_stream_that_begins_badly_is_sent_away(
    tmp_path: Path, hello: Any, refusal: str, code: grpc.StatusCode
) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.say(hello)
            assert await device.status() is code
            assert [r.status.name for r in device.refusals] == [refusal]
            assert device.refusals[0].detail
            assert device.welcome is None
        assert shown(ready)(f'refusals_total{{status="{refusal.lower()}"}}') == 1
        await eventually(lambda: shown(ready)('stream_ends_total{how="refused"}') == 1)
        await assert_alive(ready)

    run_cloud(tmp_path, do, **METRICS)


def test_an_unknown_bundle_is_told_which_there_are(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.say(a_hello(bundle_id="0" * 64))
            await device.status()
            assert "ab" * 32 in device.refusals[0].detail

    run_cloud(tmp_path, do)


def test_a_stream_that_says_nothing_is_sent_away(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            assert await Device(channel).status() is Status.INVALID_ARGUMENT
        await assert_alive(ready)

    run_cloud(tmp_path, do, limits=GatewayLimits(hello_s=0.3))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe\xfd" * 50,
        b"\x7a\x00",
        pack_device_message(a_frame(0))[:-3],
        pack_device_message(a_hello()),
        changed(lambda m: m.ClearField("key")),
        changed(lambda m: setattr(m.key, "device", "\x1b[2J")),
    ],
    ids=["empty", "random", "newer kind", "truncated", "second hello", "no key", "odd name"],
)
def test_a_message_that_is_none_is_refused_and_the_stream_goes_on(
    tmp_path: Path, message: bytes
) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.say(message)
            await device.send([a_frame(seq) for seq in range(60)])
            assert {r.status for r in device.answers} == {FrameStatus.OK}
            assert [r.status.name for r in device.refusals] == ["BAD_MESSAGE"]
        assert shown(ready)('refusals_total{status="bad_message"}') == 1

    run_cloud(tmp_path, do, **METRICS)
    assert len(lines_of(tmp_path)) == 60


@pytest.mark.parametrize(
    "message",
    [
        changed(lambda m: m.ClearField("letterbox")),
        changed(lambda m: setattr(m.letterbox, "input_w", 2**31)),
        changed(lambda m: setattr(m, "rate", 4000)),
        changed(lambda m: setattr(m, "thumbnail", bytes(300 << 10))),
        changed(lambda m: setattr(m.telemetry, "lat_deg", float("nan"))),
    ],
    ids=["no letterbox", "absurd letterbox", "rate", "thumbnail", "telemetry"],
)
def test_a_bad_frame_with_a_name_is_refused_by_it(tmp_path: Path, message: bytes) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.say(message)
            await device.hear_answers(1)
            assert device.answers[0].key == a_frame(0).key
            assert device.answers[0].status is FrameStatus.REFUSED
            await device.send([a_frame(1)])
        assert shown(ready)('frames_total{status="refused"}') == 1

    run_cloud(tmp_path, do, **METRICS)


def test_too_many_messages_that_are_none_end_the_stream_alone(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device, other = Device(channel), Device(channel)
            await device.greet()
            await other.greet(a_hello("drone-2"))
            for _ in range(5):
                await device.say(b"nonsense")
            assert await device.status() is Status.INVALID_ARGUMENT
            assert len(device.refusals) == 5
            await other.send([a_frame(0, device="drone-2")])

    run_cloud(tmp_path, do, limits=GatewayLimits(bad_messages_max=4))


def test_another_devices_frame_is_refused_and_not_written(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.say(a_frame(0, device="drone-2"))
            await device.hear_answers(1)
            assert device.answers[0].status is FrameStatus.WRONG_DEVICE
        assert shown(ready)('frames_total{status="wrong_device"}') == 1

    run_cloud(tmp_path, do, **METRICS)
    assert lines_of(tmp_path) == []


def test_a_message_of_100_mb_ends_its_stream_alone(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device, other = Device(channel), Device(channel)
            await device.greet()
            await other.greet(a_hello("drone-2"))
            await device.say(bytes(100_000_000))
            assert await device.status() is Status.RESOURCE_EXHAUSTED
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await detect(channel, bytes(100_000_000))
            assert error.value.code() is Status.RESOURCE_EXHAUSTED
            await other.send([a_frame(0, device="drone-2")])
            # gRPC refuses these before we see them: the stream counts as broken, the call as one
            # that brought no message.
            await eventually(lambda: shown(ready)('stream_ends_total{how="broken"}') == 1)
            await eventually(lambda: shown(ready)('refusals_total{status="bad_message"}') == 1)
        await assert_alive(ready)

    run_cloud(tmp_path, do, **METRICS)


@pytest.mark.parametrize("data", [b"", b"\xff" * 30, pack_frame(a_frame(0))[:-1]])
def test_a_unary_call_with_nonsense_is_refused(tmp_path: Path, data: bytes) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await detect(channel, data)
            assert error.value.code() is Status.INVALID_ARGUMENT
        assert shown(ready)('refusals_total{status="bad_message"}') == 1
        await assert_alive(ready)

    run_cloud(tmp_path, do, **METRICS)


def test_a_compressed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            call: Any = channel.unary_unary(DETECT_METHOD)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call(bytes(500_000_000), compression=grpc.Compression.Gzip)
            assert error.value.code() in (Status.UNIMPLEMENTED, Status.RESOURCE_EXHAUSTED)
        await assert_alive(ready)

    run_cloud(tmp_path, do)


def test_a_device_that_ignores_credit_is_answered_so(tmp_path: Path) -> None:
    replica = HashReplica(seconds_per_batch=0.3)

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            assert device.credit.frames == 4
            for seq in range(12):
                await device.say(a_frame(seq))
            await device.hear_answers(12)
            by_seq = {result.key.seq: result.status for result in device.answers}
            assert [by_seq[seq] for seq in range(4)] == [FrameStatus.OK] * 4
            assert {by_seq[seq] for seq in range(4, 12)} == {FrameStatus.OVER_CREDIT}
            await device.send([a_frame(seq) for seq in range(4, 12)])
            assert device.results[a_frame(11).key].status is FrameStatus.OK

    run_cloud(tmp_path, do, hashing(replica), limits=GatewayLimits(window_frames=4))
    assert len(lines_of(tmp_path)) == 12


def test_ten_thousand_damaged_messages(tmp_path: Path) -> None:
    """Bits flipped and ends cut off at random, on some streams; each is answered or refused."""
    rng = random.Random(7)
    messages = [
        pack_device_message(m) for m in (a_frame(0), a_hello(), a_frame(1, thumbnail=b"x" * 9))
    ]

    def damaged() -> bytes:
        data = bytearray(rng.choice(messages))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.3 else data)

    async def one(ready: Ready, name: str) -> int:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet(a_hello(name))
            reader = asyncio.create_task(device.status())
            for _ in range(2500):
                await device.say(damaged())
            await device.call.done_writing()
            assert await reader is Status.OK
            return len(device.refusals) + len(device.answers)

    async def do(ready: Ready) -> None:
        said = await asyncio.gather(*(one(ready, f"drone-{i}") for i in range(4)))
        # What is left are messages that are whole by chance, such as an Ack of frames never sent.
        assert sum(said) > 9_900
        await assert_alive(ready)

    run_cloud(tmp_path, do, limits=GatewayLimits(bad_messages_max=10_000))


def test_a_device_that_never_reads_is_held_and_then_sent_away(tmp_path: Path) -> None:
    """Its frames come to a stop behind its credit and the transport's buffers; others go on."""
    replica = HashReplica(times=400)  # results of up to 70 kB

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.say(a_hello())
            sent = 0
            with suppress(asyncio.TimeoutError, asyncio.InvalidStateError, grpc.aio.AioRpcError):
                while sent < 5_000:
                    await asyncio.wait_for(device.say(a_frame(sent, thumbnail=bytes(50_000))), 5)
                    sent += 1
                    await asyncio.sleep(0.005)  # slow enough to have credit, as long as it lasts
            assert 20 < sent < 5_000
            async with calling(ready.address) as other:
                honest = Device(other)
                await honest.greet(a_hello("drone-2"))
                await honest.send([a_frame(seq, device="drone-2") for seq in range(50)])
            await eventually(lambda: shown(ready)("streams") == 0)
            assert shown(ready)('stream_ends_total{how="refused"}') == 1
            assert shown(ready)('refusals_total{status="full"}') == 1
            assert shown(ready)("in_flight_frames") == 0

    run_cloud(tmp_path, do, hashing(replica), limits=GatewayLimits(write_s=2.0), **METRICS)
