"""A device that keeps to its credit is never refused, never stuck, and never holds more than it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsight.wire import Credit
from sparsight_cloud.serving.credit import Ledger, Window, fair_window
from sparsight_cloud.serving.settings import FRAME_COST_MAX, GatewayLimits

COSTS = st.one_of(st.integers(0, 100_000), st.integers(0, FRAME_COST_MAX))
WINDOWS = st.builds(Window, st.integers(1, 40), st.integers(FRAME_COST_MAX, 5 * FRAME_COST_MAX))


@given(st.lists(COSTS, max_size=60), st.lists(WINDOWS, min_size=1, max_size=5), st.data())
@settings(max_examples=300)
def test_an_honest_device_gets_through(
    costs: list[int], windows: list[Window], data: st.DataObject
) -> None:
    """The device's side as the contract has it; the window changes as others come and go."""
    ledger = Ledger()
    told = Credit(0, 0)
    sent_frames = sent_bytes = 0
    unanswered: list[int] = []
    waiting = list(costs)

    def hear() -> None:
        nonlocal told
        credit = ledger.grant(windows[len(waiting) % len(windows)])
        if credit is not None:
            assert credit.frames >= told.frames and credit.cost_bytes >= told.cost_bytes
            told = credit

    hear()
    while waiting or unanswered:
        can_send = bool(waiting) and told.allows(sent_frames + 1, sent_bytes + waiting[0])
        assert can_send or unanswered, "stuck: nothing to wait for and nothing may be sent"
        if can_send and (not unanswered or data.draw(st.booleans())):
            cost = waiting.pop(0)
            sent_frames, sent_bytes = sent_frames + 1, sent_bytes + cost
            assert ledger.take(cost)
            unanswered.append(cost)
        else:
            ledger.answered(unanswered.pop(data.draw(st.integers(0, len(unanswered) - 1))))
            hear()
        assert len(unanswered) <= max(window.frames for window in windows)
        assert sum(unanswered) <= max(window.cost_bytes for window in windows)
        assert ledger.unanswered == len(unanswered)


def test_who_does_not_read_gets_no_more() -> None:
    ledger = Ledger()
    window = Window(4, 5 * FRAME_COST_MAX)
    assert ledger.grant(window) == Credit(4, 5 * FRAME_COST_MAX)
    assert [ledger.take(10) for _ in range(6)] == [True] * 4 + [False] * 2
    assert ledger.grant(window) is None
    ledger.answered(10)
    assert ledger.grant(window) == Credit(5, 5 * FRAME_COST_MAX + 10)


@pytest.mark.parametrize("counted", [False, True], ids=["not counted", "counted"])
@pytest.mark.parametrize("when", range(6))
def test_a_message_that_is_none_costs_an_honest_device_nothing(counted: bool, when: int) -> None:
    """Whether it counted the message as a frame or not, and whenever it came."""
    window = Window(4, 5 * FRAME_COST_MAX)
    ledger = Ledger()
    told = Credit(0, 0)
    sent = 0
    for step in range(40):
        if step == when:
            ledger.forgive(1000)
            sent += counted
        told = ledger.grant(window) or told
        while told.allows(sent + 1, 0):
            sent += 1
            assert ledger.take(10)
        while ledger.unanswered:
            ledger.answered(10)
    assert sent > 40 * 2


def test_credit_is_told_of_when_half_is_used_and_not_for_every_frame() -> None:
    ledger = Ledger()
    window = Window(32, 4 * FRAME_COST_MAX)
    ledger.grant(window)
    told = 0
    for _ in range(320):
        ledger.take(10)
        ledger.answered(10)
        told += ledger.grant(window) is not None
    assert 10 <= told <= 30


@pytest.mark.parametrize(
    ("streams", "frames"), [(1, 32), (4, 25), (7, 16), (100, 1), (128, 1), (1000, 1)]
)
def test_windows_shrink_as_devices_join(streams: int, frames: int) -> None:
    limits = GatewayLimits(window_frames=32, window_bytes=32 << 20, in_flight_bytes=512 << 20)
    window = fair_window(limits, capacity_frames=128, streams=streams)
    assert window.frames == frames
    assert FRAME_COST_MAX <= window.cost_bytes <= 32 << 20


@pytest.mark.parametrize(
    "limits",
    [
        {"window_bytes": FRAME_COST_MAX - 1},
        {"window_frames": 0},
        {"streams_max": 0},
        {"detects_max": 0},
    ],
)
def test_limits_that_would_stop_everything_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        GatewayLimits(**limits)
