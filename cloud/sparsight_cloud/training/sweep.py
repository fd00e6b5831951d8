"""Ranges of settings, and what is drawn from them.

    optimiser.lr=1e-4:3e-3:log     between two numbers, evenly in their logarithm
    crop.mosaic=0:0.5              between two numbers
    batch=2,4,8                    one of some values

Keys are those of a training configuration, with dots.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from sparsight.errors import UsageError

_FORM = "expected KEY=LOW:HIGH, KEY=LOW:HIGH:log or KEY=VALUE,VALUE,..."


@dataclass(frozen=True, slots=True)
class Range:
    """What one setting may be.

    Attributes:
        key: Of the setting, with dots.
        values: Two ends, or the values.
        kind: `even`, `log` or `one`.
    """

    key: str
    values: tuple[Any, ...]
    kind: str

    @staticmethod
    def parse(text: str) -> Range:
        """Read what a person gave.

        Raises:
            UsageError: It is no range.
        """
        key, mark, rest = text.partition("=")
        if not mark or not key or not rest:
            raise UsageError(f"--set: {_FORM}, got {text!r}")
        if ":" not in rest:
            try:
                return Range(key, tuple(yaml.safe_load(part) for part in rest.split(",")), "one")
            except yaml.YAMLError as error:
                raise UsageError(f"--set: {_FORM}, got {text!r}") from error
        low_text, high_text, *kind = rest.split(":")
        try:
            low, high = float(low_text), float(high_text)
        except ValueError as error:
            raise UsageError(f"--set: {_FORM}, got {text!r}") from error
        if kind not in ([], ["log"]):
            raise UsageError(f"--set: {_FORM}, got {text!r}")
        if not -math.inf < low < high < math.inf or (kind and low <= 0):
            above = " above 0" if kind else ""
            raise UsageError(f"--set {key}: expected LOW < HIGH{above}, got {rest!r}")
        return Range(key, (low, high), "log" if kind else "even")

    def draw(self, rng: np.random.Generator) -> Any:
        """One value."""
        if self.kind == "one":
            return self.values[int(rng.integers(len(self.values)))]
        low, high = self.values
        if self.kind == "log":
            return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")
        return float(f"{rng.uniform(low, high):.3g}")

    def ends(self) -> tuple[Any, ...]:
        """Values that must be valid for all to be."""
        return self.values


def draws(ranges: Iterable[Range], count: int, seed: int) -> list[dict[str, Any]]:
    """Settings of so many trials, the same for the same seed."""
    rng = np.random.default_rng(seed)
    known = list(ranges)
    return [{one.key: one.draw(rng) for one in known} for _ in range(count)]
