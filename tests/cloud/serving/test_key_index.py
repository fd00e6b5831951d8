from hypothesis import given
from hypothesis import strategies as st

from sparsight.wire import FrameKey
from sparsight_cloud.serving.key_index import PLACES_MAX, KeyIndex, Place

PLACE = Place(1, 0, 10)


def key(seq: int, device: str = "a", epoch: int = 1) -> FrameKey:
    return FrameKey(device, epoch, seq)


def test_a_committed_frame_can_be_found_until_it_is_acknowledged() -> None:
    index = KeyIndex()
    index.add(key(3), PLACE)
    assert key(3) in index and index.place(key(3)) == PLACE
    assert index.forget("a", 1, [3, 4]) == [3]
    assert key(3) in index and index.place(key(3)) is None
    assert index.forget("a", 1, [3]) == []


def test_devices_and_epochs_are_apart() -> None:
    index = KeyIndex()
    index.add(key(3), PLACE)
    assert key(3, device="b") not in index
    assert key(3, epoch=2) not in index
    assert index.forget("b", 1, [3]) == index.forget("a", 2, [3]) == []
    assert index.place(key(3)) == PLACE


def test_a_device_that_never_acknowledges_is_bounded() -> None:
    index = KeyIndex()
    for seq in range(PLACES_MAX + 5):
        index.add(key(seq), PLACE)
    assert len(index) == PLACES_MAX + 5
    assert index.place(key(4)) is None
    assert index.place(key(5)) == PLACE
    assert all(key(seq) in index for seq in range(5))


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_what_is_acknowledged_is_what_has_no_place(done: set[int], forgotten: set[int]) -> None:
    index = KeyIndex()
    for seq in done:
        index.add(key(seq), PLACE)
    index.forget("a", 1, forgotten)
    found = {seq for _, _, seqs in index.acknowledged() for run in seqs for seq in range(*run)}
    assert found == done & forgotten
