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
from sparsight.wire import FrameFeatures, FrameKey, FrameStatus

from ..small.cable import Cable  # noqa: TID252
from ..small.cloud import SmallCloud  # noqa: TID252
from .test_uplink import Device, until

TABLES = some_tables()
SCENE = some_frame(TABLES, (32, 48), (12, 12), 4, 1, 0, halo=1)
WHOLE_BYTES = len(encode(SCENE, TABLES, BUNDLE))


class StillDevice(Device):
    """One whose frames are of a scene, and are told by what changed."""

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(folder, address, bundle_id=BUNDLE, tables=TABLES)
        self.frames: dict[FrameKey, CodedFrame] = {}

    def see(self, frame: CodedFrame) -> None:
        box = Letterbox.fit((256, 384), 384)
        self.frames[self.put(box, frame.rate, encode(frame, TABLES, BUNDLE))] = frame

    def see_all(self, frames: Sequence[CodedFrame]) -> None:
        """One after the other, each answered before the next."""
        for frame in frames:
            self.see(frame)
            until(self.all_answered)


@pytest.fixture
def cloud() -> Iterator[SmallCloud]:
    with SmallCloud() as cloud:
        yield cloud
        assert cloud.wrong == []


@pytest.fixture
def device(cloud: SmallCloud, tmp_path: Path) -> Iterator[StillDevice]:
    device = StillDevice(tmp_path, cloud.address)
    yield device
    device.close()
    assert cloud.committed.keys() == device.frames.keys()
    reader = Reader(TABLES)
    for key, frame in cloud.committed.items():
        assert_same(reader.read(frame.payload), device.frames[key])


def test_a_still_scene_takes_little_of_the_link(cloud: SmallCloud, device: StillDevice) -> None:
    device.see_all([SCENE] * 20)
    stats = device.uplink.stats()
    assert (stats.sent, stats.deltas, cloud.deltas) == (20, 19, 19)
    assert stats.sent_bytes + stats.saved_bytes > 20 * WHOLE_BYTES
    assert stats.sent_bytes < 0.3 * 20 * WHOLE_BYTES


def test_frames_that_wait_in_the_spool_are_told_by_changes_as_well(
    cloud: SmallCloud, tmp_path: Path
) -> None:
    cloud.stop()
    device = StillDevice(tmp_path, cloud.address)
    for i in range(60):
        device.see(moved(SCENE, 2, i))
    cloud.start()
    until(device.all_answered)
    stats = device.uplink.stats()
    assert stats.deltas == 59
    device.close()
    assert len(cloud.committed) == 60


def test_a_new_stream_begins_with_a_whole_frame(cloud: SmallCloud, tmp_path: Path) -> None:
    with Cable(cloud.port) as cable:
        device = StillDevice(tmp_path, cable.address)
        device.see_all([SCENE] * 5)
        for broken in range(1, 4):
            cable.cut()
            cable.mend()
            device.see_all([SCENE] * 5)
            assert device.uplink.stats().streams == 1 + broken
        device.close()
    assert cloud.deltas == 4 * 4
    reader = Reader(TABLES)
    assert len(cloud.committed) == 20
    for frame in cloud.committed.values():
        assert_same(reader.read(frame.payload), SCENE)


def test_a_cloud_that_forgot_gets_the_frame_whole(cloud: SmallCloud, device: StillDevice) -> None:
    device.see_all([SCENE] * 3)
    cloud.rules.forgets = True
    device.see_all([SCENE] * 6)
    cloud.rules.forgets = False
    device.see_all([SCENE] * 6)
    stats = device.uplink.stats()
    assert stats.again > 0
    assert stats.acknowledged == 15
    assert cloud.deltas > 6


def test_a_cloud_that_keeps_nothing_is_told_nothing_of_it(
    cloud: SmallCloud, device: StillDevice
) -> None:
    cloud.rules.reference_bytes_max = 0
    device.see_all([SCENE] * 5)
    assert (cloud.deltas, device.uplink.stats().deltas) == (0, 0)


def test_a_busy_cloud_gets_frames_again_as_they_are_then(
    cloud: SmallCloud, device: StillDevice
) -> None:
    def busy(frame: FrameFeatures, time_seen: int) -> FrameStatus:
        return FrameStatus.UNAVAILABLE if time_seen < 3 else FrameStatus.OK

    cloud.rules.decide = busy
    for i in range(30):
        device.see(moved(SCENE, 1, i))
    until(device.all_answered)
    assert set(cloud.arrivals.values()) == {3}
