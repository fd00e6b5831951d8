"""A cloud on loopback, and devices that behave."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sparsight.detections import Detections
from sparsight.wire import (
    STREAM_METHOD,
    Credit,
    FrameFeatures,
    FrameResult,
    FrameStatus,
    pack_frame,
)
from sparsight_cloud.serving.batching import BatchRule
from sparsight_cloud.serving.commit import CommitRule
from sparsight_cloud.serving.dispatch import Answered
from sparsight_cloud.serving.gateway import Door
from sparsight_cloud.serving.settings import GatewayLimits
from sparsight_cloud.serving.up import CloudSettings, Ready, cloud
from sparsight_cloud.sinks.logs import all_records, ends_of
from sparsight_cloud.sinks.sink import SinkName
from sparsight_proto.v1 import features_pb2, features_pb2_grpc

from .devices import Device, a_hello, calling, detect, eventually, hashing, run_cloud
from .hashes import CRASH, HashReplica, a_frame, answer


def assert_right(frame: FrameFeatures, result: FrameResult) -> None:
    right = answer(frame)
    assert result.status is FrameStatus.OK, result
    assert isinstance(right, Answered)
    assert result.detections.xyxy.tolist() == right.detections.xyxy.tolist()
    assert result.detections.scores.tolist() == right.detections.scores.tolist()
    assert result.detections.labels.tolist() == right.detections.labels.tolist()


def lines_of(out: Path) -> list[dict[str, object]]:
    files = sorted((out / "results").glob("*.jsonl"))
    lines = (line for file in files for line in file.read_bytes().splitlines(keepends=True))
    return [json.loads(line) for line in lines if line.endswith(b"\n")]  # one may be half written


def shown(ready: Ready) -> Callable[[str], float]:
    """The counters, by their line's beginning."""
    with urllib.request.urlopen(f"http://{ready.metrics}/metrics") as answer_:
        lines = answer_.read().decode().splitlines()
    rows = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return lambda name: float(rows[f"sparsight_gateway_{name}"])


def test_frames_in_results_out(tmp_path: Path) -> None:
    frames = [a_frame(seq) for seq in range(100)]

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.send(frames)
            assert await device.end() is grpc.StatusCode.OK
            for frame in frames:
                result = device.results[frame.key]
                assert_right(frame, result)
                assert result.times is not None
            assert len(device.answers) == 100

    run_cloud(tmp_path, do)
    assert sorted(row["seq"] for row in lines_of(tmp_path)) == list(range(100))  # type: ignore[type-var]
    bundles = json.loads((tmp_path / "bundles.json").read_text())
    assert list(bundles.values()) == [["car", "van", "bus"]]


def test_frames_of_many_devices_share_forward_passes(tmp_path: Path) -> None:
    replica = HashReplica(seconds_per_batch=0.01)

    async def one(ready: Ready, name: str) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet(a_hello(name))
            frames = [a_frame(seq, device=name) for seq in range(16)]  # all fit in
            await device.send(frames)
            for frame in frames:
                assert_right(frame, device.results[frame.key])

    async def do(ready: Ready) -> None:
        await asyncio.gather(*(one(ready, f"drone-{i}") for i in range(8)))

    run_cloud(tmp_path, do, hashing(replica, BatchRule(8, 5.0)))
    assert len(lines_of(tmp_path)) == 128
    assert len(replica.batches) < 64
    assert max(len({key.device for key in batch}) for batch in replica.batches) > 1


def test_a_result_is_on_disk_before_the_device_hears_of_it(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            for seq in range(20):
                await device.say(a_frame(seq))
                await device.hear_answers(seq + 1)
                assert len(lines_of(tmp_path)) == seq + 1

    run_cloud(tmp_path, do)


def test_every_frame_twice_is_computed_and_written_once(tmp_path: Path) -> None:
    replica = HashReplica(seconds_per_batch=0.05)
    frames = [a_frame(seq) for seq in range(8)]

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            for frame in (*frames, *frames):
                await device.say(frame)
            await device.hear_answers(16)
            for frame in frames:
                await device.say(frame)
            await device.hear_answers(24)
            for result in device.answers:
                assert_right(frames[result.key.seq], result)
        counters = shown(ready)
        assert counters("joined_frames_total") == 8
        assert counters("repeated_frames_total") == 8

    run_cloud(tmp_path, do, hashing(replica), metrics="127.0.0.1:0")
    assert len(lines_of(tmp_path)) == 8
    assert sum(map(len, replica.batches)) == 8


def test_after_a_restart_a_frame_is_answered_from_disk(tmp_path: Path) -> None:
    replica = HashReplica()

    async def send(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.send([a_frame(0), a_frame(1)])
            assert_right(a_frame(0), device.results[a_frame(0).key])

    run_cloud(tmp_path, send, hashing(replica))
    run_cloud(tmp_path, send, hashing(replica))
    assert sum(map(len, replica.batches)) == 2
    assert len(lines_of(tmp_path)) == 2


def test_an_acknowledged_frame_is_already_done(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.send([a_frame(0), a_frame(1)])
            await device.acknowledge([a_frame(0).key])
            await device.say(a_frame(0))
            await device.say(a_frame(1))
            await device.hear_answers(4)
            again = {result.key.seq: result.status for result in device.answers[2:]}
            assert again == {0: FrameStatus.ALREADY_DONE, 1: FrameStatus.OK}

    run_cloud(tmp_path, do)
    assert len(lines_of(tmp_path)) == 2


def test_another_devices_acknowledgement_forgets_nothing(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            mine, other = Device(channel), Device(channel)
            await mine.greet()
            await other.greet(a_hello("drone-2"))
            await mine.send([a_frame(0)])
            await other.acknowledge([a_frame(0).key])
            await other.send([a_frame(0, device="drone-2")])
            await mine.say(a_frame(0))
            await mine.hear_answers(2)
            assert mine.answers[1].status is FrameStatus.OK

    run_cloud(tmp_path, do)


def test_frames_of_an_earlier_boot_are_taken_and_of_a_later_one_not(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet(a_hello(epoch=5))
            frames = [
                a_frame(0, epoch=3, stream="a camera of then"),
                a_frame(0, epoch=6),
                a_frame(0, epoch=5, stream="nobody's"),
                a_frame(0, epoch=5),
            ]
            await device.send(frames)
            statuses = [device.results[frame.key].status for frame in frames[:2]]
            assert statuses == [FrameStatus.OK, FrameStatus.REFUSED]
            by_detail = sorted(r.detail for r in device.answers if r.key.epoch == 5)
            assert by_detail[0] == "" and "nobody's" in by_detail[1]

    run_cloud(tmp_path, do)


def test_one_frame_by_the_unary_call(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            assert_right(a_frame(0), await detect(channel, a_frame(0)))
            again = await detect(channel, a_frame(0))
            assert_right(a_frame(0), again)
            assert again.times is None

    run_cloud(tmp_path, do)
    assert len(lines_of(tmp_path)) == 1


def test_generated_stubs_of_the_contract_can_call_it(tmp_path: Path) -> None:
    """What a device in another language is made with, is what the gateway speaks."""

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            stub: features_pb2_grpc.DevicesAsyncStub = features_pb2_grpc.DevicesStub(channel)
            frame = features_pb2.FrameFeatures.FromString(pack_frame(a_frame(0)))
            result = await stub.Detect(frame)
            right = answer(a_frame(0))
            assert isinstance(right, Answered)
            assert len(result.detections) == len(right.detections)
            call = stub.Stream()
            hello = features_pb2.Hello(
                wire_version=1, device="drone-1", epoch=1, bundle_id="ab" * 32, codec_version=1
            )
            hello.streams.append("cam")
            await call.write(features_pb2.DeviceMessage(hello=hello))
            kinds = []
            for _ in range(2):
                message = await call.read()
                assert isinstance(message, features_pb2.CloudMessage)
                kinds.append(message.WhichOneof("kind"))
            assert kinds == ["welcome", "credit"]
            call.cancel()

    run_cloud(tmp_path, do)


def test_a_probe_is_told_how_things_are(tmp_path: Path) -> None:
    service = STREAM_METHOD.split("/")[1]

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            for name in ("", service):
                state = await stub.Check(health_pb2.HealthCheckRequest(service=name))
                assert state.status == health_pb2.HealthCheckResponse.SERVING

    run_cloud(tmp_path, do)


def test_what_happened_is_counted(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            assert shown(ready)("streams") == 1
            await device.send([a_frame(seq) for seq in range(10)])
            await device.send([a_frame(10, payload=b"damaged")])
            await device.end()
        counters = shown(ready)
        assert counters('frames_total{status="ok"}') == 10
        assert counters('frames_total{status="bad_payload"}') == 1
        assert counters('frames_total{status="over_credit"}') == 0
        assert counters('stage_ms_count{stage="queue"}') == 11
        assert counters('stage_ms_count{stage="commit"}') == 11
        assert counters('stream_ends_total{how="clean"}') == 1
        assert counters("batch_frames_sum") == 11
        assert counters("streams") == counters("in_flight_frames") == 0
        assert counters("received_bytes_total") > 500 < counters("sent_bytes_total")

    run_cloud(tmp_path, do, metrics="127.0.0.1:0")


def test_a_frame_that_is_refused_is_committed_as_such(tmp_path: Path) -> None:
    replica = HashReplica()

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            bad = a_frame(0, payload=b"damaged")
            await device.send([bad])
            await device.say(bad)
            await device.hear_answers(2)
            assert [r.status for r in device.answers] == [FrameStatus.BAD_PAYLOAD] * 2

    run_cloud(tmp_path, do, hashing(replica))
    rows = lines_of(tmp_path)
    assert [row["status"] for row in rows] == ["bad_payload"]
    assert len(replica.batches) == 1


def test_a_frame_that_breaks_the_model_is_given_up_and_the_others_are_not(tmp_path: Path) -> None:
    poison = a_frame(0, payload=CRASH)

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            for attempt in range(1, 4):
                await device.say(poison)
                await device.say(a_frame(attempt))
                await device.hear_answers(2 * attempt)
            statuses = [r.status for r in device.answers if r.key == poison.key]
            assert statuses == [FrameStatus.UNAVAILABLE] * 2 + [FrameStatus.REFUSED]
            assert all(r.retry_after_ms > 0 for r in device.answers if r.status.again)
            good = [r for r in device.answers if r.key != poison.key]
            assert [r.status for r in good] == [FrameStatus.OK] * 3

    run_cloud(tmp_path, do)


def test_a_model_that_breaks_down_altogether_loses_no_frame(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            for attempt in range(1, 6):
                await device.say(a_frame(0, payload=CRASH))
                await device.hear_answers(attempt)
            assert {r.status for r in device.answers} == {FrameStatus.UNAVAILABLE}

    run_cloud(tmp_path, do)
    assert lines_of(tmp_path) == []


def test_who_went_away_gets_the_answer_on_coming_back(tmp_path: Path) -> None:
    replica = HashReplica(seconds_per_batch=0.2)

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.say(a_frame(0))
            await eventually(lambda: replica.batches)
            device.call.cancel()
        await eventually(lambda: lines_of(tmp_path))
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            await device.send([a_frame(0)])
            assert_right(a_frame(0), device.answers[0])

    run_cloud(tmp_path, do, hashing(replica))
    assert len(replica.batches) == 1


def test_shutting_down_answers_what_is_in_flight(tmp_path: Path) -> None:
    replica = HashReplica(seconds_per_batch=0.5)
    heard: list[object] = []

    async def listen(device: Device) -> grpc.StatusCode:
        code = await device.status()
        heard.extend(r.status for r in device.answers)
        heard.append(device.refusals[-1].status.name)
        return code

    async def run() -> None:
        channels = []
        listening: list[asyncio.Task[grpc.StatusCode]] = []

        async def do(ready: Ready) -> None:
            channel = grpc.aio.insecure_channel(ready.address)
            channels.append(channel)
            device = Device(channel)
            await device.greet()
            for seq in range(5):
                await device.say(a_frame(seq))
            in_flight = "in_flight_frames"
            await eventually(lambda: shown(ready)(in_flight) + len(lines_of(tmp_path)) >= 5)
            listening.append(asyncio.create_task(listen(device)))

        settings = CloudSettings(Door("127.0.0.1:0", None), tmp_path, metrics="127.0.0.1:0")
        async with cloud(settings, hashing(replica, BatchRule(2, 0))) as ready:
            await do(ready)
        assert await listening[0] is grpc.StatusCode.UNAVAILABLE
        await channels[0].close()

    asyncio.run(run())
    assert heard == [FrameStatus.OK] * 5 + ["GOING_AWAY"]
    assert len(lines_of(tmp_path)) == 5


def test_a_full_cloud_says_when_to_come_back(tmp_path: Path) -> None:
    replica = HashReplica(seconds_per_batch=0.3)
    limits = GatewayLimits(detects_max=100)  # and the dispatch holds 16 batches of one, half of
    # which one device may have

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            calls = [detect(channel, a_frame(seq)) for seq in range(20)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            full = [e for e in outcomes if isinstance(e, grpc.aio.AioRpcError)]
            assert len(full) == 12
            for error in full:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                trailing = dict(error.trailing_metadata() or ())
                assert int(trailing["retry-after-ms"]) >= 50

    run_cloud(tmp_path, do, hashing(replica, BatchRule(1, 0)), limits=limits)


def test_refusals_hit_the_device_that_takes_most(tmp_path: Path) -> None:
    replica = HashReplica(seconds_per_batch=0.1)
    limits = GatewayLimits(detects_max=100)

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            greedy = asyncio.gather(
                *(detect(channel, a_frame(seq)) for seq in range(40)), return_exceptions=True
            )
            await asyncio.sleep(0.2)
            others = [detect(channel, a_frame(seq, device=f"d{seq % 3}")) for seq in range(6)]
            answered = await asyncio.gather(*others)
            assert all(isinstance(result, FrameResult) for result in answered)
            assert sum(isinstance(result, FrameResult) for result in await greedy) <= 12

    run_cloud(tmp_path, do, hashing(replica, BatchRule(1, 0)), limits=limits)


def test_a_frame_that_two_gateways_committed_counts_once(tmp_path: Path) -> None:
    """The answer of the first one is lost with it; the second one knows nothing of it."""
    frames = [a_frame(seq) for seq in range(4)]

    async def take(ready: Ready, taken: list[FrameFeatures]) -> None:
        async with calling(ready.address) as channel:
            for frame in taken:
                assert_right(frame, await detect(channel, frame))

    run_cloud(tmp_path / "a", lambda ready: take(ready, frames[:3]))
    run_cloud(tmp_path / "b", lambda ready: take(ready, frames[1:]))
    assert [len(lines_of(tmp_path / name)) for name in "ab"] == [3, 3]
    counted = [record.result.key.seq for record in all_records(ends_of(tmp_path))]
    assert counted == [0, 1, 2, 3]


def test_what_scores_low_is_neither_answered_nor_kept(tmp_path: Path) -> None:
    frame = next(f for f in map(a_frame, range(99)) if len(objects_of(f)) > 2)
    scores = np.sort(objects_of(frame).scores)

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            result = await detect(channel, frame)
            assert np.array_equal(np.sort(result.detections.scores), scores[1:])

    run_cloud(tmp_path, do, min_score=float(scores[1]))
    (line,) = lines_of(tmp_path)
    assert line["scores"] == scores[:0:-1].tolist()


def objects_of(frame: FrameFeatures) -> Detections:
    answered = answer(frame)
    assert isinstance(answered, Answered)
    return answered.detections


def test_one_device_has_few_unary_calls_at_a_time(tmp_path: Path) -> None:
    replica = HashReplica(seconds_per_batch=0.3)

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            mine = [detect(channel, a_frame(seq)) for seq in range(6)]
            other = detect(channel, a_frame(0, device="drone-2"))
            *outcomes, others = await asyncio.gather(*mine, other, return_exceptions=True)
            codes = [e.code() for e in outcomes if isinstance(e, grpc.aio.AioRpcError)]
            assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
            assert isinstance(others, FrameResult)

    run_cloud(tmp_path, do, hashing(replica))


def test_too_many_devices_are_told_to_come_back(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            for name in ("a", "b"):
                await Device(channel).greet(a_hello(name))
            third = Device(channel)
            await third.say(a_hello("c"))
            assert await third.status() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert third.refusals[0].status.name == "FULL"
            assert third.refusals[0].retry_after_ms > 0
            again = Device(channel)
            await again.greet(a_hello("a"))  # in the place of its own stream

    run_cloud(tmp_path, do, limits=GatewayLimits(streams_max=2))


def test_a_newer_stream_takes_over(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            old, new = Device(channel), Device(channel)
            await old.greet()
            await new.greet()
            assert await old.status() is grpc.StatusCode.ABORTED
            assert old.refusals[-1].status.name == "REPLACED"
            await new.send([a_frame(0)])

    run_cloud(tmp_path, do)


def test_the_cloud_can_be_restarted_at_once_on_its_port(tmp_path: Path) -> None:
    addresses: list[str] = []

    async def do(ready: Ready) -> None:
        addresses.append(ready.address)
        async with calling(ready.address) as channel:
            assert (await detect(channel, a_frame(0))).status is FrameStatus.OK

    run_cloud(tmp_path, do)
    run_cloud(tmp_path, do, listen=addresses[0])
    assert addresses[0] == addresses[1]


def test_credit_for_the_largest_frame_is_there_from_the_start(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            assert isinstance(device.credit, Credit)
            largest = a_frame(0, payload=b"hash" + bytes((8 << 20) - 4), thumbnail=bytes(256 << 10))
            await device.send([largest, a_frame(1)])
            assert {r.status for r in device.answers} == {FrameStatus.OK}

    run_cloud(tmp_path, do)


def test_a_smaller_limit_of_the_gateway_is_in_its_welcome(tmp_path: Path) -> None:
    limits = GatewayLimits(payload_bytes_max=1000, thumbnail_bytes_max=0)

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            assert device.welcome is not None and device.welcome.payload_bytes_max == 1000
            long = a_frame(0, payload=b"hash" + bytes(1000))
            await device.send([long, a_frame(1, thumbnail=b"x"), a_frame(2)])
            statuses = [device.results[a_frame(seq).key].status.name for seq in range(3)]
            assert statuses == ["REFUSED", "REFUSED", "OK"]
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await detect(channel, long)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    run_cloud(tmp_path, do, limits=limits)


def test_tables_come_while_it_runs(tmp_path: Path) -> None:
    """A file of results that is full becomes a table at once, the last one at the end."""
    first = tmp_path / "parquet" / "000001.parquet"

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            device = Device(channel)
            await device.greet()
            for seq in range(30):
                await device.send([a_frame(seq)])
            await eventually(first.exists)

    sinks = (SinkName.PARQUET, SinkName.COCO)
    run_cloud(tmp_path, do, commit=CommitRule(fsync=False, segment_bytes=3000), sinks=sinks)
    rows = [row for file in first.parent.iterdir() for row in pq.read_table(file).to_pylist()]
    assert sorted(row["seq"] for row in rows) == list(range(30))
    assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == 30


def test_a_sink_that_fails_does_not_stop_the_service(tmp_path: Path) -> None:
    (tmp_path / "parquet").write_text("in the way")

    async def do(ready: Ready) -> None:
        async with calling(ready.address) as channel:
            assert (await detect(channel, a_frame(0))).status is FrameStatus.OK

    run_cloud(tmp_path, do, sinks=(SinkName.PARQUET, SinkName.COCO))
    assert (tmp_path / "coco.json").exists()
