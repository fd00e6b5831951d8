"""The card of a trained bundle: data, its licence, figures, limits."""

from __future__ import annotations

from typing import Any

from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.training.board import duration
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.loop import Outcome

_FIGURES = {
    "AP": "ap",
    "AP50": "ap50",
    "AP of tiny objects (< 16 px)": "ap_tiny",
    "AP of small objects (< 32 px)": "ap_small",
    "boxes covered by patches (bpr)": "bpr",
    "occupancy": "occupancy",
    "GFLOPs a frame": "gflops_per_frame",
    "GFLOPs of the same frames, dense": "gflops_dense",
}


def write_card(
    name: str,
    config: TrainConfig,
    dataset: Dataset,
    outcome: Outcome,
    report: dict[str, Any] | None,
) -> str:
    """The text of a card, in Markdown.

    Args:
        name: Of the bundle.
        config: The run.
        dataset: What it learned.
        outcome: How far it came.
        report: An evaluation's report, if there was one.
    """
    net, data = config.model, config.data
    start = "random weights" if net.pretrained == "none" else f"{net.pretrained} (ImageNet)"
    if not isinstance(net.pretrained, str):
        start = net.pretrained.name
    lines = [
        f"# {name}",
        "",
        f"A sparsight detector: {net.backbone}, neck of {net.neck_channels} channels, frames of "
        f"{config.crop.long_side_px} px.",
        "",
        "## Data",
        "",
        f"- set: {data.title or data.annotations.name}: {len(dataset.images)} pictures, "
        f"{dataset.boxes} boxes",
        f"- licence of the data: {data.licence or 'not stated'}",
        f"- classes: {', '.join(dataset.classes)}",
        f"- started from: {start}",
        "",
        "## Training",
        "",
        f"{outcome.steps} steps of {config.batch} crops of {config.crop.side_px} px in "
        f"{duration(outcome.elapsed_s)}, seed {config.seed}.",
        "",
        "## Figures",
        "",
    ]
    if report is None:
        lines.append("Not evaluated. `sparsight eval` measures a bundle on a labelled set.")
    else:
        lines += [
            f"{report['images']} pictures of {report['annotations']}, {report['mode']} mode:",
            "",
            *(f"- {label}: {_shown(report[key])}" for label, key in _FIGURES.items()),
        ]
    lines += [
        "",
        "## Limits",
        "",
        f"It knows objects as they look in its data, seen at about {config.crop.long_side_px} px "
        "on the long side. Other heights, angles, seasons and cameras are untested: evaluate it on "
        "pictures of your own before relying on it.",
        "",
    ]
    return "\n".join(lines)


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3g}"
