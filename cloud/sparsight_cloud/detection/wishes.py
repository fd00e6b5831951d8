"""What is wanted of a run, made from what was typed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from sparsight.errors import UsageError
from sparsight.pictures import MAX_PIXELS
from sparsight.settings import DetectSettings


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wanted of a run.

    Attributes:
        settings: How the detector is run.
        conf: Score in (0, 1) from which an object is drawn, written and counted.
        labels: Classes that are looked for, as the detector's labels.
        max_pixels: The most pixels a picture may have.
        show_heat: Draw the seeker's heat and the patches too.
    """

    settings: DetectSettings
    conf: float
    labels: Int64[np.ndarray, " k"]
    max_pixels: int = MAX_PIXELS
    show_heat: bool = False


def least_score(settings: DetectSettings, conf: float, judged: bool) -> DetectSettings:
    """The settings with the least score that a run needs.

    AP is about objects of every score; otherwise what is not shown need not be found. What is found
    above `conf` is the same either way: boxes of lower scores suppress none of higher ones.

    Args:
        settings: How the detector is run otherwise.
        conf: Score from which objects are shown.
        judged: Whether AP is wanted.
    """
    return replace(settings, score_min=min(settings.score_min, conf) if judged else conf)


def chosen_labels(typed: str | None, classes: Sequence[str]) -> Int64[np.ndarray, " k"]:
    """The classes that are looked for.

    Args:
        typed: Names with commas between, in any case; None means all.
        classes: Names of the detector's classes.

    Returns:
        Their labels, rising.

    Raises:
        UsageError: A name that is no class, or none at all.
    """
    if typed is None:
        return np.arange(len(classes))
    known = {name.casefold(): label for label, name in enumerate(classes)}
    names = [name.strip() for name in typed.split(",") if name.strip()]
    unknown = [name for name in names if name.casefold() not in known]
    if unknown or not names:
        said = f"unknown {', '.join(map(repr, unknown))}" if unknown else "expected names"
        raise UsageError(f"--classes {typed!r}: {said}; this bundle knows {', '.join(classes)}")
    return np.unique([known[name.casefold()] for name in names])
