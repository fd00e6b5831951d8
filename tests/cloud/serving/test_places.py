"""A batch goes to a replica that idles, whatever order the others end in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sparsight_cloud.serving.places import Places, Ticket


def _ticket(number: int, *others: int) -> Ticket:
    return Ticket(number, frozenset({number, *others}))


def _send(places: Places[str], replicas: list[str], ticket: Ticket) -> str:
    first = places.ranked(replicas, ticket)[0]
    places.put(ticket, first)
    return first


def test_the_one_whose_batch_is_done_has_the_next() -> None:
    places: Places[str] = Places()
    # The later one came here first.
    second = _send(places, ["a", "b"], _ticket(2, 1))
    first = _send(places, ["b", "a"] if second == "b" else ["a", "b"], _ticket(1))
    assert {first, second} == {"a", "b"}
    assert _send(places, ["a", "b"], _ticket(3, 1)) == second
    assert _send(places, ["a", "b"], _ticket(4, 3)) == first


def test_idle_ones_take_turns() -> None:
    places: Places[str] = Places()
    chosen = [_send(places, ["a", "b", "c"], _ticket(n)) for n in range(6)]
    assert set(chosen[:3]) == set(chosen[3:]) == {"a", "b", "c"}


def test_a_batch_that_is_sent_again_prefers_another() -> None:
    places: Places[str] = Places()
    first = _send(places, ["a", "b"], _ticket(1))
    assert _send(places, ["a", "b"], _ticket(1)) != first
    assert _send(places, [first], _ticket(1)) == first


def test_where_it_really_went_counts() -> None:
    places: Places[str] = Places()
    assert _send(places, ["a", "b"], _ticket(1)) == "a"
    places.put(_ticket(1), "b")  # another gateway's batches had filled a
    assert places.ranked(["a", "b"], _ticket(2, 1)) == ["a", "b"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=60), st.integers(1, 4))
def test_nobody_waits_while_another_idles(steps: list[tuple[bool, int]], n: int) -> None:
    replicas = [f"replica-{i}" for i in range(n)]
    places: Places[str] = Places()
    on: dict[int, str] = {}
    for number, (ends, which) in enumerate(steps):
        if ends and on:
            del on[sorted(on)[which % len(on)]]
        held = [*on.values()]
        chosen = _send(places, replicas, _ticket(number, *on))
        assert held.count(chosen) == min(held.count(one) for one in replicas)
        on[number] = chosen
