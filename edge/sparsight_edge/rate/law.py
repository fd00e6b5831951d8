"""The law of the rate control: from what the link shows to a rung of the ladder. Pure.

    needs more than may be sent at all ─────────────> down, at once
    queue age > target and growing ─────────────────> down, at once, to what the goodput carries
    queue age < half of it, long enough ─ measured ─> up, to what the goodput carries
                                        └ unknown ──> up to twice, to see; if it fails, wait longer

Three known ideas make it. The queue is trusted before any estimate of the link, as players of
films trust their buffer (Huang et al., "A buffer-based approach to rate adaptation", SIGCOMM
2014); only that here the buffer is on the sender's side and is to be empty. Goodput counts only as
measured while frames waited; else it shows what was offered, not what the link carries (BBR's
app-limited samples, Cardwell et al., ACM Queue 2016). And as of all who share a link, it is asked
to go down at once by much and up slowly by little (Chiu and Jain, 1989).

What is not known must be tried. A try that ends in a queue doubles the wait before that rung is
tried again: on a link between two rungs the lower one holds, and tries get rare. The rungs below
are not held back by it, so that the way up after an outage is short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

DOWN_S = 2.0
"""Least time between two steps down: what was coded before must get through first."""

UP_S = 5.0
"""How long the queue must be short before the first step up."""

UP_MAX_S = 120.0
"""The longest that a failed try makes the next one wait."""

TRY_S = 60.0
"""A step up that has held so long was none too many."""

FRESH_S = 20.0
"""How long a measured goodput counts."""

TRIES = 2.0
"""What is tried needs at most so many times what is known to be carried."""

CARRIES_DOWN, CARRIES_UP = 0.85, 0.75
"""Share of the goodput that a rung may need: some must be left to shorten the queue."""

_DIFFERS = 1.1  # rungs whose needs differ by less are one: a budget above what a scene has


@dataclass(frozen=True, slots=True)
class Seen:
    """How the link fares now.

    Attributes:
        now_s: By any clock.
        age_s: How long the oldest frame has waited for its answer.
        goodput: Bytes a second that were answered while frames waited; None if never measured.
        goodput_age_s: How long ago that was.
        needs: Bytes a second that each rung takes.
        cap: Bytes a second that may be sent at all; None for as many as the link carries.
        gap_s: Between two frames that are sent: by so much the queue's age goes up and down.
    """

    now_s: float
    age_s: float
    goodput: float | None
    goodput_age_s: float
    needs: Sequence[float]
    cap: float | None = None
    gap_s: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """Where the control stands.

    Attributes:
        rung: 0 is the most bytes.
        changed_s: When it last changed.
        least_age_s: Of the queue since then.
        calm_s: Since when the queue is short.
        failed: The last rung that was tried and proved too much; -1 for none.
        up_s: How long the queue must be short before that is tried again.
        climbed_s: When it last went up, as long as that may yet prove too much.
        switches: How often it changed.
    """

    rung: int
    changed_s: float
    least_age_s: float
    calm_s: float
    failed: int = -1
    up_s: float = UP_S
    climbed_s: float | None = None
    switches: int = 0

    @classmethod
    def begin(cls, rung: int, now_s: float) -> State:
        """At the start."""
        return cls(rung, now_s, 0.0, now_s)


def step(state: State, seen: Seen, target_age_s: float) -> State:
    """What the control does now.

    Args:
        state: Where it stands.
        seen: How the link fares; `needs` has at least one rung.
        target_age_s: How old the queue may get.
    """
    now_s = seen.now_s
    short = seen.age_s <= target_age_s / 2
    state = replace(
        state,
        rung=min(state.rung, len(seen.needs) - 1),
        least_age_s=min(state.least_age_s, seen.age_s),
        calm_s=state.calm_s if short else now_s,
    )
    if state.climbed_s is not None and now_s - state.climbed_s > TRY_S:
        state = replace(state, climbed_s=None)
        if state.rung <= state.failed:
            state = replace(state, failed=-1, up_s=UP_S)
    if seen.cap is not None and seen.needs[state.rung] > _DIFFERS * seen.cap:
        fits = (i for i, need in enumerate(seen.needs) if need <= seen.cap)
        return _to(state, next(fits, len(seen.needs) - 1), seen)
    # What was coded before a change must get through before its effect is seen.
    grows = seen.age_s >= state.least_age_s + target_age_s / 2 + seen.gap_s
    settled = now_s - state.changed_s >= max(DOWN_S, 2 * seen.gap_s)
    if seen.age_s > target_age_s and grows and settled:
        return _to(state, _down(state, seen), seen)
    if short:
        return _to(state, _up(state, seen), seen)
    return state


def _down(state: State, seen: Seen) -> int:
    """As far down as the goodput asks for, at least a rung; to a half if it is not known."""
    rung, last = state.rung, len(seen.needs) - 1
    lower = [i for i in range(rung + 1, last + 1) if seen.needs[i] * _DIFFERS < seen.needs[rung]]
    if not lower:
        return rung
    if seen.goodput is None or seen.goodput_age_s > FRESH_S:
        return next((i for i in lower if seen.needs[i] <= seen.needs[rung] / 2), last)
    if state.climbed_s is not None and seen.needs[lower[0]] <= seen.goodput:
        return lower[0]  # back to what was known to be carried
    carries = CARRIES_DOWN * seen.goodput
    return next((i for i in lower if seen.needs[i] <= carries), last)


def _up(state: State, seen: Seen) -> int:
    """The finest rung that is known to be carried, or one to try."""
    rung, quiet_s = state.rung, seen.now_s - max(state.calm_s, state.changed_s)
    allowed = float("inf") if seen.cap is None else seen.cap
    finest = 0 if quiet_s >= state.up_s else state.failed + 1
    higher = [i for i in range(finest, rung) if seen.needs[i] <= allowed]
    if not higher or quiet_s < UP_S:
        return rung
    tried = TRIES * seen.needs[rung]
    if seen.goodput is not None and seen.goodput_age_s <= FRESH_S:
        tried = max(tried, CARRIES_UP * seen.goodput)
    return next((i for i in higher if seen.needs[i] <= tried), max(higher))


def _to(state: State, rung: int, seen: Seen) -> State:
    if rung == state.rung:
        return state
    now_s = seen.now_s
    moved = replace(
        state,
        rung=rung,
        changed_s=now_s,
        least_age_s=seen.age_s,
        switches=state.switches + 1,
    )
    if rung < state.rung:
        return replace(moved, climbed_s=now_s)
    if state.climbed_s is not None:  # that was too much
        up_s = min(2 * state.up_s, UP_MAX_S)
        return replace(moved, failed=state.rung, up_s=up_s, climbed_s=None)
    return moved
