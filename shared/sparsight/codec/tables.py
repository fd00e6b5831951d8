"""Integer frequency tables of the entropy coder: what both ends know beforehand.

    histograms of training frames ─ fit ─> Tables ─ tables.npz ─> device and cloud

A table for each rate and channel over a support of consecutive integers, and one for each context
of a mark. Frequencies are integers that sum to 2**14, made by integer arithmetic once, on one
machine: both ends read them, neither derives them (design runtimes.md §4).
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int8, Int64, UInt8, UInt16

from sparsight.codec.marks import CONTEXTS
from sparsight.codec.rans import TOTAL
from sparsight.errors import BundleError, UsageError

SYMBOLS = 256
"""Latents are bytes."""

RATES_MAX, CHANNELS_MAX = 16, 256
FILE_BYTES_MAX = 16 << 20

_KINDS = {"low": np.int8, "widths": np.uint16, "freqs": np.uint16, "ones": np.uint16}
_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What zipfile and numpy raise on damaged files."""


@dataclass(frozen=True, slots=True)
class Coder:
    """Tables of one rate as the kernels want them: channels first, then contexts of marks.

    Attributes:
        starts: Sum of the frequencies before each symbol.
        slots: Symbol of each slot.
    """

    starts: Int64[np.ndarray, "t 257"]
    slots: UInt8[np.ndarray, "t 16384"]


@dataclass(frozen=True, slots=True)
class Tables:
    """Tables of all rates.

    Attributes:
        low: Smallest latent of each rate and channel.
        widths: Symbols of each support, at least 1.
        freqs: Frequency of each symbol from `low` on, zero behind the support; sums to 2**14.
        ones: Frequency of a mark in each context, out of 2**14.
    """

    low: Int8[np.ndarray, "r k"]
    widths: UInt16[np.ndarray, "r k"]
    freqs: UInt16[np.ndarray, "r k 256"]
    ones: UInt16[np.ndarray, " contexts"]
    _coders: dict[int, Coder] = field(default_factory=dict, repr=False, compare=False)

    @property
    def rates(self) -> int:
        """How many rates there are."""
        return int(self.low.shape[0])

    @property
    def channels(self) -> int:
        """How many channels a latent has."""
        return int(self.low.shape[1])

    @classmethod
    def fit(
        cls,
        histograms: Int64[np.ndarray, "r k 256"],
        marks: Int64[np.ndarray, "contexts 2"],
    ) -> Tables:
        """Tables that code what was counted in the fewest bits.

        Args:
            histograms: Count of each latent from -128 on, for each rate and channel.
            marks: Count of unmarked and marked cells in each context.

        Raises:
            UsageError: A shape that is none of these, or negative counts.
        """
        if histograms.ndim != 3 or histograms.shape[2] != SYMBOLS or marks.shape != (CONTEXTS, 2):
            raise UsageError(
                f"tables: expected counts of shape [rates, channels, {SYMBOLS}] and "
                f"[{CONTEXTS}, 2], got {list(histograms.shape)} and {list(marks.shape)}"
            )
        if (histograms < 0).any() or (marks < 0).any():
            raise UsageError("tables: expected counts from 0, got negative ones")
        rates, channels, _ = histograms.shape
        low = np.zeros((rates, channels), np.int8)
        widths = np.ones((rates, channels), np.uint16)
        freqs = np.zeros((rates, channels, SYMBOLS), np.uint16)
        for r in range(rates):
            for k in range(channels):
                seen = np.flatnonzero(histograms[r, k])
                first, last = (seen[0], seen[-1]) if len(seen) else (SYMBOLS // 2, SYMBOLS // 2)
                low[r, k], widths[r, k] = first - SYMBOLS // 2, last - first + 1
                freqs[r, k, : last - first + 1] = quantised(histograms[r, k, first : last + 1])
        ones = np.array([quantised(pair)[1] for pair in marks], np.uint16)
        return cls(low, widths, freqs, ones)

    def limits(self, rate: int) -> tuple[Int8[np.ndarray, " k"], Int8[np.ndarray, " k"]]:
        """Smallest and largest latent that a rate can code, of each channel.

        Raises:
            UsageError: There is no such rate.
        """
        if not 0 <= rate < self.rates:
            raise UsageError(f"rate: expected 0 to {self.rates - 1}, got {rate}")
        high = self.low[rate].astype(np.int64) + self.widths[rate] - 1
        return self.low[rate].copy(), high.astype(np.int8)

    def coder(self, rate: int) -> Coder:
        """What the kernels need of a rate; made once."""
        if rate not in self._coders:
            both = np.zeros((self.channels + CONTEXTS, SYMBOLS), np.int64)
            both[: self.channels] = self.freqs[rate]
            both[self.channels :, 0], both[self.channels :, 1] = TOTAL - self.ones, self.ones
            starts = np.concatenate((np.zeros((len(both), 1), np.int64), np.cumsum(both, 1)), 1)
            symbols = np.arange(SYMBOLS, dtype=np.uint8)
            slots = np.stack([np.repeat(symbols, row) for row in both])
            self._coders[rate] = Coder(starts, slots)
        return self._coders[rate]

    def save(self, file: Path) -> None:
        """Write `tables.npz`; no pickle."""
        np.savez_compressed(
            file, low=self.low, widths=self.widths, freqs=self.freqs, ones=self.ones
        )

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
        low = arrays["low"]
        r, k = low.shape if low.ndim == 2 else (0, 0)
        wanted = {"low": (r, k), "widths": (r, k), "freqs": (r, k, SYMBOLS), "ones": (CONTEXTS,)}
        if not (0 < r <= RATES_MAX and 0 < k <= CHANNELS_MAX) or any(
            arrays[name].dtype != kind or arrays[name].shape != wanted[name]
            for name, kind in _KINDS.items()
        ):
            raise BundleError(f"{file}: tables of other shapes than this version's")
        out = cls(low, arrays["widths"], arrays["freqs"], arrays["ones"])
        out.check(file)
        return out

    def check(self, source: Path) -> None:
        """Refuse tables that no coder could use.

        Raises:
            BundleError: Says what is wrong; names the source.
        """
        widths = self.widths.astype(np.int64)
        inside = np.arange(SYMBOLS) < widths[..., None]
        good = (
            ((widths >= 1) & (self.low + widths - 1 <= 127)).all()
            and ((self.freqs > 0) == inside).all()
            and (self.freqs.sum(2, dtype=np.int64) == TOTAL).all()
            and ((self.ones >= 1) & (self.ones < TOTAL)).all()
        )
        if not good:
            raise BundleError(f"{source}: frequencies that don't sum to {TOTAL}; copy it again")


def quantised(counts: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Frequencies from 1 that sum to 2**14, near the shares of the counts.

    What rounding leaves goes where it saves, or costs, the fewest bits.

    Args:
        counts: From 0; at most 2**14 of them.
    """
    padded = counts.astype(np.int64) * len(counts) + 1  # an unseen symbol keeps a small share
    total = int(padded.sum())
    freqs = np.maximum(1, [int(c) * TOTAL // total for c in padded]).astype(np.int64)
    while (left := TOTAL - int(freqs.sum())) != 0:
        # Bits that one more saves, or one less costs: count / frequency, to first order.
        if left > 0:
            able, worth = len(freqs), -padded / (freqs + 0.5)
        else:
            able = int((freqs > 1).sum())
            worth = np.where(freqs > 1, padded / (freqs - 0.5), np.inf)
        many = min(abs(left), max(1, able // 4))
        freqs[np.argsort(worth, kind="stable")[:many]] += 1 if left > 0 else -1
    return freqs
