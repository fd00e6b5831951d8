"""The entropy coder's tables, learned from the latents of some pictures.

    latents of a rate ─ batches ─ net ─ logistic likelihood ─ Adam ─> weights ─ rounded ─> Context
    every latent of all rates ─ through the Contexts ─ counts of each row ─> bank ─> Tables

The net is that of `sparsight.codec.context`, in floating point. The bank is counted with the
rounded one, so it also makes good what a logistic distribution gets wrong. One thread and a fixed
seed: the same pictures give the same tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor, nn

from sparsight.codec.bank import (
    ROWS,
    SCALE_LEAST,
    SCALES,
    SCALES_PER_OCTAVE,
    SYMBOLS,
)
from sparsight.codec.context import (
    AROUND_BITS,
    BEFORE_YX,
    HIDDEN_BITS,
    KNOWN_MAX,
    LOCATION_BITS,
    ONE,
    SCALE_BITS,
    SIZES,
    UNIT,
    Context,
    base_units,
)
from sparsight.codec.latents import ToldCells
from sparsight.codec.rans import TOTAL
from sparsight.codec.tables import BANK_ROW, Coder, Tables
from sparsight.codec.zones import ZONES

STEPS_MAX, PASSES, BATCH = 1500, 15, 1024
QUICK, SLOW = 8e-3, 1e-3
"""Learning rates; the slow one is of the cell's own channels, which start where they are best."""

HIDDEN = 64
"""Hidden values."""

INPUT = 8.0
"""Latents are divided by it on their way in, so that most are about 1."""

OCTAVE = 16
"""Of a size: sizes are 16 log2, the model learns by log2."""

HELD_OUT = 12
"""One picture in so many teaches nothing and is coded to see what latents cost."""

NOISE = 0.01
"""Variance added to all that predicts, in base units: what hardly varies gets no large weights."""

LOGISTIC_SCALE = math.sqrt(3) / math.pi
"""Of a logistic distribution with deviation 1."""

FLOOR = 1e-5
"""Share of each latent that no outlier goes below while weights are learned."""


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """What is learned from of one picture.

    Attributes:
        cells: Its told cells.
        latents: Of each rate, every cell in steps of its zone.
    """

    cells: ToldCells
    latents: Int8[np.ndarray, "r n k"]


def held_out(frames: Sequence[SeenFrame]) -> tuple[list[SeenFrame], list[SeenFrame]]:
    """Frames to learn from, and some to judge by; those that few have, they judge by too."""
    judges = list(frames[HELD_OUT - 1 :: HELD_OUT])
    rest = [one for i, one in enumerate(frames) if i % HELD_OUT != HELD_OUT - 1]
    return rest, judges or rest


def learn_context(
    frames: Sequence[SeenFrame], rate: int, steps: Float[np.ndarray, "zones k"]
) -> Context:
    """The model of a rate that codes its latents in few bits.

    Args:
        frames: What to learn from.
        rate: Index of the quality level.
        steps: Its step sizes.
    """
    with _one_thread(), torch.enable_grad():
        known = _Known.of(frames, rate, steps)
        chance = torch.Generator().manual_seed(rate)
        net = _Net(known, chance)
        count = min(STEPS_MAX, PASSES * len(known.latents) // BATCH + 1)
        quick = [one for name, one in net.named_parameters() if name != "own"]
        optimiser = torch.optim.Adam(
            [{"params": quick, "lr": QUICK}, {"params": [net.own], "lr": SLOW}]
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda i: min(1.0, (i + 1) / 50) * (1 + math.cos(math.pi * i / count)) / 2
        )
        for _ in range(count):
            chosen = torch.randint(len(known.latents), (BATCH,), generator=chance)
            optimiser.zero_grad()
            net(chosen).backward()
            optimiser.step()
            schedule.step()
        return net.rounded()


def count_symbols(
    frames: Sequence[SeenFrame], contexts: Sequence[Context]
) -> Int64[np.ndarray, "rows 256"]:
    """How often each symbol comes in each row of the bank, over all rates."""
    # With all symbols alike, only what is out of reach for any row escapes.
    starts = Coder.of(np.full((BANK_ROW + ROWS, SYMBOLS), TOTAL // SYMBOLS)).starts
    counts = np.zeros(ROWS * SYMBOLS, np.int64)
    for frame in frames:
        for context, latents in zip(contexts, frame.latents, strict=True):
            symbols, rows = frame.cells.symbols(latents, context, starts)
            told = rows >= BANK_ROW  # the others are bytes behind escapes
            flat = (rows[told].astype(np.int64) - BANK_ROW) * SYMBOLS + symbols[told]
            counts += np.bincount(flat, minlength=len(counts))
    return counts.reshape(ROWS, SYMBOLS)


def bits_a_cell(frames: Sequence[SeenFrame], tables: Tables) -> tuple[float, ...]:
    """What the latents of a cell cost on average, at each rate."""
    starts = tables.coder.starts
    bits, cells = np.zeros(tables.rates), 0
    for frame in frames:
        cells += len(frame.cells.zones)
        for rate, latents in enumerate(frame.latents):
            symbols, rows = frame.cells.symbols(latents, tables.contexts[rate], starts)
            share = (starts[rows, symbols + 1] - starts[rows, symbols]) / TOTAL
            bits[rate] -= np.log2(share).sum()
    return tuple((bits / max(1, cells)).tolist())


@dataclass(frozen=True, slots=True)
class _Known:
    """Latents of many frames at one rate.

    Attributes:
        latents: In steps of their zones.
        base: In base units, with a one; after the last cell one of zeros, for neighbours that are
            none.
        sizes: Of the latents in base units, in octaves.
        near: Numbers of the neighbours.
        zones: Of each cell.
        units: Step of each zone and channel, in base units.
    """

    latents: Float[Tensor, "n k"]
    base: Float[Tensor, "rows known"]
    sizes: Float[Tensor, "n k"]
    near: Int64[Tensor, "n places"]
    zones: Int64[Tensor, " n"]
    units: Float[Tensor, "zones k"]

    @classmethod
    def of(
        cls, frames: Sequence[SeenFrame], rate: int, steps: Float[np.ndarray, "zones k"]
    ) -> _Known:
        latents = np.concatenate([one.latents[rate] for one in frames]).astype(np.int64)
        zones = np.concatenate([one.cells.zones for one in frames])
        units = base_units(steps)
        known = np.full((len(latents) + 1, latents.shape[1] + 1), ONE, np.int64)
        known[-1] = 0
        known[:-1, :-1] = np.clip(
            (latents * units[zones] + UNIT // 2) // UNIT, -KNOWN_MAX, KNOWN_MAX
        )
        near, before = [], 0
        for frame in frames:
            own = frame.cells.near.astype(np.int64)
            near.append(np.where(own < 0, len(latents), own + before))
            before += len(own)
        return cls(
            torch.from_numpy(latents).float(),
            torch.from_numpy(known).float(),
            torch.from_numpy(SIZES[np.abs(known[:-1, :-1])] / OCTAVE).float(),
            torch.from_numpy(np.concatenate(near)),
            torch.from_numpy(zones.astype(np.int64)),
            torch.from_numpy(units).float() / UNIT,
        )


class _Net(nn.Module):
    """`Context` in floating point: locations in base units, scales in rows of the bank."""

    def __init__(self, known: _Known, chance: torch.Generator) -> None:
        super().__init__()
        self._known = known
        k = known.latents.shape[1]
        inputs = len(BEFORE_YX) * (k + 1)
        around = torch.randn(inputs, HIDDEN, generator=chance) / math.sqrt(inputs)
        self.around = nn.Parameter(around)
        self.lift = nn.Parameter(torch.zeros(ZONES, HIDDEN))
        self.out = nn.Parameter(torch.zeros(HIDDEN, 2, k))
        weights, deviations = _own_prediction(known.base[:-1, :k])
        self.own = nn.Parameter(weights)
        self.sizes = nn.Parameter(torch.zeros(k, k))
        scales = deviations * LOGISTIC_SCALE / known.units
        rows = SCALES_PER_OCTAVE * (scales / SCALE_LEAST).log2().clamp_min(0)
        self.bias = nn.Parameter(torch.stack((torch.zeros_like(rows), rows), 1))
        self._before = torch.triu(torch.ones(k, k), 1)  # channels that the told one may know

    def forward(self, chosen: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """Mean bits of some cells."""
        known = self._known
        k = known.latents.shape[1]
        zones = known.zones[chosen]
        seen = known.base[known.near[chosen]].flatten(1) / INPUT
        hidden = torch.relu(seen @ self.around + self.lift[zones])
        bias = self.bias[zones]
        own, sizes = known.base[chosen, :k], known.sizes[chosen]
        middle = bias[:, 0] + hidden @ self.out[:, 0] + own @ (self.own * self._before)
        row = bias[:, 1] + hidden @ self.out[:, 1] + sizes @ (self.sizes * self._before)
        scale = SCALE_LEAST * torch.exp2(row.clamp(0, SCALES - 1) / SCALES_PER_OCTAVE)
        away = -(known.latents[chosen] - middle / known.units[zones]).abs()
        p = torch.sigmoid((away + 0.5) / scale) - torch.sigmoid((away - 0.5) / scale)
        bits: Tensor = -(p * (1 - FLOOR) + FLOOR).log2().sum(1).mean()
        return bits

    @torch.no_grad()
    def rounded(self) -> Context:
        """In integers."""
        k = self._known.latents.shape[1]
        fine = torch.tensor([1 << LOCATION_BITS, 1 << SCALE_BITS])[:, None]
        own = torch.stack((self.own * self._before, self.sizes * self._before / OCTAVE), 1)
        around = self.around.view(len(BEFORE_YX), k + 1, HIDDEN) * ((1 << AROUND_BITS) / INPUT)
        return Context(
            around=_whole(around, np.int16),
            lift=_whole(self.lift * (1 << AROUND_BITS), np.int32),
            out=_whole(self.out * fine / (1 << HIDDEN_BITS), np.int16),
            own=_whole(own * fine, np.int16),
            bias=_whole(self.bias * fine, np.int32),
            units=_whole(self._known.units * UNIT, np.uint8),
        )


def _whole(values: Tensor, kind: type[np.integer]) -> np.ndarray:
    """Rounded, and clipped to what the kind can hold."""
    limits = np.iinfo(kind)
    return values.double().round().clamp(limits.min, limits.max).numpy().astype(kind)


def _own_prediction(
    base: Float[Tensor, "n k"],
) -> tuple[Float[Tensor, "k k"], Float[Tensor, " k"]]:
    """Weights of the best linear prediction of each channel from those before it, and what is left.

    Returns:
        Weights from a channel, the row, to those after it, and standard deviations of the errors.
    """
    k = base.shape[1]
    covariance = base.T.double() @ base.double() / len(base) + NOISE * torch.eye(k)
    # Row i of the inverse of the Cholesky factor is what is left of i after all before it.
    factor = torch.linalg.cholesky(covariance)
    left = torch.linalg.solve_triangular(factor, torch.eye(k).double(), upper=False)
    deviations = factor.diagonal()
    return (-left * deviations[:, None]).tril(-1).T.float(), deviations.float()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
