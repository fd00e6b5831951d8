"""How many replicas there are to be, and what each takes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sparsight.errors import UsageError

REPLICAS_MAX = 1024

_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many of them, and what each takes of Ray's resources.

    Attributes:
        n: Replicas; the fewest, if there may be more.
        cpus: Processors for each; torch computes with as many threads, at least one.
        most: As many there may be while frames wait for them; None is `n`.
        gpus: GPUs for each. A fraction shares one; a whole number gives it several.
        idle_s: One that is not needed ends after so long.
    """

    n: int = 1
    cpus: float = 1
    most: int | None = None
    gpus: float = 0
    idle_s: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.n <= (self.most or self.n) <= REPLICAS_MAX:
            raise ValueError(f"expected 1 to {REPLICAS_MAX} replicas, got {self}")
        if not 0 < self.cpus < math.inf or not 0 <= self.gpus < math.inf:
            raise ValueError(f"expected a part of a processor at least, got {self}")

    @property
    def device(self) -> str:
        """Where torch computes."""
        return "cuda" if self.gpus else "cpu"

    @property
    def scales(self) -> bool:
        """Whether their number changes by itself."""
        return self.most is not None and self.most > self.n

    @classmethod
    def of(cls, count: str, cpus: float = 1, gpus: float = 0) -> Replicas:
        """As people write it: `2`, or `1-8`.

        Raises:
            UsageError: It is neither, or none that there can be.
        """
        found = _RANGE.fullmatch(count)
        if found is None:
            raise UsageError(f"--replicas: expected a number or a range such as 1-8, got {count!r}")
        n, most = int(found[1]), int(found[2] or found[1])
        if gpus > 1 and gpus != int(gpus):
            raise UsageError(f"--gpus: expected a part of one or whole ones, got {gpus:g}")
        try:
            return cls(n, cpus, most, gpus)
        except ValueError as error:
            allowed = f"expected 1 to {REPLICAS_MAX}, the fewest first"
            raise UsageError(f"--replicas: {allowed}, got {count!r}") from error
