"""A bottleneck's checkpoint, with the detector it was trained for, as a bundle of two halves.

    last.safetensors ─ averaged transforms, steps ─┐
    the detector's bundle ─────────────────────────┴─> network, 16 bits ─┬─> cloud.safetensors
    pictures ─ device half ─ latents of each rate ─ learned ─> tables.npz └─> edge.onnx

Everything is learned and exported from the half-precision weights that are shipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from rich.console import Console
from rich.progress import track
from torch import Tensor

from sparsight.bundle import EDGE, TABLES, WEIGHTS, Manifest, Rate, write_bundle
from sparsight.codec.latents import ToldCells
from sparsight.codec.marks import CONTEXTS, count_marks
from sparsight.codec.tables import Tables
from sparsight.codec.zones import UNTOLD, ZONES, zones_of
from sparsight.errors import TrainingError
from sparsight.geometry import Letterbox
from sparsight.model.bottleneck import quantised
from sparsight.model.detector import save_weights
from sparsight.model.export import export_edge
from sparsight.model.network import Network
from sparsight.pictures import letterbox
from sparsight.settings import DetectSettings, ModelSettings
from sparsight.slicer import slice_heat
from sparsight_cloud.training.bottleneck import BOTTLENECK, fingerprint, with_bottleneck
from sparsight_cloud.training.checkpoint import read_checkpoint
from sparsight_cloud.training.context import (
    SeenFrame,
    bits_a_cell,
    count_symbols,
    held_out,
    learn_context,
)
from sparsight_cloud.training.export import AVERAGE, averaged_network
from sparsight_cloud.training.joint import NETWORK

Frame = UInt8[np.ndarray, "_ _ 3"]


def codec_bundle(
    checkpoint: Path,
    start: Path,
    out: Path,
    *,
    name: str,
    card: str,
    detect: DetectSettings,
    frames: Iterable[Frame],
    console: Console | None = None,
) -> Manifest:
    """Write a bundle that can be run in two halves.

    Args:
        checkpoint: `last.safetensors` of a run with `stage: bottleneck` or `joint`.
        start: The bundle that the run started from; what did not learn is its.
        out: Folder of the new bundle; what a bundle consists of is overwritten there.
        name: For people.
        card: Text of the card.
        detect: How the bundle wants to be run.
        frames: Pictures like those to come, for the entropy coder's tables; never the test set.
        console: Where to show progress.

    Raises:
        BundleError: The start is missing or damaged, or the exported graph does not agree.
        TrainingError: The checkpoint is of another kind of run, or of another bundle.
    """
    network, steps = _load(checkpoint, start)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
    seen, marks = seen_frames(network, detect, steps, frames)
    tables = learn_tables(seen, marks, steps, console)
    out.mkdir(parents=True, exist_ok=True)
    save_weights(network, out / WEIGHTS)
    (out / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone; a bundle is to be shared
    tables.save(out / TABLES)
    export_edge(network, out / EDGE)
    rates = tuple(Rate(steps=tuple(tuple(zone) for zone in rate)) for rate in steps.tolist())
    return write_bundle(out, network.settings, detect, name=name, card=card, rates=rates)


@torch.inference_mode()
def seen_frames(
    network: Network,
    detect: DetectSettings,
    steps: Float[Tensor, "r z k"],
    frames: Iterable[Frame],
) -> tuple[list[SeenFrame], Int64[np.ndarray, "contexts 2"]]:
    """What the entropy coder learns from: latents of the told cells of some frames, and marks.

    Args:
        network: Folded, with a bottleneck.
        detect: How frames are sliced and marked.
        steps: Step sizes of each rate and zone.
        frames: RGB pictures.

    Returns:
        The frames with patches, and how often a cell is unmarked and marked in each context.

    Raises:
        TrainingError: No frame has a patch.
    """
    bottleneck = network.bottleneck
    assert bottleneck is not None
    seen, marked = list[SeenFrame](), np.zeros((CONTEXTS, 2), np.int64)
    for frame in frames:
        box = Letterbox.fit((frame.shape[0], frame.shape[1]), detect.long_side_px)
        image = torch.from_numpy(letterbox(frame, box)).permute(2, 0, 1)[None]
        p3 = network.stem(image)
        heat = network.seeker(p3)[0].sigmoid().numpy()
        union = slice_heat(heat, detect.slicer).union()
        if not union.any():
            continue
        marks = union & (heat >= detect.mark)
        marked += count_marks(marks, union)
        zones = zones_of(marks, union, detect.halo)
        cells = ToldCells.of(zones)
        inside = torch.from_numpy(zones != UNTOLD)
        latents = bottleneck.analysis(p3)[:, :, inside][..., None]
        own = torch.from_numpy(cells.zones.astype(np.int64)), torch.arange(len(cells.zones))
        told = [quantised(latents, rate)[0, :, :, :, 0].permute(0, 2, 1)[own] for rate in steps]
        seen.append(SeenFrame(cells, torch.stack(told).numpy()))
    if not seen:
        raise TrainingError(
            "none of the pictures has a patch, so there is nothing to learn from; the detector "
            "finds nothing in them: check the bundle and the pictures"
        )
    return seen, marked


def learn_tables(
    seen: Sequence[SeenFrame],
    marks: Int64[np.ndarray, "contexts 2"],
    steps: Float[Tensor, "r z k"],
    console: Console | None = None,
) -> Tables:
    """The entropy coder's tables for frames like these.

    Args:
        seen: What to learn from; some of them only judge.
        marks: Count of unmarked and marked cells in each context.
        steps: Step sizes of each rate and zone.
        console: Where to show what is done, and what a cell costs in the end.
    """
    console = console or Console(quiet=True)
    shown = console.is_terminal and not console.quiet
    lesson, judges = held_out(seen)
    rates = track(
        range(len(steps)),
        "learning contexts",
        console=console,
        transient=True,
        disable=not shown,
    )
    contexts = [learn_context(lesson, rate, steps[rate].numpy()) for rate in rates]
    tables = Tables.fit(contexts, count_symbols(lesson, contexts), marks)
    bits = ", ".join(f"{one:.1f}" for one in bits_a_cell(judges, tables))
    console.print(f"bits a latent cell at each rate, on {len(judges)} pictures: {bits}")
    return tables


def _load(checkpoint: Path, start: Path) -> tuple[Network, Float[Tensor, "r z k"]]:
    """The averaged network, what did not learn from the start, and the averaged steps."""
    progress, tensors = read_checkpoint(checkpoint, AVERAGE)
    stage = progress.about.get("stage")
    if stage not in ("bottleneck", "joint"):
        raise TrainingError(
            f"{checkpoint}: a detector's run; expected one with `stage: bottleneck` or `joint`"
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
    steps = _steps(checkpoint, tensors)
    if stage == "joint":
        learned = averaged_network(checkpoint, NETWORK)
        learned.fold()
        stays = () if progress.about.get("learn") == "all" else ("stem.", "seeker.")
        weights = {k: v for k, v in learned.state_dict().items() if not k.startswith(stays)}
        network.load_state_dict(weights, strict=False)
        return network.eval().requires_grad_(False), steps
    assert network.bottleneck is not None
    prefix = AVERAGE + BOTTLENECK
    weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        network.bottleneck.load_state_dict(weights)
    except RuntimeError as e:
        problem = " ".join(str(e).split())[:200]
        raise TrainingError(f"{checkpoint}: does not fit its own model ({problem})") from e
    return network.eval().requires_grad_(False), steps


def _steps(checkpoint: Path, tensors: dict[str, Tensor]) -> Float[Tensor, "r z k"]:
    """The averaged steps, the finest rate first."""
    logs = tensors.get(f"{AVERAGE}log_steps")
    if logs is None or logs.ndim != 3 or logs.shape[1] != ZONES:
        shape = "none" if logs is None else list(logs.shape)
        raise TrainingError(
            f"{checkpoint}: expected steps of [rates, {ZONES} zones, channels], got {shape}; it is "
            "of an older version, train it again"
        )
    # Whatever became of them: a rate is chosen by its place.
    return logs.exp()[logs.mean((1, 2)).argsort()]
