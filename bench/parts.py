"""The three parts of the bench: labelled frames, frames at native size, a transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench.peak import Peak, Request, load, measure, noise
from bench.placed import GivenHeat, seeded_heat
from bench.shots import Source, shoot
from bench.summary import pick, ratio, rows, spread
from bench.variants import Answer, Run, make_variant
from jaxtyping import UInt8
from rich.console import Console
from rich.markup import escape

from sparsight.bundle import WEIGHTS, write_bundle
from sparsight.errors import SparsightError
from sparsight.geometry import Letterbox
from sparsight.model.detector import Detector, save_weights
from sparsight.model.network import Network
from sparsight.pictures import read_picture
from sparsight.settings import DetectSettings, ModelSettings
from sparsight.slicer import SlicerSettings
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.classes import match_classes
from sparsight_cloud.evaluation.coco_ap import average_precision

FEWEST = 30
"""Frames of the subset with the fewest boxes."""

OBJECT_SCORE = 0.25
"""Score from which on a detection counts as an object in the part without labels."""

SIDE_PX = 1920
SHARES = (0.08, 0.25)
"""Shares of a frame's cells that the transformer keeps."""

WHOLE_WINDOWS_HW = (28, 28)
"""Patches of untrained Swins, in cells: 14 and 7 cells at P4 and P5 are whole windows of 7."""

UNTRAINED_SCORE_MIN = 0.5
"""Untrained heads answer everywhere; above this score merging costs no more than usual."""


@dataclass(frozen=True, slots=True)
class Rig:
    """What all parts share.

    Attributes:
        bundle: Folder of the bundle.
        threads: Threads of torch.
        memory_frames: Frames of a line whose memory is measured.
        repeats: Runs of the transformer.
        console: Shows progress.
    """

    bundle: Path
    threads: int
    memory_frames: int
    repeats: int
    console: Console


def labelled(rig: Rig, dataset: Dataset, ways: Sequence[str], name: str) -> dict[str, Any]:
    """Accuracy, cost, time and memory of every way on the same labelled frames.

    Args:
        rig: What to measure with.
        dataset: Frames and labels.
        ways: Keys of `variants.TITLES`, dense first.
        name: Of the annotations, for people.

    Raises:
        DataError: The bundle and the data set have no class in common.
        PictureError: A frame can't be read.
    """
    detector = Detector.from_bundle(rig.bundle)
    match = match_classes(detector.classes, dataset.classes)
    judged = match.dataset(dataset)
    runs = {key: make_variant(key, detector, detector.settings) for key in ways}
    sources = [Source(i.file_name, partial(read_picture, i.path)) for i in judged.images]
    shots = shoot(runs, sources, rig.console, f"{name}: {len(ways)} ways")
    by_boxes = sorted(range(len(sources)), key=lambda i: len(judged.images[i].labels))
    subsets = {"all": (f"all {len(sources)} frames", by_boxes)}
    if len(sources) > FEWEST:
        title = f"the {FEWEST} frames with the fewest boxes"
        subsets["fewest"] = (title, by_boxes[:FEWEST])
    report: dict[str, Any] = {
        "annotations": name,
        "memory_frames": rig.memory_frames,
        "sahi_merging": _sahi_merging(detector.settings),
        "subsets": {},
    }
    for subset, (title, chosen) in subsets.items():
        middle = [judged.images[chosen[i]] for i in spread(len(chosen), rig.memory_frames)]
        indices = sorted(chosen)  # the data set's order, as `sparsight eval` judges it
        lot = pick(shots, indices)
        peaks = _memory(rig, ways, [str(image.path) for image in middle], title)
        table = rows(lot, peaks)
        images = replace(judged, images=tuple(judged.images[i] for i in indices))
        for key, row in table.items():
            found = [match.detections(shot.answer.detections) for shot in lot[key]]
            ap = average_precision(images, found)
            row["ap"], row["ap50"] = ap.ap, ap.ap50
            row["ap_lost"] = None if ap.ap is None else (table["dense"]["ap"] or 0.0) - ap.ap
        report["subsets"][subset] = {
            "title": title,
            "frames": len(indices),
            "boxes": images.boxes,
            "memory_pictures": [image.file_name for image in middle],
            "ways": table,
        }
    report["frames"] = [
        {
            "file_name": image.file_name,
            "boxes": len(image.labels),
            "kept_area": shots["sparse"][i].answer.kept_area if "sparse" in shots else None,
            "ms": {key: some[i].ms for key, some in shots.items()},
        }
        for i, image in enumerate(judged.images)
    ]
    return report


def native(rig: Rig, pictures: Sequence[Path], long_side_px: int) -> dict[str, Any]:
    """Time and memory, picture by picture, at a large size and without labels.

    Args:
        rig: What to measure with.
        pictures: At least one.
        long_side_px: Length that the long side is scaled to.

    Raises:
        PictureError: A picture can't be read.
    """
    detector = Detector.from_bundle(rig.bundle)
    settings = replace(detector.settings, long_side_px=long_side_px)
    ways = ("dense", "sparse")
    runs = {key: make_variant(key, detector, settings) for key in ways}
    sources = [Source(path.name, partial(read_picture, path)) for path in pictures]
    title = f"{long_side_px} px"
    shots = shoot(runs, sources, rig.console, title)
    peaks = _memory(rig, ways, [str(p) for p in pictures], title, long_side_px=long_side_px)
    report: dict[str, Any] = {"long_side_px": long_side_px, "pictures": []}
    for i, source in enumerate(sources):
        dense, sparse = shots["dense"][i], shots["sparse"][i]
        taken = {key: some[i].total_bytes if some else None for key, some in peaks.items()}
        report["pictures"].append(
            {
                "picture": source.name,
                "objects": len(sparse.answer.detections.above(OBJECT_SCORE)),
                "occupancy": sparse.answer.occupancy,
                "kept_area": sparse.answer.kept_area,
                "gflops_ratio": ratio(sparse.answer.gflops, dense.answer.gflops),
                "dense_ms": dense.ms,
                "ms": sparse.ms,
                "ms_ratio": ratio(sparse.ms, dense.ms),
                "dense_peak_bytes": taken["dense"],
                "peak_bytes": taken["sparse"],
                "peak_ratio": ratio(taken["sparse"], taken["dense"]),
            }
        )
    report["ways"] = rows(shots, peaks)
    return report


def transformer(rig: Rig, backbone: str, own: Path | None, folder: Path) -> dict[str, Any]:
    """Time and memory of a transformer on square noise, with patches that a seeded heat map places.

    Args:
        rig: What to measure with; its bundle plays no part.
        backbone: Name of a timm model, built untrained where there is no bundle.
        own: Folder of a trained bundle.
        folder: Where the untrained bundle may be written.
    """
    bundle = own or _untrained(backbone, folder)
    patch_hw = None if own else WHOLE_WINDOWS_HW
    request = Request(
        str(bundle), "dense", rig.threads, (SIDE_PX,), SIDE_PX, UNTRAINED_SCORE_MIN, patch_hw
    )
    requests = {"dense": request}
    for share in SHARES:
        requests[f"{share:.0%}"] = replace(request, variant="sparse", share=share)
    detector, settings = load(request)
    grid_hw = Letterbox.fit((SIDE_PX, SIDE_PX), SIDE_PX).cells_hw
    runs = {}
    for key, one in requests.items():
        run = make_variant(one.variant, detector, settings)
        if one.share is not None:
            heat = seeded_heat(grid_hw, settings.slicer, one.share)
            run = _with_heat(run, detector, GivenHeat(detector.network.seeker, heat))
        runs[key] = run
    sources = [Source("noise", partial(noise, SIDE_PX))] * rig.repeats
    name = detector.network.settings.backbone
    shots = shoot(runs, sources, rig.console, name)
    peaks = {key: _peaks(rig, one, f"{name}: memory of {key}") for key, one in requests.items()}
    ways = rows(shots, peaks)
    for key in ways:
        ways[key]["title"] = "dense" if key == "dense" else f"patches, {key} of the cells"
    high, wide = settings.slicer.patch_hw
    return {
        "backbone": name,
        "side_px": SIDE_PX,
        "weights": "trained" if own else "untrained: time and memory only",
        "patch_hw": [high, wide],
        "note": f"patches of {high}x{wide} cells, where a seeded heat map puts them, each run "
        f"alone; objects below a score of {UNTRAINED_SCORE_MIN} are left out, since an untrained "
        "head answers everywhere",
        "ways": ways,
    }


def _memory(
    rig: Rig,
    ways: Sequence[str],
    pictures: Sequence[str],
    title: str,
    long_side_px: int | None = None,
) -> Mapping[str, list[Peak]]:
    peaks = {}
    for key in ways:
        request = Request(str(rig.bundle), key, rig.threads, tuple(pictures), long_side_px)
        peaks[key] = _peaks(rig, request, f"{title}: memory of {key}")
    return peaks


def _peaks(rig: Rig, request: Request, title: str) -> list[Peak]:
    # Times were measured before: they are not to be lost where memory can't be measured.
    try:
        with rig.console.status(title):
            return measure(request)
    except SparsightError as error:
        rig.console.print(f"[red]{escape(title)}:[/] {escape(str(error))}", soft_wrap=True)
        return []


def _with_heat(run: Run, detector: Detector, seeker: GivenHeat) -> Run:
    def told(frame: UInt8[np.ndarray, "h w 3"]) -> Answer:
        own = detector.network.seeker
        detector.network.add_module("seeker", seeker)
        try:
            return run(frame)
        finally:
            detector.network.add_module("seeker", own)

    return told


def _untrained(backbone: str, folder: Path) -> Path:
    torch.manual_seed(0)
    settings = ModelSettings(backbone=backbone, classes=("object",))
    network = Network(settings)
    network.fold()
    save_weights(network, folder / WEIGHTS)
    detect = DetectSettings(long_side_px=SIDE_PX, slicer=SlicerSettings(patch_hw=WHOLE_WINDOWS_HW))
    write_bundle(folder, settings, detect, name=f"untrained {backbone}", card="Untrained.\n")
    return folder


def _sahi_merging(settings: DetectSettings) -> str:
    low = settings.score_min < 0.1
    return "NMS/IOU 0.5, its own choice below a confidence of 0.1" if low else "GREEDYNMM/IOS 0.5"
