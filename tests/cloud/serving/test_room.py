"""Refusals hit those who have most."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsight_cloud.serving.credit import fair_window
from sparsight_cloud.serving.room import Room
from sparsight_cloud.serving.settings import FRAME_COST_MAX, GatewayLimits

CAPACITY = 32


def a_room(bytes_max: int = 1 << 30) -> Room:
    return Room(lambda: CAPACITY, bytes_max)


def fill(room: Room, device: str, cost_bytes: int = 1) -> int:
    """How many frames a device that takes all it can get has."""
    count = 0
    while room.enter(device, cost_bytes):
        count += 1
    return count


def test_a_greedy_device_leaves_room_for_the_next_one() -> None:
    room = a_room()
    assert fill(room, "greedy") == CAPACITY // 2
    assert fill(room, "other") == CAPACITY // 4
    room.leave("greedy", 1)
    assert not room.enter("greedy", 1)
    assert room.enter("third", 1)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_whoever_comes_last_finds_a_share(n: int) -> None:
    room = a_room()
    had = [0] * n
    for _ in range(CAPACITY):
        for i in range(n):
            had[i] += room.enter(f"greedy-{i}", 1)
    assert max(had) - min(had) <= 1
    assert CAPACITY - sum(had) >= CAPACITY // (n + 1)


def test_bytes_are_shared_likewise() -> None:
    room = a_room(bytes_max=100)
    assert fill(room, "greedy", 10) == 5
    assert room.enter("other", 25)
    assert not room.enter("other", 1)


@pytest.mark.parametrize("devices", [1, 2, 5, 31])
def test_who_keeps_to_the_window_is_never_refused(devices: int) -> None:
    limits = GatewayLimits(window_frames=CAPACITY, in_flight_bytes=4 * 32 * FRAME_COST_MAX)
    window = fair_window(limits, CAPACITY, devices)
    room = a_room(limits.in_flight_bytes)
    for _ in range(window.frames):
        for i in range(devices):
            assert room.enter(f"drone-{i}", window.cost_bytes // window.frames)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(1, 40), st.booleans()),
        max_size=200,
    )
)
def test_there_is_never_more_than_there_is_room_for(
    moves: list[tuple[str, int, bool]],
) -> None:
    room, inside = a_room(bytes_max=300), list[tuple[str, int]]()
    for device, cost_bytes, enters in moves:
        if enters:
            if room.enter(device, cost_bytes):
                inside.append((device, cost_bytes))
            else:
                most = Counter(who for who, _ in inside)[device]
                costs = sum(cost for who, cost in inside if who == device)
                free_bytes = 300 - sum(cost for _, cost in inside)
                assert most >= CAPACITY - len(inside) or costs + cost_bytes > free_bytes
        elif inside:
            room.leave(*inside.pop(0))
        assert len(inside) <= CAPACITY and sum(cost for _, cost in inside) <= 300
