"""What both ends of the entropy coder know beforehand: all of it integers, all of it in one file.

    frames of the training set ─ learn, count ─> Tables ─ tables.npz ─> device and cloud
        bank       distributions by scale and place of the middle (`bank`), for all rates
        contexts   of each rate, what tells where a latent's middle lies (`context`)
        ones       how often a cell is marked, by its neighbours (`marks`)

Frequencies sum to 2**14. All was rounded once, on one machine: both ends read it, neither derives
anything from floating-point numbers (design runtimes.md §4).
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64, UInt8, UInt16

from sparsight.codec.bank import ESCAPE, ROWS, SYMBOLS, fit_bank, quantised
from sparsight.codec.context import BEFORE_YX, Context
from sparsight.codec.marks import CONTEXTS
from sparsight.codec.rans import TOTAL
from sparsight.codec.zones import ZONES
from sparsight.errors import BundleError, UsageError

RAW_ROW = CONTEXTS
"""Of the coder's tables those of marks come first, then this, in which all bytes are alike."""

BANK_ROW = RAW_ROW + 1
"""Then the bank's."""

RATES_MAX, CHANNELS_MAX, HIDDEN_MAX = 16, 256, 256
FILE_BYTES_MAX = 32 << 20

_KINDS = {
    "bank": np.uint16,
    "around": np.int16,
    "lift": np.int32,
    "out": np.int16,
    "own": np.int16,
    "bias": np.int32,
    "units": np.uint8,
    "ones": np.uint16,
}
_NET = tuple(one.name for one in fields(Context))
_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What zipfile and numpy raise on damaged files."""


@dataclass(frozen=True, slots=True)
class Coder:
    """All tables as the kernels want them.

    Attributes:
        starts: Sum of the frequencies before each symbol.
        slots: Symbol of every 64th slot.
    """

    starts: Int32[np.ndarray, "t 257"]
    slots: UInt8[np.ndarray, "t 256"]

    @classmethod
    def of(cls, freqs: Int64[np.ndarray, "t 256"]) -> Coder:
        """From frequencies, those of each table with the sum 2**14."""
        starts = np.zeros((len(freqs), SYMBOLS + 1), np.int32)
        np.cumsum(freqs, 1, out=starts[:, 1:])
        symbols = np.arange(SYMBOLS, dtype=np.uint8)
        return cls(starts, np.stack([np.repeat(symbols, row)[::64] for row in freqs]))


@dataclass(frozen=True)
class Tables:
    """Tables of all rates.

    Attributes:
        bank: Frequency of each symbol in each row.
        contexts: The model of each rate, of the same channels all.
        ones: Frequency of a mark in each context, out of 2**14.
    """

    bank: UInt16[np.ndarray, "rows 256"]
    contexts: tuple[Context, ...]
    ones: UInt16[np.ndarray, " contexts"]

    @property
    def rates(self) -> int:
        """How many rates there are."""
        return len(self.contexts)

    @property
    def channels(self) -> int:
        """How many channels a latent has."""
        return self.contexts[0].channels

    @classmethod
    def fit(
        cls,
        contexts: Sequence[Context],
        symbols: Int64[np.ndarray, "rows 256"],
        marks: Int64[np.ndarray, "contexts 2"],
    ) -> Tables:
        """Tables that code what was counted in the fewest bits.

        Args:
            contexts: The model of each rate.
            symbols: Count of each symbol in each row of the bank; zeros leave its start.
            marks: Count of unmarked and marked cells in each context.

        Raises:
            UsageError: A shape that is none of these, or negative counts.
        """
        if symbols.shape != (ROWS, SYMBOLS) or marks.shape != (CONTEXTS, 2):
            raise UsageError(
                f"tables: expected counts of shape [{ROWS}, {SYMBOLS}] and [{CONTEXTS}, 2], "
                f"got {list(symbols.shape)} and {list(marks.shape)}"
            )
        if (symbols < 0).any() or (marks < 0).any():
            raise UsageError("tables: expected counts from 0, got negative ones")
        ones = np.array([quantised(pair)[1] for pair in marks], np.uint16)
        return cls(fit_bank(symbols), tuple(contexts), ones)

    def context(self, rate: int) -> Context:
        """The model of a rate.

        Raises:
            UsageError: There is no such rate.
        """
        if not 0 <= rate < self.rates:
            raise UsageError(f"rate: expected 0 to {self.rates - 1}, got {rate}")
        return self.contexts[rate]

    @cached_property
    def coder(self) -> Coder:
        """What the kernels need; made once."""
        rows = np.zeros((BANK_ROW + ROWS, SYMBOLS), np.int64)
        rows[:CONTEXTS, 0], rows[:CONTEXTS, 1] = TOTAL - self.ones.astype(np.int64), self.ones
        rows[RAW_ROW] = TOTAL // SYMBOLS
        rows[BANK_ROW:] = self.bank
        return Coder.of(rows)

    def save(self, file: Path) -> None:
        """Write `tables.npz`; no pickle."""
        nets: dict[str, Any] = {
            name: np.stack([getattr(one, name) for one in self.contexts]) for name in _NET
        }
        np.savez_compressed(file, bank=self.bank, ones=self.ones, **nets)

    @classmethod
    def load(cls, file: Path) -> Tables:
        """Read and check `tables.npz`.

        Raises:
            BundleError: Missing, damaged, or tables that no coder could use.
        """
        try:
            with zipfile.ZipFile(file) as packed:
                if sum(one.file_size for one in packed.infolist()) > FILE_BYTES_MAX:
                    raise BundleError(f"{file}: larger than any tables; copy the bundle again")
            with np.load(file, allow_pickle=False) as data:
                arrays = {name: np.asarray(data[name]) for name in _KINDS}
        except _UNREADABLE as e:
            raise BundleError(f"{file}: no tables of the entropy coder ({e})") from e
        shape = arrays["out"].shape
        r, h, _, k = shape if len(shape) == 4 else (0, 0, 0, 0)
        wanted = {
            "bank": (ROWS, SYMBOLS),
            "around": (r, len(BEFORE_YX), k + 1, h),
            "lift": (r, ZONES, h),
            "out": (r, h, 2, k),
            "own": (r, k, 2, k),
            "bias": (r, ZONES, 2, k),
            "units": (r, ZONES, k),
            "ones": (CONTEXTS,),
        }
        if not (0 < r <= RATES_MAX and 0 < k <= CHANNELS_MAX and 0 < h <= HIDDEN_MAX) or any(
            arrays[name].dtype != kind or arrays[name].shape != wanted[name]
            for name, kind in _KINDS.items()
        ):
            raise BundleError(f"{file}: tables of other shapes than this version's")
        nets = (np.ascontiguousarray(arrays[name]) for name in _NET)
        contexts = tuple(Context(*one) for one in zip(*nets, strict=True))
        out = cls(arrays["bank"], contexts, arrays["ones"])
        out.check(file)
        return out

    def check(self, source: Path) -> None:
        """Refuse tables that no coder could use.

        Raises:
            BundleError: Says what is wrong; names the source.
        """
        good = (
            (self.bank.sum(1, dtype=np.int64) == TOTAL).all()
            and (self.bank[:, ESCAPE] >= 1).all()
            and ((self.ones >= 1) & (self.ones < TOTAL)).all()
        )
        if not good:
            raise BundleError(f"{source}: frequencies that don't sum to {TOTAL}; copy it again")
        if not all(one.is_sound() for one in self.contexts):
            raise BundleError(f"{source}: a context that needs sums of over 32 bits; copy it again")
