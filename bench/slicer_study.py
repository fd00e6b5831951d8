"""Coverage against area: the paper's two slicers and ours, on perfect heat and on a bundle's.

`python -m bench.slicer_study --data ANN.json --images DIR`; run it from the root of the checkout.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from bench.slicer_rivals import paper_fast, paper_greedy
from jaxtyping import Float32
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sparsight.bundle import default_bundle
from sparsight.geometry import Letterbox
from sparsight.model.detector import Detector
from sparsight.pictures import read_picture
from sparsight.slicer import Patches, SlicerSettings, slice_heat
from sparsight_cloud.data.coco import read_coco
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.coverage import coverage, frame_coverage
from sparsight_cloud.evaluation.ignore import in_ignored
from sparsight_cloud.training.labels import draw_heat

Heat = Float32[np.ndarray, "gh gw"]
GAINS = (0.5, 0.9)


def study(
    data: Annotated[Path, typer.Option(help="Annotations, a COCO file.")],
    images: Annotated[Path, typer.Option(help="Folder of their pictures.")],
    bundle: Annotated[Path | None, typer.Option(help="The default one without.")] = None,
) -> None:
    """Print one line for each slicer, window and threshold."""
    console = Console()
    dataset = read_coco(data, images)
    detector = Detector.from_bundle(bundle or default_bundle())
    boxes, ideal, seen = [], [], []
    for image in track(dataset.images, "heat", console=console):
        result = detector.detect([read_picture(image.path)])[0]
        judged = image.xyxy[~in_ignored(image.xyxy, image.ignore_xyxy)]
        box = result.letterbox
        boxes.append(box)
        ideal.append(draw_heat(box.to_input(judged).astype(np.float32), box.cells_hw)[0])
        seen.append(result.heat)
    columns = ("heat", "window", "threshold", "slicer", "bpr", "occupancy", "kept", "µs")
    table = Table(*columns, title=f"{data.name}, {len(boxes)} frames")
    for name, heats, thresholds in (("perfect", ideal, (0.5,)), ("seeker", seen, (0.5, 0.7, 0.8))):
        for threshold in thresholds:
            for side in (12, 16):
                for slicer, cut in _slicers(side, threshold).items():
                    figures = _measured(cut, heats, dataset, boxes)
                    table.add_row(name, f"{side}x{side}", f"{threshold}", slicer, *figures)
    console.print(table)


def _slicers(side: int, threshold: float) -> dict[str, Callable[[Heat], Patches]]:
    size = (side, side)
    out: dict[str, Callable[[Heat], Patches]] = {
        "paper, fast": lambda heat: paper_fast(heat, size, threshold),
        "paper, greedy": lambda heat: paper_greedy(heat, size, threshold),
    }
    for gain in GAINS:
        settings = SlicerSettings(patch_hw=size, threshold=threshold, min_gain=gain)
        out[f"ours, gain {gain}"] = lambda heat, s=settings: slice_heat(heat, s)  # type: ignore[misc]
    return out


def _measured(
    cut: Callable[[Heat], Patches], heats: list[Heat], dataset: Dataset, boxes: list[Letterbox]
) -> tuple[str, ...]:
    cut(heats[0])  # compiles
    start = time.perf_counter()
    patches = [cut(heat) for heat in heats]
    spent_us = (time.perf_counter() - start) / len(heats) * 1e6
    frames = zip(dataset.images, patches, boxes, strict=True)
    c = coverage([frame_coverage(image, p, box) for image, p, box in frames])
    bpr = "-" if c.bpr is None else f"{c.bpr:.3f}"
    return bpr, f"{c.occupancy:.3f}", f"{c.kept_area:.3f}", f"{spent_us:.0f}"


if __name__ == "__main__":
    typer.run(study)
