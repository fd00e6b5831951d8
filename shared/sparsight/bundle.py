"""A trained model as shipped: a folder whose manifest vouches for every file in it.

    manifest.json       name, id, versions, input rule, classes, slicer, rates, sha256 of the others
    model.yaml          what the network is made of (`settings.ModelSettings`)
    cloud.safetensors   its weights in half precision, norms folded
    card.md             data, licence of the data, figures, limits
    edge.onnx           the device's half; with it, the bundle can be run in two halves
    tables.npz          integer tables of the entropy coder; likewise

The id is the hash of the manifest without the id; nothing in a bundle is a pickle. A bundle without
rates has no bottleneck: it detects in one process and has no last two files.

Devices and clouds name a bundle to each other by its `cloud_id`, the hash of what an answer depends
on behind the wire. A bundle that was exported at another precision, or got a new card, has another
id and the same `cloud_id`: whoever serves one of them serves the devices of all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sparsight.codec.zones import HALO_MAX, ZONES
from sparsight.errors import BundleError, UsageError
from sparsight.settings import DetectSettings, ModelSettings
from sparsight.slicer import SlicerSettings

FORMAT = 4
MANIFEST, MODEL, WEIGHTS, CARD = "manifest.json", "model.yaml", "cloud.safetensors", "card.md"
EDGE, TABLES = "edge.onnx", "tables.npz"
MANIFEST_BYTES_MAX = 1 << 20

Precision = Literal["fp32", "fp16", "int8-x86", "int8-trt"]
"""What a device half computes in: written into its graph, never a setting of the engine."""

_Step = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Steps = Annotated[tuple[_Step, ...], Field(min_length=1, max_length=256)]


class Rate(BaseModel):
    """One of the codec's quality levels; the first is the finest.

    Attributes:
        steps: Of each zone (`codec.zones`), the step size of each channel of the latents.
        bytes_per_frame: Mean payload on the frames that the bundle was judged on.
        ap: COCO AP there, from 0 to 1.
        ap50: AP at IoU 0.5.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: tuple[_Steps, ...] = Field(min_length=ZONES, max_length=ZONES)
    bytes_per_frame: float | None = Field(None, ge=0)
    ap: float | None = Field(None, ge=0, le=1)
    ap50: float | None = Field(None, ge=0, le=1)

    @property
    def channels(self) -> int:
        """How many channels the latents have."""
        return len(self.steps[0])

    @field_validator("steps")
    @classmethod
    def _same_channels(cls, steps: tuple[_Steps, ...]) -> tuple[_Steps, ...]:
        if len({len(zone) for zone in steps}) > 1:
            came = ", ".join(str(len(zone)) for zone in steps)
            raise ValueError(f"expected as many steps in each zone, got {came}")
        return steps


class Manifest(BaseModel):
    """What `manifest.json` says.

    Attributes:
        format: Version of the bundle's layout.
        name: For people.
        classes: Names of the classes, in the order of labels.
        long_side_px: Length that the long side of a frame is scaled to.
        strides_px: Strides of the head's levels.
        threshold: Heat from which a peak counts as an object.
        min_gain: Expected objects that make a patch worth keeping.
        patch_hw: Height and width of a patch, in cells.
        mark: Heat that makes a cell worth the head; 0 marks all.
        halo: Marks that a field beside a patch needs around it to be sent coarsely; 0 for none.
        precision: What the device half computes in.
        rates: Quality levels of the codec, finest first; none without a bottleneck.
        sha256: Hash of every other file of the bundle, by name.
        id: Hash of all of the above.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    name: str = Field(min_length=1, max_length=100)
    classes: tuple[str, ...] = Field(min_length=1)
    long_side_px: int = Field(ge=64, le=16384)
    strides_px: tuple[int, ...] = (8, 16, 32)
    threshold: float = Field(gt=0, le=1)
    min_gain: float = Field(SlicerSettings().min_gain, gt=0)
    patch_hw: tuple[int, int] = (16, 16)
    mark: float = Field(ge=0, le=1)
    halo: int = Field(0, ge=0, le=HALO_MAX)
    precision: Precision = "fp32"
    rates: tuple[Rate, ...] = Field((), max_length=16)
    sha256: dict[str, str]
    id: str = ""

    @property
    def default_rate(self) -> int:
        """The rate of devices that aren't told another: the middle one, of two the coarser."""
        return len(self.rates) // 2

    def own_id(self) -> str:
        """The id that this manifest must carry."""
        return _id_of(self.model_dump(mode="json"))

    @property
    def cloud_id(self) -> str:
        """Hash of what the cloud's half of the bundle answers from.

        Classes, strides, steps, weights and tables: not the device's graph, the slicer, the card
        or any figure. Payloads and Hellos carry it.
        """
        return _hash(
            {
                "format": self.format,
                "classes": self.classes,
                "strides_px": self.strides_px,
                "steps": [rate.steps for rate in self.rates],
                "sha256": {name: self.sha256.get(name, "") for name in (MODEL, WEIGHTS, TABLES)},
            }
        )

    def detect_settings(self) -> DetectSettings:
        """How the bundle wants to be run."""
        return DetectSettings(
            long_side_px=self.long_side_px,
            mark=self.mark,
            halo=self.halo,
            slicer=SlicerSettings(
                patch_hw=self.patch_hw, threshold=self.threshold, min_gain=self.min_gain
            ),
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were checked."""

    folder: Path
    manifest: Manifest
    model: ModelSettings


def write_bundle(
    folder: Path,
    settings: ModelSettings,
    detect: DetectSettings,
    *,
    name: str,
    card: str,
    rates: tuple[Rate, ...] = (),
) -> Manifest:
    """Write the manifest, the model's settings and the card beside files that are already there.

    Args:
        folder: Holds the weights file; with rates, the edge graph and the tables too.
        settings: What the network is made of.
        detect: How the bundle wants to be run.
        name: For people.
        card: Text of the card.
        rates: Quality levels of the codec, finest first.
    """
    (folder / MODEL).write_text(
        yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
    )
    (folder / CARD).write_text(card, encoding="utf-8")
    manifest = Manifest(
        name=name,
        classes=settings.classes,
        long_side_px=detect.long_side_px,
        threshold=detect.slicer.threshold,
        min_gain=detect.slicer.min_gain,
        patch_hw=detect.slicer.patch_hw,
        mark=detect.mark,
        halo=detect.halo,
        rates=rates,
        sha256={f: _sha256(folder / f) for f in _files(rates)},
    )
    return _sign(folder, manifest)


def rewrite(folder: Path, before: Manifest, **changes: Any) -> Manifest:
    """Vouch anew for a bundle whose files were changed on purpose.

    Args:
        folder: The files as they are to be.
        before: The manifest they had.
        changes: Fields of it that have other values now.
    """
    hashes = {name: _sha256(folder / name) for name in before.sha256}
    return _sign(folder, before.model_copy(update={"sha256": hashes, **changes}))


def with_figures(folder: Path, figures: Sequence[tuple[float, float, float]]) -> Manifest:
    """Write into a bundle's manifest what its rates were measured to be.

    Args:
        folder: The bundle.
        figures: Mean bytes a frame, AP and AP50 of each rate.

    Raises:
        BundleError: No sound bundle.
    """
    bundle = open_bundle(folder)
    rates = tuple(
        rate.model_copy(update={"bytes_per_frame": size, "ap": ap, "ap50": ap50})
        for rate, (size, ap, ap50) in zip(bundle.manifest.rates, figures, strict=True)
    )
    return _sign(folder, bundle.manifest.model_copy(update={"rates": rates}))


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every byte of it.

    Raises:
        BundleError: Not a bundle, of another version, incomplete or changed since it was written.
    """
    manifest = _read_manifest(folder)
    files = _files(manifest.rates)
    if set(manifest.sha256) != set(files):
        raise BundleError(
            f"{folder / MANIFEST}: must vouch for {', '.join(files[:-1])} and {files[-1]}, vouches "
            f"for {', '.join(sorted(manifest.sha256)) or 'nothing'}"
        )
    for name, want in manifest.sha256.items():
        file = folder / name
        if not file.is_file():
            raise BundleError(f"{file}: missing from the bundle; copy the whole folder again")
        if _sha256(file) != want:
            raise BundleError(
                f"{file}: was changed or damaged since the bundle was written; copy it again"
            )
    try:
        model = ModelSettings.model_validate(
            yaml.safe_load((folder / MODEL).read_text(encoding="utf-8"))
        )
    except (OSError, yaml.YAMLError, ValidationError) as e:
        raise BundleError(
            f"{folder / MODEL}: not a model's settings ({' '.join(str(e).split())})"
        ) from e
    if model.classes != manifest.classes:
        raise BundleError(
            f"{folder}: {MODEL} and {MANIFEST} name different classes; write the bundle again"
        )
    channels = model.codec.channels if model.codec else 0
    if any(rate.channels != channels for rate in manifest.rates):
        raise BundleError(
            f"{folder}: {MANIFEST} has rates for other than the {channels} latent channels of "
            f"{MODEL}; write the bundle again"
        )
    return Bundle(folder, manifest, model)


def default_bundle() -> Path:
    """Folder of the bundle that ships with sparsight.

    Raises:
        BundleError: This installation has none.
    """
    packaged = Path(str(resources.files("sparsight") / "models" / "default"))
    checkout = Path(__file__).resolve().parents[2] / "models" / "default"
    for folder in (packaged, checkout):
        if (folder / MANIFEST).is_file():
            return folder
    raise BundleError("no default bundle in this installation; give one with --bundle DIR")


def _sign(folder: Path, manifest: Manifest) -> Manifest:
    manifest = manifest.model_copy(update={"id": manifest.own_id()})
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def _files(rates: tuple[Rate, ...]) -> tuple[str, ...]:
    """What a bundle's manifest vouches for."""
    return (MODEL, WEIGHTS, CARD, EDGE, TABLES) if rates else (MODEL, WEIGHTS, CARD)


def _read_manifest(folder: Path) -> Manifest:
    file = folder / MANIFEST
    try:
        if file.stat().st_size > MANIFEST_BYTES_MAX:
            raise BundleError(f"{file}: larger than any manifest ({MANIFEST_BYTES_MAX} bytes)")
        raw: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise BundleError(
            f"{folder}: no bundle here, expected a folder with {MANIFEST} ({e})"
        ) from e
    version = raw.get("format") if isinstance(raw, dict) else None
    if version != FORMAT:
        raise BundleError(
            f"{file}: format {version!r}, this program reads format {FORMAT}; get a matching bundle"
        )
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as e:
        problem = e.errors()[0]
        raise BundleError(f"{file}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from e
    # Of what the file says, not of what was made of it: a key that came later has no part in it.
    if manifest.id != _id_of(raw):
        raise BundleError(f"{file}: its id does not match its content; it was changed or damaged")
    try:
        manifest.detect_settings()
    except UsageError as e:
        raise BundleError(f"{file}: can't be run as it says ({e})") from e
    return manifest


def _id_of(content: dict[str, Any]) -> str:
    return _hash({k: v for k, v in content.items() if k != "id"})


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as f:
        return (
            hashlib.file_digest(f, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _digest(f.read())
        )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
