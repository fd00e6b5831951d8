"""What every model promises; each implementation is one more case here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from tests.cloud.serving.device_half import DeviceHalf
from tests.cloud.serving.hashes import HashReplica, a_frame, same
from tests.split import STEPS

from sparsight.bundle import TABLES
from sparsight.codec.chain import join
from sparsight.codec.parts import check_of
from sparsight.codec.payload import decode
from sparsight.codec.reuse import encode_delta
from sparsight.codec.tables import Tables
from sparsight.wire import FrameFeatures, FrameResult, FrameStatus
from sparsight_cloud.serving.dispatch import Answered, Refused, Replica
from sparsight_cloud.serving.replica import BundleReplica


@dataclass(frozen=True)
class ReplicaCase:
    """A model, frames that it answers, and one that it refuses."""

    make: Callable[[], Replica]
    good: Callable[[int], FrameFeatures]
    bad: Callable[[int], FrameFeatures]


def of_hashes(_: pytest.FixtureRequest) -> ReplicaCase:
    return ReplicaCase(HashReplica, a_frame, lambda seq: a_frame(seq, payload=b"damaged"))


def of_a_bundle(request: pytest.FixtureRequest) -> ReplicaCase:
    """The real one, with an untrained bundle that has an opinion."""
    folder: Path = request.getfixturevalue("split_bundle")
    device = DeviceHalf(folder)

    def bad(seq: int) -> FrameFeatures:
        good = device.frame(seq)
        return replace(good, payload=good.payload[:-1] + bytes([good.payload[-1] ^ 1]))

    return ReplicaCase(lambda: BundleReplica.from_bundles([folder]), device.frame, bad)


REPLICAS = {"hashes": of_hashes, "bundle": of_a_bundle}


@pytest.fixture(params=REPLICAS)
def replica_case(request: pytest.FixtureRequest) -> ReplicaCase:
    make: Callable[[pytest.FixtureRequest], ReplicaCase] = REPLICAS[request.param]
    return make(request)


def test_a_replica_is_one(replica_case: ReplicaCase) -> None:
    replica = replica_case.make()
    assert isinstance(replica, Replica)
    assert replica.serves.bundles and replica.serves.codec_versions
    assert all(len(bundle) == 64 and classes for bundle, classes in replica.serves.bundles.items())


def test_a_replica_answers_each_frame_as_if_it_were_alone(replica_case: ReplicaCase) -> None:
    replica = replica_case.make()
    frames = [replica_case.good(seq) for seq in range(3)]
    together = replica.run(frames)
    assert len(together) == 3
    assert any(isinstance(answer, Answered) and len(answer.detections) for answer in together)
    for frame, answer in zip(frames, together, strict=True):
        assert same(answer, replica.run([frame])[0])


def test_a_replica_is_pure(replica_case: ReplicaCase) -> None:
    frame = replica_case.good(0)
    replica = replica_case.make()
    first = replica.run([frame])[0]
    replica.run([replica_case.good(1), replica_case.bad(2)])
    assert same(first, replica.run([frame])[0])
    assert same(first, replica_case.make().run([frame])[0])


def test_a_frame_told_against_another_gives_what_it_would_whole(split_bundle: Path) -> None:
    device, replica = DeviceHalf(split_bundle), BundleReplica.from_bundles([split_bundle])
    tables = Tables.load(split_bundle / TABLES)
    first, second = device.frame(0), device.frame(len(STEPS))  # of one rate
    before, frame = (decode(one.payload, tables) for one in (first, second))
    delta = encode_delta(frame, before, check_of(first.payload), tables)
    assert delta is not None
    joined = replace(second, payload=join(first.payload, delta))
    assert isinstance(replica.run([second])[0], Answered)
    assert same(replica.run([joined])[0], replica.run([second])[0])
    (alone,) = replica.run([replace(second, payload=delta)])
    assert isinstance(alone, Refused) and "SPYD" in alone.detail
    (longer,) = replica.run([replace(second, payload=join(second.payload, delta))])
    assert isinstance(longer, Refused) and "against another frame" in longer.detail


def test_a_bad_frame_is_refused_in_its_own_place(replica_case: ReplicaCase) -> None:
    replica = replica_case.make()
    left, right = replica_case.good(0), replica_case.good(1)
    answers = replica.run([left, replica_case.bad(2), right])
    assert same(answers[0], replica.run([left])[0])
    assert same(answers[2], replica.run([right])[0])
    assert isinstance(answers[1], Refused)
    assert answers[1].status.done and answers[1].status is not FrameStatus.ALREADY_DONE
    assert answers[1].line


def test_what_a_replica_finds_can_be_sent(replica_case: ReplicaCase) -> None:
    replica = replica_case.make()
    for seq in range(5):
        frame = replica_case.good(seq)
        answer = replica.run([frame])[0]
        assert isinstance(answer, Answered)
        FrameResult(frame.key, FrameStatus.OK, answer.detections)
        found, classes = answer.detections, replica.serves.bundles[answer.bundle_id]
        height, width = frame.letterbox.frame_hw
        assert np.all(found.xyxy >= 0) and np.all(found.xyxy <= [width, height, width, height])
        assert np.all(np.diff(found.scores) <= 0)
        assert np.all(found.labels < len(classes))
