"""Still scenes over real gRPC: little is sent, nothing is lost, and a new stream begins whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.shared.codec.frames import BUNDLE, assert_same, some_frame, some_tables
from tests.shared.codec.test_reuse import moved

from sparsight.codec.chain import Reader
from sparsight.codec.payload import CodedFrame, encode
from sparsight.geometry import Letterbox
from sparsight.wire import FrameFeatures, FrameKey, FrameStatus, Hello, pack_device_message
from sparsight_edge.spool.spool import Spool
from sparsight_edge.uplink.channel import Endpoint
from sparsight_edge.uplink.uplink import Uplink

from ..small.cable import Cable  # noqa: TID252
from ..small.cloud import Rules, SmallCloud  # noqa: TID252
from .test_uplink import GO, QUICK, until

TABLES = some_tables()
SCENE = some_frame(TABLES, (32, 48), (12, 12), 4, 1, 0, halo=1)
WHOLE_BYTES = len(encode(SCENE, TABLES, BUNDLE))


class Device:
    """A spool and its uplink, for frames of a scene."""

    def __init__(self, folder: Path, address: str) -> None:
        self.spool = Spool(folder, "drone")
        self.frames: dict[FrameKey, CodedFrame] = {}
        hello = Hello("drone", self.spool.epoch, "ab" * 32, 1, ("front",))
        self.uplink = Uplink(
            Endpoint(address), hello, self.spool, lambda answered: None, QUICK, TABLES
        )
        self.uplink.start()

    def put(self, frame: CodedFrame) -> None:
        key = FrameKey("drone", self.spool.epoch, self.spool.next_seq)
        self.frames[key] = frame
        box = Letterbox.fit((256, 384), 384)
        payload = encode(frame, TABLES, BUNDLE)
        message = pack_device_message(FrameFeatures(key, "front", 1, box, 1, payload))
        assert self.spool.append(message, GO) is not None
        self.uplink.nudge()

    def send(self, frames: Sequence[CodedFrame]) -> None:
        """One after the other, each answered before the next."""
        for frame in frames:
            self.put(frame)
            self.settled()

    def settled(self) -> None:
        until(lambda: self.spool.stats().left == 0)

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
    assert cloud.committed.keys() == device.frames.keys()
    reader = Reader(TABLES)
    for key, frame in cloud.committed.items():
        assert_same(reader.read(frame.payload), device.frames[key])


def test_a_still_scene_takes_little_of_the_link(cloud: SmallCloud, device: Device) -> None:
    device.send([SCENE] * 20)
    stats = device.uplink.stats()
    assert (stats.sent, stats.deltas, cloud.deltas) == (20, 19, 19)
    assert stats.sent_bytes + stats.saved_bytes > 20 * WHOLE_BYTES
    assert stats.sent_bytes < 0.3 * 20 * WHOLE_BYTES


def test_frames_that_wait_in_the_spool_are_told_by_changes_as_well(
    cloud: SmallCloud, tmp_path: Path
) -> None:
    cloud.stop()
    device = Device(tmp_path, cloud.address)
    for i in range(60):
        device.put(moved(SCENE, 2, i))
    cloud.start()
    device.settled()
    stats = device.uplink.stats()
    # What is on its way before the first answer came can't be told against anything.
    assert 0 < 60 - stats.deltas <= 2 * Rules().credit_frames
    device.close()
    assert len(cloud.committed) == 60


def test_a_new_stream_begins_with_a_whole_frame(cloud: SmallCloud, tmp_path: Path) -> None:
    with Cable(cloud.port) as cable:
        device = Device(tmp_path, cable.address)
        device.send([SCENE] * 5)
        for broken in range(1, 4):
            cable.cut()
            cable.mend()
            device.send([SCENE] * 5)
            assert device.uplink.stats().streams == 1 + broken
        device.close()
    assert cloud.deltas == 4 * 4
    reader = Reader(TABLES)
    assert len(cloud.committed) == 20
    for frame in cloud.committed.values():
        assert_same(reader.read(frame.payload), SCENE)


def test_a_cloud_that_forgot_gets_the_frame_whole(cloud: SmallCloud, device: Device) -> None:
    device.send([SCENE] * 3)
    cloud.rules.forgets = True
    device.send([SCENE] * 6)
    cloud.rules.forgets = False
    device.send([SCENE] * 6)
    stats = device.uplink.stats()
    assert stats.again > 0
    assert stats.acknowledged == 15
    assert cloud.deltas > 6


def test_a_cloud_that_keeps_nothing_is_told_nothing_of_it(
    cloud: SmallCloud, device: Device
) -> None:
    cloud.rules.references = 0
    device.send([SCENE] * 5)
    assert (cloud.deltas, device.uplink.stats().deltas) == (0, 0)


def test_a_busy_cloud_gets_frames_again_as_they_are_then(cloud: SmallCloud, device: Device) -> None:
    def busy(frame: FrameFeatures, time_seen: int) -> FrameStatus:
        return FrameStatus.UNAVAILABLE if time_seen < 3 else FrameStatus.OK

    cloud.rules.decide = busy
    for i in range(30):
        device.put(moved(SCENE, 1, i))
    device.settled()
    assert set(cloud.arrivals.values()) == {3}
