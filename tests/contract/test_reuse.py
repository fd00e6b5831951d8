"""What a device tells by changes is what a cloud reads, whatever becomes of messages and answers.

`Reuse` (device) and `References`, `Reader` (cloud) meet here without a network between them: frames
are answered late, sent again, refused, and streams break, as chance will have it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shared.codec.frames import BUNDLE, assert_same, some_frame, some_tables
from tests.shared.codec.test_reuse import moved

from sparsight.codec.chain import CHAIN_MAX, Reader
from sparsight.codec.payload import CodedFrame, encode
from sparsight.geometry import Letterbox
from sparsight.wire import (
    FrameFeatures,
    FrameKey,
    FrameStatus,
    pack_device_message,
    unpack_device_message,
)
from sparsight_cloud.serving.references import References
from sparsight_edge.uplink.reuse import PATIENCE_MAX, Reuse

TABLES = some_tables()
SCENE = some_frame(TABLES, (32, 48), (12, 12), 4, 1, 0, halo=1)
BOX = Letterbox.fit((256, 384), 384)


class Link:
    """A device and a cloud, and the frames between them."""

    def __init__(self, reference_bytes: int = 1 << 20, said_bytes: int | None = None) -> None:
        self.reader = Reader(TABLES)
        self.reference_bytes = reference_bytes
        self.said_bytes = reference_bytes if said_bytes is None else said_bytes
        self.told: list[FrameFeatures] = []
        self.frames: dict[FrameKey, CodedFrame] = {}
        self.unresolved = 0
        self.connect()

    def connect(self) -> None:
        self.reuse = Reuse(BUNDLE, TABLES, self.said_bytes)
        self.references = References(self.reference_bytes)

    def whole(self, seq: int, frame: CodedFrame) -> FrameFeatures:
        key = FrameKey("drone", 1, seq)
        self.frames[key] = frame
        return FrameFeatures(key, "cam", 7, BOX, frame.rate, encode(frame, TABLES, BUNDLE))

    def send(self, whole: FrameFeatures) -> FrameStatus:
        """To the cloud and into its model; the answer is not heard yet."""
        told = self.reuse.tell(whole)
        arrived = unpack_device_message(pack_device_message(told))
        assert arrived == told and isinstance(arrived, FrameFeatures)
        self.told.append(told)
        readable = self.references.resolve(arrived)
        if readable is None:
            self.unresolved += 1
            return FrameStatus.NO_REFERENCE
        assert_same(self.reader.read(readable.payload), self.frames[told.key])
        assert readable.reference is None
        return FrameStatus.OK

    def exchange(self, whole: FrameFeatures) -> None:
        while (status := self.send(whole)) is not FrameStatus.OK:
            self.reuse.answered(whole.key, status)
        self.reuse.answered(whole.key, status)


def test_a_still_scene_is_told_once() -> None:
    link = Link()
    for seq in range(100):
        link.exchange(link.whole(seq, SCENE))
    first, *others = link.told
    assert not first.reference and first.keep
    assert all(told.reference and not told.keep for told in others)
    assert {told.reference for told in others} == {first.key}
    assert sum(len(told.payload) for told in others) < 0.1 * 99 * len(first.payload)


def test_a_scene_that_changes_bit_by_bit_is_told_by_short_chains() -> None:
    link, frame = Link(), SCENE
    for seq in range(300):
        frame = moved(frame, 1, seq)
        link.exchange(link.whole(seq, frame))
    wholes = [told for told in link.told if not told.reference]
    kept = [told for told in link.told if told.keep]
    assert link.unresolved == 0
    assert 2 <= len(wholes) < 300 / CHAIN_MAX + 2
    assert len(kept) > 10 * len(wholes)
    size = np.mean([len(told.payload) for told in link.told])
    assert size < 0.3 * len(wholes[0].payload)


def test_a_camera_that_moves_is_hardly_tried_and_a_still_one_is_found_again() -> None:
    link = Link()
    for seq in range(200):
        link.exchange(link.whole(seq, some_frame(TABLES, (32, 48), (12, 12), 4, 1, seq, halo=1)))
    assert not any(told.reference for told in link.told)
    assert sum(told.keep for told in link.told) < 15
    for seq in range(200, 240 + PATIENCE_MAX):
        link.exchange(link.whole(seq, SCENE))
    assert all(told.reference for told in link.told[-38:])


def test_other_rates_and_sizes_begin_anew() -> None:
    link = Link()
    others = [
        replace(SCENE, rate=2),
        some_frame(TABLES, (32, 48), (8, 8), 4, 1, 0, halo=1),
        some_frame(TABLES, (32, 48), (12, 12), 0, 1, 0, halo=1),
    ]
    for seq, frame in enumerate([SCENE] * 3 + [others[0]] * 3 + [others[1]] * 3 + [others[2]] * 3):
        link.exchange(link.whole(seq, frame))
    deltas = [told.reference is not None for told in link.told]
    assert deltas == [False, True, True] * 3 + [False] * 3
    assert link.unresolved == 0


def test_a_cloud_without_room_is_told_everything_whole() -> None:
    for room in (0, 100):
        link = Link(reference_bytes=room)
        for seq in range(50):
            link.exchange(link.whole(seq, SCENE))
        assert link.unresolved == 0
        assert len(link.told) == 50
        assert not any(told.reference or told.keep for told in link.told)


def test_chains_stay_within_what_the_cloud_keeps() -> None:
    whole = len(encode(SCENE, TABLES, BUNDLE))
    link, frame = Link(reference_bytes=2 * whole), SCENE
    for seq in range(100):
        frame = moved(frame, 1, seq)
        link.exchange(link.whole(seq, frame))
    assert link.unresolved == 0
    assert 4 < sum(not told.reference for told in link.told) < 50


def test_a_cloud_that_keeps_less_than_it_says_costs_few_frames_twice() -> None:
    """With 32 frames on their way before the first answer is heard."""
    link = Link(reference_bytes=0, said_bytes=1 << 20)
    frames = [link.whole(seq, SCENE) for seq in range(300)]
    flying: deque[tuple[FrameFeatures, FrameStatus]] = deque()
    waiting, done = deque(frames), 0
    while waiting or flying:
        while waiting and len(flying) < 32:
            one = waiting.popleft()
            flying.append((one, link.send(one)))
        one, status = flying.popleft()
        link.reuse.answered(one.key, status)
        if status.again:
            waiting.appendleft(one)
        else:
            done += 1
    assert done == 300
    whole = len(frames[0].payload)
    assert sum(len(told.payload) for told in link.told) < 1.2 * 300 * whole


def test_frames_of_two_bundles_are_not_told_against_each_other() -> None:
    link, other = Link(), "f" * 64
    for seq in range(6):
        whole = link.whole(seq, SCENE)
        if seq % 2:
            whole = replace(whole, payload=encode(SCENE, TABLES, other))
        link.exchange(whole)
    kinds = [told.reference is not None for told in link.told]
    assert kinds == [False, False, True, False, True, False]


def test_a_reference_that_is_sent_again_is_one_again() -> None:
    link = Link()
    first = link.whole(0, SCENE)
    for _ in range(3):  # the cloud is busy
        assert link.send(first) is FrameStatus.OK
        link.reuse.answered(first.key, FrameStatus.UNAVAILABLE)
    link.exchange(first)
    link.exchange(link.whole(1, SCENE))
    assert [told.keep for told in link.told] == [True] * 4 + [False]
    assert link.told[-1].reference


def test_what_is_no_payload_of_ours_goes_as_it_is() -> None:
    link = Link()
    link.exchange(link.whole(0, SCENE))
    for payload in (b"", b"SPYLwhatever", encode(SCENE, TABLES, BUNDLE)[:-1]):
        strange = replace(link.whole(1, SCENE), payload=payload)
        assert link.reuse.tell(strange) == strange


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_whatever_happens_every_frame_is_read_right(data: st.DataObject) -> None:
    link, frame, seq = Link(), SCENE, 0
    waiting: deque[FrameFeatures] = deque()
    answers: deque[tuple[FrameKey, FrameStatus]] = deque()
    seen: set[FrameKey] = set()
    for step in range(data.draw(st.integers(20, 50))):
        match data.draw(st.sampled_from(["new", "new", "new", "hear", "hear", "break", "unsent"])):
            case "new":
                if data.draw(st.integers(0, 9)) == 0:
                    frame = some_frame(TABLES, (32, 48), (12, 12), 4, 1, step, halo=1)
                elif data.draw(st.booleans()):
                    frame = moved(frame, data.draw(st.integers(1, 4)), step)
                waiting.append(link.whole(seq, frame))
                seq += 1
                one = waiting.popleft()
                status = link.send(one)
                if status is FrameStatus.OK and data.draw(st.integers(0, 5)) == 0:
                    status = FrameStatus.UNAVAILABLE
                if status.again:
                    waiting.append(one)
                else:
                    seen.add(one.key)
                answers.append((one.key, status))
            case "hear" if answers:
                link.reuse.answered(*answers.popleft())
            case "break":
                link.connect()
                answers.clear()
            case "unsent":
                told = link.reuse.tell(link.whole(seq, frame))
                link.reuse.unsent(told.key)
            case _:
                pass
    for one in waiting:
        link.exchange(one)
        seen.add(one.key)
    assert {key for key in link.frames if key.seq < seq} == seen
