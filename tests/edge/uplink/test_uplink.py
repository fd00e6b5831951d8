from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from sparsight.codec.tables import Tables
from sparsight.geometry import Letterbox
from sparsight.wire import (
    FrameFeatures,
    FrameKey,
    FrameStatus,
    Hello,
    Refusal,
    RefusalStatus,
    pack_device_message,
)
from sparsight_edge.spool.spool import Spool
from sparsight_edge.uplink.channel import Endpoint
from sparsight_edge.uplink.stream import Answered, StreamSettings
from sparsight_edge.uplink.uplink import Uplink, UplinkSettings

from ..small.cable import Cable  # noqa: TID252
from ..small.cloud import Rules, SmallCloud  # noqa: TID252

GO = threading.Event()
QUICK = UplinkSettings(
    retry_s=(0.05, 0.2),
    hold_s=0.3,
    stream=StreamSettings(welcome_s=2.0, answer_s=2.0, ack_s=0.1, pause_s=(0.02, 0.1)),
)


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.01)


class Device:
    """A spool and its uplink, and what came back."""

    def __init__(
        self,
        folder: Path,
        address: str,
        on_result: Callable[[Answered], None] | None = None,
        *,
        bundle_id: str = "ab" * 32,
        tables: Tables | None = None,
    ) -> None:
        self.spool = Spool(folder, "drone")
        self.results: list[Answered] = []
        self.hello = Hello("drone", self.spool.epoch, bundle_id, 1, ("front",))
        answered = on_result or self.results.append
        self.uplink = Uplink(Endpoint(address), self.hello, self.spool, answered, QUICK, tables)
        self.uplink.start()

    def send(self, count: int, payload_bytes: int = 100) -> list[FrameKey]:
        box = Letterbox.fit((90, 160), 64)
        return [self.put(box, 0, bytes(payload_bytes)) for _ in range(count)]

    def put(self, box: Letterbox, rate: int, payload: bytes) -> FrameKey:
        """Spool a frame."""
        key = FrameKey("drone", self.spool.epoch, self.spool.next_seq)
        frame = FrameFeatures(key, "front", 12345, box, rate, payload)
        assert self.spool.append(pack_device_message(frame), GO) is not None
        self.uplink.nudge()
        return key

    def all_answered(self) -> bool:
        return self.spool.stats().left == 0

    def close(self) -> None:
        self.uplink.stop()
        self.spool.close()
        assert self.uplink.failure is None


@pytest.fixture
def cloud() -> Iterator[SmallCloud]:
    with SmallCloud() as cloud:
        yield cloud
        assert cloud.wrong == []


@pytest.fixture
def device(cloud: SmallCloud, tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path, cloud.address)
    yield device
    device.close()


def test_frames_arrive_once_and_in_order_and_their_answers_come_back(
    cloud: SmallCloud, device: Device
) -> None:
    keys = device.send(100)
    until(device.all_answered)
    assert list(cloud.committed) == keys
    assert set(cloud.arrivals.values()) == {1}
    assert [one.result.key for one in device.results] == keys
    first = device.results[0]
    assert len(first.result.detections) == 1
    assert (first.stream, first.captured_unix_ns) == ("front", 12345)
    assert first.sent_unix_ns <= first.answered_unix_ns
    until(lambda: cloud.acked == set(keys))
    stats = device.uplink.stats()
    assert (stats.state, stats.reason, stats.streams) == ("up", "", 1)
    assert (stats.sent, stats.acknowledged, stats.in_flight) == (100, 100, 0)
    assert stats.round_trip_ms > 0 and stats.cloud_ms == pytest.approx(6)
    assert cloud.hellos == [device.hello]


def test_the_last_results_are_acknowledged_when_it_stops(cloud: SmallCloud, tmp_path: Path) -> None:
    device = Device(tmp_path, cloud.address)
    keys = device.send(5)
    until(device.all_answered)
    device.close()
    until(lambda: cloud.acked == set(keys))
    assert device.uplink.stats().state == "closed"


@pytest.mark.parametrize(
    ("rules", "most"),
    [
        (Rules(credit_frames=3), 3),
        (Rules(credit_frames=100, credit_bytes=250), 2),
        (Rules(credit_frames=1), 1),
    ],
)
def test_credit_is_kept_to(tmp_path: Path, rules: Rules, most: int) -> None:
    with SmallCloud(rules) as cloud:
        device = Device(tmp_path, cloud.address)
        device.send(50)
        until(device.all_answered)
        device.close()
        assert cloud.wrong == []
        assert cloud.most_unanswered <= most
        assert len(cloud.committed) == 50


def test_without_credit_nothing_is_sent(tmp_path: Path) -> None:
    with SmallCloud(Rules(credit_frames=0)) as cloud:
        device = Device(tmp_path, cloud.address)
        device.send(20)
        until(lambda: device.uplink.stats().state == "up")
        time.sleep(0.5)
        assert cloud.arrivals.total() == 0
        assert device.spool.stats().taken <= 1  # no more than one waits in memory
        device.close()
        assert cloud.wrong == []


def test_a_frame_that_is_refused_is_never_sent_again(tmp_path: Path) -> None:
    def odd_are_bad(frame: FrameFeatures, time_seen: int) -> FrameStatus:
        return FrameStatus.BAD_PAYLOAD if frame.key.seq % 2 else FrameStatus.OK

    with SmallCloud(Rules(odd_are_bad)) as cloud:
        device = Device(tmp_path, cloud.address)
        keys = device.send(10)
        until(device.all_answered)
        device.close()
        again = Device(tmp_path, cloud.address)
        until(lambda: again.uplink.stats().state == "up")
        again.close()
        assert set(cloud.arrivals.values()) == {1}
        assert list(cloud.committed) == keys[::2]
        assert cloud.acked == set(keys)
    assert device.spool.stats().refused == device.uplink.stats().refused == 5
    assert len((tmp_path / "refused.jsonl").read_text().splitlines()) == 5
    assert "BAD_PAYLOAD: as the test wants it" in (tmp_path / "refused.jsonl").read_text()


def test_a_frame_that_is_not_taken_now_is_sent_again(tmp_path: Path) -> None:
    def third_time(frame: FrameFeatures, time_seen: int) -> FrameStatus:
        return FrameStatus.OK if time_seen == 3 else FrameStatus.UNAVAILABLE

    with SmallCloud(Rules(third_time)) as cloud:
        device = Device(tmp_path, cloud.address)
        keys = device.send(20)
        until(device.all_answered)
        device.close()
        assert set(cloud.arrivals.values()) == {3}
        assert set(cloud.committed) == set(keys)
        assert cloud.wrong == []
        assert device.uplink.stats().again == 40
        assert len(device.results) == 20


def test_how_long_to_wait_is_the_clouds_to_say(tmp_path: Path) -> None:
    seen_s: list[float] = []

    def second_time(frame: FrameFeatures, time_seen: int) -> FrameStatus:
        seen_s.append(time.monotonic())
        return FrameStatus.OK if time_seen == 2 else FrameStatus.UNAVAILABLE

    with SmallCloud(Rules(second_time, retry_after_ms=700)) as cloud:
        device = Device(tmp_path, cloud.address)
        device.send(1)
        until(device.all_answered)
        device.close()
    assert seen_s[1] - seen_s[0] >= 0.7


def test_frames_of_an_unknown_bundle_are_held_and_do_not_block_others(tmp_path: Path) -> None:
    known = threading.Event()

    def first_is_unknown(frame: FrameFeatures, time_seen: int) -> FrameStatus:
        unknown = frame.key.seq == 0 and not known.is_set()
        return FrameStatus.UNKNOWN_BUNDLE if unknown else FrameStatus.OK

    with SmallCloud(Rules(first_is_unknown)) as cloud:
        device = Device(tmp_path, cloud.address)
        keys = device.send(10)
        until(lambda: device.spool.stats().left == 1)
        assert device.spool.stats().held == 1
        assert "UNKNOWN_BUNDLE" in device.uplink.stats().reason
        known.set()
        until(device.all_answered)
        device.close()
        assert set(cloud.committed) == set(keys)


def test_a_payload_over_the_clouds_limit_is_refused_here(tmp_path: Path) -> None:
    with SmallCloud(Rules(payload_bytes_max=500)) as cloud:
        device = Device(tmp_path, cloud.address)
        device.send(1, 501)
        device.send(1, 500)
        until(device.all_answered)
        device.close()
        assert [key.seq for key in cloud.committed] == [1]
        assert device.spool.stats().refused == 1


def test_what_is_no_frame_in_the_spool_is_refused_here(cloud: SmallCloud, device: Device) -> None:
    device.spool.append(b"from another time", GO)
    (key,) = device.send(1)
    until(device.all_answered)
    assert list(cloud.committed) == [key]
    assert device.spool.stats().refused == 1


def test_a_link_that_is_cut_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    with SmallCloud() as cloud, Cable(cloud.port) as cable:
        device = Device(tmp_path, cable.address)
        keys = device.send(50)
        until(lambda: len(cloud.committed) >= 10)
        for _ in range(3):
            cable.cut()
            keys += device.send(30)
            until(lambda: device.uplink.stats().state == "waiting")
            assert "UNAVAILABLE" in device.uplink.stats().reason
            time.sleep(0.3)
            cable.mend()
            keys += device.send(30)
            until(device.all_answered)
        device.close()
        assert set(cloud.committed) == set(keys)
        assert sorted(one.result.key.seq for one in device.results) == list(range(len(keys)))
        assert cloud.wrong == []
        assert device.uplink.stats().streams >= 3
        until(lambda: cloud.acked == set(keys))


def test_a_link_that_goes_silent_is_given_up(tmp_path: Path) -> None:
    with SmallCloud() as cloud, Cable(cloud.port) as cable:
        device = Device(tmp_path, cable.address)
        keys = device.send(5)
        until(device.all_answered)
        cable.silent = True
        keys += device.send(5)
        until(lambda: "no answer to a frame in 2 s" in device.uplink.stats().reason)
        until(lambda: "no welcome in 2 s" in device.uplink.stats().reason)
        cable.silent = False
        until(device.all_answered)
        device.close()
        assert set(cloud.committed) == set(keys)


def test_a_cloud_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    cloud = SmallCloud().start()
    device = Device(tmp_path, cloud.address)
    keys = device.send(20)
    until(device.all_answered)
    cloud.stop()
    keys += device.send(20)
    until(lambda: device.uplink.stats().state == "waiting")
    cloud.start()
    until(device.all_answered)
    device.close()
    cloud.stop()
    assert set(cloud.committed) == set(keys) and cloud.wrong == []


def test_a_cloud_that_was_never_there(tmp_path: Path) -> None:
    with Cable(1) as cable:
        address = cable.address
    device = Device(tmp_path, address)
    device.send(3)
    until(lambda: device.uplink.stats().state == "waiting")
    assert device.uplink.stats().reason.startswith("UNAVAILABLE: ")
    assert "\n" not in device.uplink.stats().reason
    start_s = time.monotonic()
    device.close()
    assert time.monotonic() - start_s < 5
    assert device.spool.stats().left == 3


def test_a_cloud_without_room_is_asked_again_when_it_says(tmp_path: Path) -> None:
    full = Refusal(RefusalStatus.FULL, "too many devices", 600)
    with SmallCloud(Rules(refusal=full)) as cloud:
        device = Device(tmp_path, cloud.address)
        device.send(1)
        until(lambda: device.uplink.stats().state == "waiting")
        first_s = time.monotonic()
        assert device.uplink.stats().reason == "FULL: too many devices"
        until(lambda: len(cloud.hellos) == 2)
        assert time.monotonic() - first_s > 0.5
        cloud.rules.refusal = None
        until(device.all_answered)
        device.close()


def test_a_cloud_that_turns_the_device_away_is_asked_slowly(tmp_path: Path) -> None:
    unknown = Refusal(RefusalStatus.UNKNOWN_BUNDLE, "serves a, b")
    with SmallCloud(Rules(refusal=unknown)) as cloud:
        device = Device(tmp_path, cloud.address)
        device.send(1)
        until(lambda: device.uplink.stats().state == "turned away")
        assert device.uplink.stats().reason == "UNKNOWN_BUNDLE: serves a, b"
        cloud.rules.refusal = None
        until(device.all_answered)
        device.close()


def test_gRPCs_own_refusals(tmp_path: Path) -> None:
    metadata = (("retry-after-ms", "600"),)
    busy = (grpc.StatusCode.RESOURCE_EXHAUSTED, "no room", metadata)
    with SmallCloud(Rules(abort=busy)) as cloud:
        device = Device(tmp_path, cloud.address)
        device.send(1)
        until(lambda: device.uplink.stats().state == "waiting")
        first_s = time.monotonic()
        assert device.uplink.stats().reason == "RESOURCE_EXHAUSTED: no room"
        cloud.rules.abort = (grpc.StatusCode.UNAUTHENTICATED, "who\nare you", ())
        until(lambda: device.uplink.stats().state == "turned away")
        assert time.monotonic() - first_s > 0.5
        assert device.uplink.stats().reason == "UNAUTHENTICATED: who are you"
        cloud.rules.abort = None
        until(device.all_answered)
        device.close()


def test_an_answer_that_can_not_be_stored_is_not_acknowledged(
    cloud: SmallCloud, tmp_path: Path
) -> None:
    def full(answered: Answered) -> None:
        raise OSError("disk full")

    device = Device(tmp_path, cloud.address, full)
    device.send(1)
    until(lambda: device.uplink.failure is not None)
    assert isinstance(device.uplink.failure, OSError)
    device.uplink.stop()
    assert device.spool.stats().left == 1 and not cloud.acked
    device.spool.close()


def test_an_earlier_boots_frames_go_first(cloud: SmallCloud, tmp_path: Path) -> None:
    with Cable(1) as cable:
        address = cable.address
    offline = Device(tmp_path, address)
    keys = offline.send(5)
    offline.close()
    online = Device(tmp_path, cloud.address)
    keys += online.send(5)
    until(online.all_answered)
    online.close()
    assert list(cloud.committed) == keys
