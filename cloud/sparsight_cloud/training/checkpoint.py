"""Checkpoints of a training run: one safetensors file; a kill at any moment leaves a whole one.

    last.safetensors
        model/...              the network
        ema/...                its average
        first/... second/...   AdamW's moments, in full: a run that goes on ends with the same bits
        metadata               {"step", "elapsed_s", "about", "sums"}

55 MB for the default detector.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sparsight.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        step: Steps done.
        elapsed_s: Training time spent, over all starts of the run.
        about: What must not change between two starts of a run (data, model, seed).
        sums: Sum and count of each watched value since the last row of the metrics file, so that
            the next row is what it would have been.
    """

    step: int
    elapsed_s: float
    about: dict[str, object]
    sums: dict[str, list[float]] = field(default_factory=dict)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write a checkpoint; the file at `path` is always a whole one.

    Args:
        path: Where to.
        model: Its state is written.
        ema: Averages of the state, by name.
        optimiser: Its moments are written.
        progress: How far the run is.

    Raises:
        TrainingError: The file can't be written.
    """
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema/{k}": v for k, v in ema.items()}
    names = {id(p): k for k, p in model.named_parameters()}
    for p, state in optimiser.state.items():
        tensors[f"first/{names[id(p)]}"] = state["exp_avg"]
        tensors[f"second/{names[id(p)]}"] = state["exp_avg_sq"]
    meta = {"progress": json.dumps(asdict(progress))}
    partial = path.with_suffix(".partial")
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    try:
        save_file(plain, partial, metadata=meta)
        with partial.open("rb") as f:
            os.fsync(f.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as e:
        raise TrainingError(
            f"{path}: can't write the checkpoint ({e}); make room there, then start again to go on "
            "from the one before"
        ) from e


def read_checkpoint(path: Path, prefix: str = "") -> tuple[Progress, dict[str, Tensor]]:
    """What a checkpoint holds, on the CPU.

    Args:
        path: The file.
        prefix: Only tensors whose name begins so.

    Raises:
        TrainingError: Missing, damaged, or written by another program.
    """
    try:
        with safe_open(path, "pt") as f:
            progress = Progress(**json.loads(f.metadata()["progress"]))
            names = [k for k in f.keys() if k.startswith(prefix)]  # noqa: SIM118 (not a dict)
            return progress, {k: f.get_tensor(k) for k in names}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as e:
        raise TrainingError(
            f"{path}: not a checkpoint of this program ({e}); give the last.safetensors of a run, "
            "or delete it to start over"
        ) from e


def load_checkpoint(
    path: Path,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    about: dict[str, object],
) -> Progress:
    """Bring a run back to where it was.

    Args:
        path: The checkpoint.
        model: Gets its state.
        ema: Gets the averages.
        optimiser: Gets its moments.
        about: What this run is; the checkpoint's must be the same.

    Returns:
        How far the run was.

    Raises:
        TrainingError: The file is damaged, or belongs to a run of another data set, model or seed.
    """
    progress, tensors = read_checkpoint(path)
    changed = sorted(k for k in about if progress.about.get(k) != about[k])
    if changed:
        k = changed[0]
        raise TrainingError(
            f"{path}: belongs to another run ({k} was {progress.about.get(k)!r}, is {about[k]!r}); "
            "give another `out` folder or delete it"
        )
    try:
        model.load_state_dict(_part(tensors, "model/"))
    except RuntimeError as e:
        raise TrainingError(f"{path}: does not fit this model ({str(e).splitlines()[0]})") from e
    for k, v in _part(tensors, "ema/").items():
        ema[k].copy_(v)
    first, second = _part(tensors, "first/"), _part(tensors, "second/")
    for k, p in model.named_parameters():
        if k in first:
            optimiser.state[p] = {
                "step": torch.tensor(float(progress.step)),
                "exp_avg": first[k].to(p.device, p.dtype),
                "exp_avg_sq": second[k].to(p.device, p.dtype),
            }
    return progress


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
