"""Whoever sends more does not get more than a turn."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sparsight_cloud.serving.turns import Turns


def test_devices_take_turns_and_each_keeps_its_order() -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for device, count in (("a", 5), ("b", 2), ("c", 1)):
        for i in range(count):
            turns.put(device, (device, i))
    assert list(turns.firsts()) == [("a", 0), ("b", 0), ("c", 0)]
    taken = [turns.take() for _ in range(len(turns))]
    assert taken == [
        *(("a", 0), ("b", 0), ("c", 0)),
        *(("a", 1), ("b", 1)),
        *(("a", 2), ("a", 3), ("a", 4)),
    ]
    assert len(turns) == 0


@given(st.lists(st.one_of(st.sampled_from("abcde"), st.none()), max_size=200))
def test_no_device_is_passed_by(moves: list[str | None]) -> None:
    """Between two frames of a device that waits, each other has one at most; each in its order."""
    turns: Turns[tuple[str, int]] = Turns()
    sent: Counter[str] = Counter()
    got: Counter[str] = Counter()
    since: dict[str, Counter[str]] = {}
    for device in moves:
        if device is not None:
            turns.put(device, (device, sent[device]))
            sent[device] += 1
        elif len(turns):
            who, number = turns.take()
            assert number == got[who]
            got[who] += 1
            since[who] = Counter()
            for other in sent:
                if other != who and sent[other] > got[other]:
                    passed = since.setdefault(other, Counter())
                    passed[who] += 1
                    assert passed[who] <= 1
        since = {who: seen for who, seen in since.items() if sent[who] > got[who]}
