"""What the processes of a run tell each other: one sum over one tensor, once a step.

    slice 0 ─┐ each: forward, backward           ┌─> mean gradient, of all slices
    slice 1 ─┼─ gradients | norms | values | word ┼─> mean statistics of the norms
    ...     ─┘  summed here, then over processes └─> mean values; rank 0's clock and wishes

A slice is a part of the batch that is computed alone: its norms and losses are those of its own
samples. Whether one process computes all slices, one after the other, or each has one, the means
are the same but for the order in which floats are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sparsight_cloud.training.schedule import flat_gradients

WORD = 3


class PartnerLost(Exception):
    """Another process of the run is gone."""


@dataclass(frozen=True, slots=True)
class Word:
    """What rank 0 decides for all.

    Attributes:
        now_s: Training time, over all starts of the run.
        stop: Whether to stop after this step.
        save: Whether a checkpoint is due after this step.
    """

    now_s: float
    stop: bool = False
    save: bool = False


class Exchange:
    """Owns the gradients of one process and what travels with them.

    Attributes:
        gradients: Of all that learns, in one piece.
    """

    def __init__(
        self, module: nn.Module, names: Sequence[str], ranks: int, slices: int, device: torch.device
    ) -> None:
        """Gives the module's parameters their gradients.

        Args:
            module: What is trained.
            names: Of the values that slices may have.
            ranks: Processes; with more than one, a process group must be open.
            slices: Parts of a batch, over all processes.
            device: Where the module is.
        """
        self._names, self._ranks, self._slices = tuple(names), ranks, slices
        # Of one slice, the norms have their statistics already.
        self._statistics = _statistics(module) if slices > 1 else []
        counts = [sum(s.numel() for s in self._statistics), 2 * len(self._names), WORD]
        self._whole = flat_gradients(module, sum(counts), device)
        rest = len(self._whole) - sum(counts)
        self.gradients, self._norms, values, self._word = self._whole.split([rest, *counts])
        self._values = values.view(2, -1)
        self._before: list[Tensor] = []

    def begin(self) -> None:
        """Before the first slice of a step."""
        self._whole.zero_()
        self._before = [s.clone() for s in self._statistics]

    def add(self, values: dict[str, float]) -> None:
        """After the backward pass of a slice.

        Args:
            values: By name; a slice need not have all.
        """
        for name, value in values.items():
            self._values[:, self._names.index(name)] += torch.tensor(
                [value, 1.0], device=self._whole.device
            )
        if self._statistics:
            self._norms += torch.cat([s.flatten() for s in self._statistics])
            for now, before in zip(self._statistics, self._before, strict=True):
                now.copy_(before)

    def reduce(self, word: Word | None) -> tuple[dict[str, float], Word]:
        """After the last slice of this process: means over the slices of all.

        Args:
            word: Rank 0's; None of the others.

        Returns:
            Means of the values that any slice had, and rank 0's word.

        Raises:
            PartnerLost: Another process is gone.
        """
        if word is not None:
            told = [word.now_s, float(word.stop), float(word.save)]
            self._word.copy_(torch.tensor(told))
        if self._ranks > 1:
            try:
                dist.all_reduce(self._whole)
            except RuntimeError as e:
                raise PartnerLost(str(e)) from e
        if self._slices > 1:
            self.gradients /= self._slices
            parts = (self._norms / self._slices).split([s.numel() for s in self._statistics])
            for now, mean in zip(self._statistics, parts, strict=True):
                now.copy_(mean.view_as(now))
        sums, counts = self._values.tolist()
        means = {n: s / c for n, s, c in zip(self._names, sums, counts, strict=True) if c}
        now_s, stop, save = self._word.tolist()
        return means, Word(now_s, bool(stop), bool(save))


def _statistics(module: nn.Module) -> list[Tensor]:
    """What the norms that learn know of the batches so far."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
    pairs = [(m.running_mean, m.running_var) for m in norms if m.training]
    return [s for pair in pairs for s in pair if s is not None]
