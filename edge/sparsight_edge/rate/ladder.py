"""All that a frame may cost, as one ladder from the most bytes to the fewest.

    rate finest ... rate coarsest ─ fewer patches ─ fewer still ─ every 2nd frame ─ every 4th ...

One ladder, so that there is one question: how far down. Coarser rates come first: they lose the
least AP a byte (the bundle's card). Then the patches of least gain go. Frames are left out last,
and only of sources whose newest frame counts: of files every frame is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sparsight.errors import UsageError

MESSAGE_BYTES = 120
"""Of a frame beside its payload: its message, HTTP/2, TLS."""

_PATCHES_MOST = 64
_LEARN = 0.1  # share of a new frame in the running means
_RATIO_MIN, _RATIO_MAX = 0.01, 100.0
_FINER = 1.55  # a rate's bytes over the next one's, where a bundle does not say


@dataclass(frozen=True, slots=True)
class Choice:
    """What a frame may cost.

    Attributes:
        rate: Index of the codec's quality level, 0 the finest.
        max_patches: The best so many patches; None for all.
        every: Of so many frames one is sent.
    """

    rate: int
    max_patches: int | None = None
    every: int = 1


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What the control keeps to; may be replaced while it runs.

    Attributes:
        finest: The finest rate to take.
        coarsest: The coarsest; None is the bundle's.
        min_patches: Patches a frame that are never cut.
        max_skip: Of so many frames at least one is sent, where frames may be left out at all.
        target_age_s: How long a frame may wait for its answer; the control keeps below it.
    """

    finest: int = 0
    coarsest: int | None = None
    min_patches: int = 8
    max_skip: int = 8
    target_age_s: float = 3.0

    def ladder(self, rates: int, *, may_skip: bool) -> tuple[Choice, ...]:
        """The rungs, from the most bytes to the fewest.

        Args:
            rates: How many the bundle has.
            may_skip: Whether frames may be left out.

        Raises:
            UsageError: The limits leave nothing.
        """
        coarsest = rates - 1 if self.coarsest is None else self.coarsest
        if not 0 <= self.finest <= coarsest < rates:
            raise UsageError(
                f"expected rates with 0 <= finest <= coarsest <= {rates - 1} (this bundle's "
                f"coarsest), got {self.finest} and {coarsest}"
            )
        rungs = [Choice(rate) for rate in range(self.finest, coarsest + 1)]
        patches = max(1, self.min_patches)
        budgets = []
        while patches <= _PATCHES_MOST:
            budgets.append(patches)
            patches *= 2
        rungs += [Choice(coarsest, budget) for budget in reversed(budgets)]
        every = 2
        while may_skip and every <= self.max_skip:
            rungs.append(replace(rungs[-1], every=every))
            every *= 2
        return tuple(rungs)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What frames have at each rate: the bundle's figures, and how this scene differs from them.

    Attributes:
        payload_bytes: Mean of each rate where the bundle was judged.
        ratio: This scene's over them, running mean.
        patches: This scene's patches a frame when none are cut, running mean; 0 is unknown.
    """

    payload_bytes: tuple[float, ...]
    ratio: float = 1.0
    patches: float = 0.0

    @classmethod
    def of(cls, payload_bytes: Sequence[float], rates: int) -> Sizes:
        """Begin with a bundle's figures, or a guess if it has none."""
        guess = [10_000 / _FINER**rate for rate in range(rates)]
        return cls(tuple(payload_bytes or guess))

    def frame_bytes(self, choice: Choice) -> float:
        """What a frame will have, its message included."""
        return self._expected_bytes(choice) * self.ratio + MESSAGE_BYTES

    def learn(self, choice: Choice, patches: int, payload_bytes: int) -> Sizes:
        """A frame was coded so."""
        known = self.patches
        if choice.max_patches is None or patches < choice.max_patches:
            known = known + _LEARN * (patches - known) if known else float(patches)
        else:
            known = max(known, float(patches))
        ratio = min(payload_bytes / self._expected_bytes(choice), _RATIO_MAX)
        ratio = max(self.ratio + _LEARN * (ratio - self.ratio), _RATIO_MIN)
        return replace(self, patches=known, ratio=ratio)

    def _expected_bytes(self, choice: Choice) -> float:
        """What the bundle says of such a frame."""
        budget = choice.max_patches
        share = min(1.0, budget / self.patches) if budget and self.patches else 1.0
        return self.payload_bytes[choice.rate] * share
