"""A bundle of two halves with its device half at another precision.

    BUNDLE ─ edge.onnx ─ cast first ─┬─ fp32: as it is
      │                              ├─ fp16: `half`
      │                              └─ int8: `integers`, with pictures
      │                                    └─ held against BUNDLE's own graph ─┐
      └─ weights, tables, model, card ─────────────────────────────────────────┴─> OUT

The new bundle has another id and the same `cloud_id`: a cloud that serves one of them answers
devices that run any. Its rates have no figures: those of BUNDLE were measured with another graph
(`sparsight bundle precisions` measures it).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from jaxtyping import UInt8
from rich.console import Console

from sparsight.bundle import CARD, EDGE, Bundle, Manifest, Precision, rewrite
from sparsight.errors import BundleError, UsageError
from sparsight.geometry import Letterbox
from sparsight.graph import Graph
from sparsight.pictures import letterbox
from sparsight_cloud.precision.half import in_half
from sparsight_cloud.precision.integers import in_integers

CHECKED = 4
"""Pictures that the new graph is held against the old one on."""

LEAST_DB: Mapping[Precision, float] = {"fp32": 80.0, "fp16": 35.0, "int8-x86": 8.0, "int8-trt": 8.0}
"""Signal over noise of P3 below which a graph says something else; the default bundle has 120, 60
and 24 dB."""

_NOISE_HW = (256, 320)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far a graph is from the one it was made of.

    Attributes:
        p3_db: Signal of P3 over the noise in it; infinite for the same numbers.
        heat_off: Mean distance of the heat.
        latents_off: Share of the latents that differ, at the bundle's default rate.
    """

    p3_db: float
    heat_off: float
    latents_off: float

    @property
    def line(self) -> str:
        """For people."""
        return (
            f"P3 {self.p3_db:.1f} dB over its noise, heat off by {self.heat_off:.4f} on average, "
            f"{self.latents_off:.2%} of the latents differ"
        )


def export_bundle(
    bundle: Bundle,
    precision: Precision,
    frames: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    out: Path,
    console: Console | None = None,
) -> tuple[Manifest, Fidelity]:
    """Write the new bundle.

    Args:
        bundle: In single precision, of two halves.
        precision: The new one's.
        frames: Pictures like those to come, never the test set; int8 cannot do without.
        out: Folder of the new bundle, empty or not there.
        console: Where to show progress.

    Raises:
        UsageError: The bundle or the pictures don't serve, or the folder is in use.
        BundleError: The graph is not one of a device half, or the new one says something else.
    """
    console = console or Console(quiet=True)
    if not bundle.manifest.rates:
        raise UsageError(f"{bundle.folder}: has no device half (no rates); take one with a codec")
    if bundle.manifest.precision != "fp32":
        raise UsageError(
            f"{bundle.folder}: is in {bundle.manifest.precision}; export from the fp32 bundle that "
            "it was made of"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is there already; name a new folder, or empty this one")
    if precision in ("int8-x86", "int8-trt") and not frames:
        raise UsageError("int8 is calibrated on pictures; give --images FOLDER")
    images = [_fit(frame, bundle) for frame in frames]
    steps = np.array(bundle.manifest.rates[bundle.manifest.default_rate].steps, np.float32)
    model = cast_first(onnx.load(bundle.folder / EDGE))
    if precision == "fp16":
        model = in_half(model)
    elif precision != "fp32":
        model = in_integers(model, precision, images, steps, console)
    # Nothing is left at `out` of a graph that is refused.
    with tempfile.TemporaryDirectory(prefix="sparsight-export-") as folder:
        file = Path(folder) / EDGE
        file.write_bytes(model.SerializeToString())
        fidelity = compare_graphs(bundle.folder / EDGE, file, images[:CHECKED] or [_noise()], steps)
        if not fidelity.p3_db >= LEAST_DB[precision]:
            raise BundleError(
                f"{bundle.folder}: in {precision} its device half says something else "
                f"({fidelity.line}); expected {LEAST_DB[precision]:g} dB or more. Give more "
                "pictures, or pictures like those of the device"
            )
        out.mkdir(parents=True, exist_ok=True)
        for name in bundle.manifest.sha256:
            shutil.copyfile(bundle.folder / name, out / name)
        shutil.copyfile(file, out / EDGE)
    with (out / CARD).open("a", encoding="utf-8") as card:
        card.write(_note(bundle, precision, len(frames), fidelity))
    no_figures = {"bytes_per_frame": None, "ap": None, "ap50": None}
    rates = tuple(rate.model_copy(update=no_figures) for rate in bundle.manifest.rates)
    return rewrite(out, bundle.manifest, precision=precision, rates=rates), fidelity


def compare_graphs(
    right: Path, other: Path, images: Sequence[UInt8[np.ndarray, "h w 3"]], steps: np.ndarray
) -> Fidelity:
    """Hold two graphs of one device half against each other, in onnxruntime.

    Args:
        right: The one that is right.
        other: The one to judge.
        images: Letterboxed, at least one.
        steps: Of each zone and channel.

    Raises:
        BundleError: One of them can't be run.
    """
    graphs = [Graph(file, steps.shape[1]) for file in (right, other)]
    signal = noise = heat = latents = 0.0
    for image in images:
        inputs = {"image": image[None], "steps": steps}
        a, b = (graph.run(["p3", "heat", "latents"], inputs) for graph in graphs)
        signal += float(np.square(a[0], dtype=np.float64).mean())
        noise += float(np.square(a[0] - b[0], dtype=np.float64).mean())
        heat += float(np.abs(a[1] - b[1]).mean())
        latents += float((a[2] != b[2]).mean())
    with np.errstate(divide="ignore"):
        p3_db = float(10 * np.log10(np.float64(signal) / noise)) if signal else float("nan")
    return Fidelity(p3_db, heat / len(images), latents / len(images))


def cast_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its picture made floats before anything else; TensorRT takes no other.

    The same numbers. Bundles written before 2026-11-28 turn the axes of the bytes first.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    turn, cast = graph.node[0], graph.node[1]
    if (turn.op_type, cast.op_type, list(cast.input)) != ("Transpose", "Cast", list(turn.output)):
        return out
    image, middle, end = turn.input[0], turn.output[0], cast.output[0]
    first, second = onnx.NodeProto(), onnx.NodeProto()
    first.CopyFrom(cast)
    second.CopyFrom(turn)
    first.input[0], first.output[0] = image, middle
    second.input[0], second.output[0] = middle, end
    turn.CopyFrom(first)
    cast.CopyFrom(second)
    stale = [value for value in graph.value_info if value.name == middle]
    for value in stale:
        graph.value_info.remove(value)
    onnx.checker.check_model(out, full_check=True)
    return out


def _fit(frame: UInt8[np.ndarray, "_ _ 3"], bundle: Bundle) -> UInt8[np.ndarray, "h w 3"]:
    box = Letterbox.fit((frame.shape[0], frame.shape[1]), bundle.manifest.long_side_px)
    return letterbox(frame, box)


def _noise() -> UInt8[np.ndarray, "h w 3"]:
    return np.random.default_rng(0).integers(0, 256, (*_NOISE_HW, 3), np.uint8)


def _note(bundle: Bundle, precision: Precision, pictures: int, fidelity: Fidelity) -> str:
    seen = f", calibrated on {pictures} pictures" if precision.startswith("int8") else ""
    return (
        f"\n## This copy\n\nThe device half is in {precision}{seen}; made of bundle "
        f"{bundle.manifest.id[:12]}. Against that one in onnxruntime: {fidelity.line}. Figures "
        "above are of that one.\n"
    )
