"""What is streamed and where to: two cameras over Munich, a bundle, a cloud."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sparsight.bundle import Manifest, default_bundle, open_bundle
from sparsight.errors import BundleError, DataError, UsageError
from sparsight_cloud.data.coco import read_coco
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.classes import ClassMatch, match_classes, parse_mapping

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples" / "munich"
SEQUENCES = {"avenue": "MOS*.jpg", "street": "MunichStreet02-*.jpg"}
"""The shipped sequences, a camera each: the device's name and its pictures."""

CLASS_MAP = {"van": "minibus"}
"""The annotations' class for one of VisDrone's, where their names differ."""


@dataclass(frozen=True, slots=True)
class Camera:
    """One device and what it sees.

    Attributes:
        name: Of the device, in its certificate and in the results.
        source: Its pictures as `sparsight edge run --source` takes them.
        pictures: The same as a list, in the order in which they are sent.
        options: Further ones of its `sparsight edge run`.
    """

    name: str
    source: str
    pictures: tuple[Path, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run.

    Attributes:
        cameras: The devices.
        labels: The boxes of their pictures, in the order of the cameras and their pictures.
        bundle: Folder of the bundle.
        manifest: What the bundle says of itself.
        rate: Index of the codec's quality level, 0 the finest.
        fps: Frames a second of a camera.
        replicas: Of the model, on a Ray cluster; None computes in the gateway's process.
        match: The bundle's classes on the annotations'; None if they have none in common.
    """

    cameras: tuple[Camera, ...]
    labels: Dataset
    bundle: Path
    manifest: Manifest
    rate: int
    fps: float
    replicas: int | None
    match: ClassMatch | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the bundle's classes, in the order of labels."""
        return self.manifest.classes

    @property
    def frames(self) -> int:
        """Of all cameras."""
        return sum(len(camera.pictures) for camera in self.cameras)

    @property
    def computes(self) -> str:
        """Where the cloud computes, for people."""
        if self.replicas is None:
            return "in the gateway's process"
        return f"on Ray, {self.replicas} {'replica' if self.replicas == 1 else 'replicas'}"


def make_plan(
    bundle: Path | None,
    rate: int | None,
    fps: float,
    frames: int | None,
    replicas: int | None,
    class_map: Sequence[str] | None,
) -> Plan:
    """A plan for the shipped frames, from what was typed.

    Raises:
        SparsightError: It can't be run: the bundle, the rate, the samples or the mapping.
    """
    folder = (bundle or default_bundle()).resolve()
    manifest = manifest_of(folder, rate)
    cameras = shipped_cameras(frames)
    labels = labels_of(cameras)
    told = parse_mapping(class_map) if class_map else None
    return Plan(
        cameras=cameras,
        labels=labels,
        bundle=folder,
        manifest=manifest,
        rate=manifest.default_rate if rate is None else rate,
        fps=fps,
        replicas=replicas,
        match=match_of(manifest.classes, labels, told),
    )


def shipped_cameras(frames: int | None = None) -> tuple[Camera, ...]:
    """The shipped sequences.

    Args:
        frames: The first of each only; None is all.

    Raises:
        DataError: They are not there.
    """
    cameras = []
    for name, pattern in SEQUENCES.items():
        pictures = tuple(sorted(SAMPLES.glob(pattern))[:frames])
        if not pictures:
            raise DataError(f"{SAMPLES / pattern}: no such picture; the samples are in the clone")
        cameras.append(Camera(name, str(Path(glob.escape(str(SAMPLES))) / pattern), pictures))
    return tuple(cameras)


def labels_of(
    cameras: Sequence[Camera], annotations: Path = SAMPLES / "annotations.json"
) -> Dataset:
    """The boxes of the cameras' pictures, in their order.

    Raises:
        DataError: The annotations can't be used, or don't speak of a picture.
    """
    dataset = read_coco(annotations, annotations.parent)
    by_path = {image.path: image for image in dataset.images}
    pictures = [picture for camera in cameras for picture in camera.pictures]
    if missing := [picture.name for picture in pictures if picture not in by_path]:
        raise DataError(f"{annotations}: expected boxes of {missing[0]}, there are none")
    return replace(dataset, images=tuple(by_path[picture] for picture in pictures))


def match_of(
    classes: Sequence[str], labels: Dataset, told: Mapping[str, str] | None
) -> ClassMatch | None:
    """A bundle's classes on the annotations'; None if they have none in common.

    Args:
        classes: The bundle's.
        labels: The annotations.
        told: The annotations' class for some of the bundle's, the others by name; None is the usual
            one for VisDrone's.

    Raises:
        DataError: What was told can't be so.
    """
    if told is not None:
        return match_classes(classes, labels.classes, told)
    usual = {name: target for name, target in CLASS_MAP.items() if name in classes}
    with suppress(DataError):  # a bundle for other things: the demo runs, and shows no AP
        return match_classes(classes, labels.classes, usual)
    return None


def manifest_of(bundle: Path, rate: int | None) -> Manifest:
    """What a bundle says of itself, if it can be run in two halves at this rate.

    Args:
        bundle: Its folder.
        rate: As typed; None is the bundle's own.

    Raises:
        BundleError: It is missing or damaged, or has no codec.
        UsageError: It has no such rate.
    """
    manifest = open_bundle(bundle).manifest
    count = len(manifest.rates)
    if not count:
        raise BundleError(
            f"{bundle}: this bundle has no codec, so it can't be run in two halves; give one that "
            "has with --bundle (`sparsight bundle show` says what is in it)"
        )
    if rate is not None and not 0 <= rate < count:
        raise UsageError(f"--rate: this bundle has 0 (the finest) to {count - 1}, got {rate}")
    return manifest
