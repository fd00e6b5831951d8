"""From a detector and a labelled set to a report: the parts of this package put together."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from rich.console import Console

from sparsight.errors import UsageError
from sparsight.settings import DetectSettings
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.classes import match_classes
from sparsight_cloud.evaluation.report import evaluation_report
from sparsight_cloud.evaluation.run import Detector, run_evaluation


def judge(
    detector: Detector,
    dataset: Dataset,
    settings: DetectSettings,
    mapping: Mapping[str, str],
    limit: int | None,
    about: dict[str, Any],
    console: Console,
) -> dict[str, Any]:
    """Judge a detector and report on it.

    Args:
        detector: What is judged.
        dataset: Pictures and labels.
        settings: How the detector is run.
        mapping: The data set's class for some of the detector's; the others match by name.
        limit: Judge the first pictures only; None judges all.
        about: Entries of the report that say what was judged on what.
        console: Shows progress and the pictures that can't be read.

    Returns:
        The report, ready for JSON; `images_failed` lists the pictures that can't be read.

    Raises:
        DataError: The detector and the data set have no class in common.
        PictureError: No picture can be read.
    """
    match = match_classes(detector.classes, dataset.classes, mapping)
    chosen = replace(dataset, images=dataset.images[:limit])
    evaluation = run_evaluation(detector, chosen, match, settings, console)
    return evaluation_report(evaluation, settings, about)


def adjusted(
    settings: DetectSettings,
    *,
    mode: Literal["split", "dense"] | None = None,
    long_side_px: int | None = None,
    threshold: float | None = None,
    max_patches: int | None = None,
    sparse_head: bool | None = None,
    rate: int | None = None,
) -> DetectSettings:
    """A bundle's settings with some of them changed; None leaves one as it is.

    Args:
        settings: The bundle's.
        mode: `split` or `dense`.
        long_side_px: Long side of the input, in pixels.
        threshold: Heat from which a peak counts as an object, in (0, 1].
        max_patches: Patches of a frame at most.
        sparse_head: Whether the head runs on marked cells only.
        rate: Which of the codec's rates the patches go through.

    Raises:
        UsageError: A value outside its range, or one that means nothing in this mode.
    """
    slicer = _changed({"threshold": threshold, "max_patches": max_patches})
    changed = _changed({"mode": mode, "long_side_px": long_side_px, "sparse_head": sparse_head})
    out = replace(settings, **changed, rate=rate, slicer=replace(settings.slicer, **slicer))
    if out.mode == "dense" and (slicer or sparse_head is not None):
        raise UsageError(
            "dense mode has no patches: leave out --threshold, --max-patches and --no-sparse-head, "
            "or run --mode split"
        )
    return out


def _changed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
