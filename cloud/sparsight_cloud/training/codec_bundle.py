"""A bottleneck's checkpoint, with the detector it was trained for, as a bundle of two halves.

    last.safetensors ─ averaged transforms, steps ─┐
    the detector's bundle ─────────────────────────┴─> network, 16 bits ─┬─> cloud.safetensors
    pictures ─ device half ─ latents of each rate, counted ─> tables.npz └─> edge.onnx

Everything is counted and exported from the half-precision weights that are shipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from sparsight.bundle import EDGE, TABLES, WEIGHTS, Manifest, Rate, open_bundle, write_bundle
from sparsight.codec.marks import count_marks
from sparsight.codec.tables import Tables
from sparsight.errors import TrainingError
from sparsight.geometry import Letterbox
from sparsight.model.bottleneck import LATENT_LEVEL, quantised
from sparsight.model.detector import save_weights
from sparsight.model.export import export_edge
from sparsight.model.network import Network
from sparsight.pictures import letterbox
from sparsight.settings import DetectSettings, ModelSettings
from sparsight.slicer import slice_heat
from sparsight_cloud.training.bottleneck import BOTTLENECK, fingerprint, with_bottleneck
from sparsight_cloud.training.checkpoint import read_checkpoint
from sparsight_cloud.training.export import AVERAGE

Frame = UInt8[np.ndarray, "_ _ 3"]
BYTES = 256


def codec_bundle(
    checkpoint: Path,
    start: Path,
    out: Path,
    *,
    name: str,
    card: str,
    frames: Iterable[Frame],
) -> Manifest:
    """Write a bundle that can be run in two halves.

    Args:
        checkpoint: `last.safetensors` of a run with `stage: bottleneck`.
        start: The bundle that the run started from; its detector and its way of running are kept.
        out: Folder of the new bundle; what a bundle consists of is overwritten there.
        name: For people.
        card: Text of the card.
        frames: Pictures like those to come, for the entropy coder's tables; never the test set.

    Raises:
        BundleError: The start is missing or damaged, or the exported graph does not agree.
        TrainingError: The checkpoint is of another kind of run, or of another bundle.
    """
    network, steps = _load(checkpoint, start)
    detect = open_bundle(start).manifest.detect_settings()
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
    tables = Tables.fit(*count_symbols(network, detect, steps, frames))
    out.mkdir(parents=True, exist_ok=True)
    save_weights(network, out / WEIGHTS)
    (out / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone; a bundle is to be shared
    tables.save(out / TABLES)
    export_edge(network, out / EDGE)
    rates = tuple(Rate(steps=tuple(row.tolist())) for row in steps)
    return write_bundle(out, network.settings, detect, name=name, card=card, rates=rates)


@torch.inference_mode()
def count_symbols(
    network: Network,
    detect: DetectSettings,
    steps: Float[Tensor, "r k"],
    frames: Iterable[Frame],
) -> tuple[Int64[np.ndarray, "r k 256"], Int64[np.ndarray, "contexts 2"]]:
    """How often each latent and each mark occurs in the patches of some frames.

    Args:
        network: Folded, with a bottleneck.
        detect: How frames are sliced and marked.
        steps: Step sizes of each rate.
        frames: RGB pictures.

    Raises:
        TrainingError: No frame has a patch.
    """
    bottleneck = network.bottleneck
    assert bottleneck is not None
    rates, channels = steps.shape
    counts = np.zeros((rates, channels, BYTES), np.int64)
    marks: Int64[np.ndarray, "contexts 2"] | None = None
    for frame in frames:
        box = Letterbox.fit((frame.shape[0], frame.shape[1]), detect.long_side_px)
        image = torch.from_numpy(letterbox(frame, box)).permute(2, 0, 1)[None]
        p3 = network.stem(image)
        heat = network.seeker(p3)[0].sigmoid().numpy()
        union = slice_heat(heat, detect.slicer).union()
        if not union.any():
            continue
        seen = count_marks(union & (heat >= detect.mark), union)
        marks = seen if marks is None else marks + seen
        inside = torch.from_numpy(union[:: 1 << LATENT_LEVEL, :: 1 << LATENT_LEVEL].copy())
        latents = bottleneck.analysis(p3)[:, :, inside]
        for i in range(rates):
            symbols = quantised(latents[..., None], steps[i])[0, :, :, 0].numpy().astype(np.int64)
            flat = symbols + BYTES // 2 + np.arange(channels)[:, None] * BYTES
            counts[i] += np.bincount(flat.ravel(), minlength=channels * BYTES).reshape(-1, BYTES)
    if marks is None:
        raise TrainingError(
            "none of the pictures has a patch, so there is nothing to count; the detector finds "
            "nothing in them: check the bundle and the pictures"
        )
    return counts, marks


def _load(checkpoint: Path, start: Path) -> tuple[Network, Float[Tensor, "r k"]]:
    """The detector with the averaged bottleneck in it, and the averaged steps."""
    progress, tensors = read_checkpoint(checkpoint, AVERAGE)
    if progress.about.get("stage") != "bottleneck":
        raise TrainingError(
            f"{checkpoint}: a detector's run; expected one with `stage: bottleneck`"
        )
    settings = ModelSettings.model_validate(progress.about["model"])
    if settings.codec is None:
        raise TrainingError(f"{checkpoint}: says nothing about its bottleneck; train it again")
    network = with_bottleneck(start, settings.codec)
    stem = fingerprint(network, "stem.")
    if network.settings != settings or stem != progress.about.get("stem"):
        raise TrainingError(
            f"{checkpoint}: was trained for the stem of another detector than {start}; name "
            "that one as `model.start`, or train on this one"
        )
    assert network.bottleneck is not None
    prefix = AVERAGE + BOTTLENECK
    weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        network.bottleneck.load_state_dict(weights)
        steps = tensors[f"{AVERAGE}log_steps"].exp()
    except (KeyError, RuntimeError) as e:
        problem = " ".join(str(e).split())[:200]
        raise TrainingError(f"{checkpoint}: does not fit its own model ({problem})") from e
    # Finest first, whatever became of them: a rate is chosen by its place.
    order = steps.log().mean(1).argsort()
    return network.eval().requires_grad_(False), steps[order]
