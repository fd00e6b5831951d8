"""A whole comparison: what was asked for, to results, to the report.

Asked ─ plan (bundles, frames, curves) ─ sweep what is missing ─ rows complete on all frames ─┐
                                                   rate.json, picture <─ report <─────────────┘
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from sparsight.bundle import TABLES, Bundle, open_bundle
from sparsight.codec.tables import Tables
from sparsight.errors import BundleError, DataError
from sparsight.geometry import Letterbox
from sparsight_cloud.data.coco import read_coco
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.classes import ClassMatch, match_classes
from sparsight_cloud.rates.figures import compared
from sparsight_cloud.rates.report import about, comparison_json, no_patches_json, rate_report
from sparsight_cloud.rates.rows import Curve, Row, curves, video_curves, wanted
from sparsight_cloud.rates.shots import Shot
from sparsight_cloud.rates.store import Store, frame_hashes
from sparsight_cloud.rates.sweep import frame_jobs, sweep, video_jobs, videos_of
from sparsight_cloud.rates.worker import Setup, Video

ANNOTATIONS = "annotations.json"
"""Boxes of a sequence, in its folder."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Labelled frames, and what their classes mean.

    Attributes:
        dataset: The frames in their order.
        match: The bundle's classes on theirs.
        names: Of the frames, in a store.
    """

    dataset: Dataset
    match: ClassMatch
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be compared.

    Attributes:
        bundle: The bundle, with a codec.
        tuned: One that learned from coded pictures.
        frames: Still frames.
        sequence: Frames of a sequence.
        fps: Frames a second of the sequence.
        annotations: Name of the frames' file, for the report.
    """

    bundle: Bundle
    tuned: Bundle | None
    frames: Frames
    sequence: Frames | None
    fps: float
    annotations: str

    @property
    def still(self) -> tuple[Curve, ...]:
        """The curves of the frames."""
        return curves(len(self.bundle.manifest.rates), tuned=self.tuned is not None)

    @property
    def moving(self) -> tuple[Curve, ...]:
        """The curves of the sequence."""
        return video_curves(len(self.bundle.manifest.rates))

    @property
    def videos(self) -> tuple[Video, ...]:
        """What the sequence is sent as."""
        if self.sequence is None:
            return ()
        return videos_of(self.sequence.dataset.images, self.sequence.names, self.fps)


def open_pair(bundle: Path, tuned: Path | None) -> tuple[Bundle, Bundle | None]:
    """Open the bundles.

    Raises:
        BundleError: One is missing or damaged, the first has no codec, or they know other classes.
    """
    first = open_bundle(bundle)
    if not first.manifest.rates:
        raise BundleError(
            f"{bundle}: has no codec, so there is nothing to compare; give one that has"
        )
    if tuned is None:
        return first, None
    second = open_bundle(tuned)
    if second.manifest.classes != first.manifest.classes:
        raise BundleError(
            f"{tuned}: expected the classes of {bundle} ({', '.join(first.manifest.classes)}), got "
            f"{', '.join(second.manifest.classes)}; train it on the same labels"
        )
    return first, second


def read_frames(
    annotations: Path,
    images: Path,
    classes: Sequence[str],
    mapping: Mapping[str, str],
    limit: int | None,
) -> Frames:
    """Read labelled frames.

    Raises:
        DataError: The annotations can't be used, or have no class in common with the bundle.
        PictureError: A picture is missing.
    """
    dataset = read_coco(annotations, images)
    dataset = replace(dataset, images=dataset.images[:limit])
    match = match_classes(classes, dataset.classes, mapping)
    hashes = frame_hashes([image.path for image in dataset.images])
    return Frames(dataset, match, tuple(hashes[image.path] for image in dataset.images))


def read_sequence(
    folder: Path, classes: Sequence[str], mapping: Mapping[str, str], limit: int | None
) -> Frames:
    """Read a sequence: the frames of a folder that its `annotations.json` speaks of, by name.

    Raises:
        DataError: There are no such annotations, or they can't be used.
        PictureError: A picture is missing.
    """
    file = folder / ANNOTATIONS
    if not file.is_file():
        raise DataError(f"{file}: missing; a sequence is a folder of frames with their boxes in it")
    read = read_frames(file, folder, classes, mapping, None)
    order = sorted(range(len(read.names)), key=lambda i: read.dataset.images[i].file_name)[:limit]
    images = tuple(read.dataset.images[i] for i in order)
    return Frames(
        replace(read.dataset, images=images), read.match, tuple(read.names[i] for i in order)
    )


def compare(
    asked: Asked, parts: Collection[str], work: Path, processes: int, console: Console
) -> dict[str, Any]:
    """Run what is missing, and report on all that is complete.

    Args:
        asked: What to compare.
        parts: Those of `rows.PARTS` that are run now; the report has earlier ones, too.
        work: Folder of the results.
        processes: How many at a time.
        console: Shows progress.

    Raises:
        PictureError: A frame can't be read.
        KeyboardInterrupt: Ctrl-C; what is done is in the folder.
    """
    tuned = asked.tuned
    store = Store(work, asked.bundle.manifest.id, tuned.manifest.id if tuned else None)
    setup = Setup(asked.bundle.folder, tuned.folder if tuned else None, store, asked.fps)
    frames, sequence = asked.frames, asked.sequence
    jobs = frame_jobs(wanted(asked.still, parts), frames.dataset.images, frames.names, store)
    if sequence and "video" in parts:
        ours = [curve for curve in asked.moving if curve.family != "video"]
        video = [curve for curve in asked.moving if curve.family == "video"]
        jobs += frame_jobs(ours, sequence.dataset.images, sequence.names, store)
        jobs += video_jobs(video, asked.videos, store)
    sweep(jobs, setup, processes, console)
    with console.status("judging what was found"):
        return _report(asked, store)


def _report(asked: Asked, store: Store) -> dict[str, Any]:
    """What the complete rows come to."""
    frames, sequence, manifest = asked.frames, asked.sequence, asked.bundle.manifest
    shots, missing = _complete(asked.still, frames.names, (), store)
    box = Letterbox.fit(frames.dataset.images[0].frame_hw, manifest.long_side_px)
    still, moving = rate_report(shots, frames.dataset, frames.match), None
    if sequence:
        sent, more = _complete(asked.moving, sequence.names, asked.videos, store)
        missing += more
        if sent:
            told = comparison_json(
                compared(sent, sequence.dataset, sequence.match), still["device_ms"]["analysis_ms"]
            )
            moving = {"fps": asked.fps, "videos": len(asked.videos), **told}
    return {
        **still,
        "no_patches": no_patches_json(Tables.load(asked.bundle.folder / TABLES), manifest.id, box),
        "sequence": moving,
        "missing": missing,
        **about(
            manifest,
            manifest.detect_settings(),
            asked.tuned.manifest if asked.tuned else None,
            asked.annotations,
        ),
    }


def _complete(
    some: Sequence[Curve], names: Sequence[str], videos: Sequence[Video], store: Store
) -> tuple[dict[Row, list[Shot]], list[str]]:
    """The shots of the rows that have all frames, and the names of the others."""
    in_videos = [name for video in videos for name in video.frames]
    shots, missing = {}, []
    for row in (row for curve in some for row in curve.rows):
        held = in_videos if row.curve.family == "video" else names
        if all(store.has(row, name) for name in held):
            shots[row] = [store.load(row, name) for name in held]
        else:
            missing.append(row.name)
    return shots, missing
