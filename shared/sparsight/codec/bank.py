"""A bank of integer distributions, shared by all channels and rates.

    location ─ whole part: where the middle lies ─┐
             └ eighths ────────┐                  │
    scale ─────────────────────┴─> a row of the bank: how likely each distance from the middle is

A latent is coded as its distance from the whole part of where it is expected. Rows reach as far as
14 bits can tell; what lies beyond costs an escape and eight bits more. The rows are counted when a
bundle is built, from logistic ones as a start, and shipped as integers: neither end derives them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64, UInt16

from sparsight.codec.rans import TOTAL

SCALES = 30
SCALES_PER_OCTAVE = 3
SCALE_LEAST = 0.05
"""Of the first row's logistic, in steps: it gives all but 1 in 10,000 to the middle."""

FRACTIONS = 8
"""Places of the true middle within a step."""

ROWS = SCALES * FRACTIONS
SYMBOLS = 256
MIDDLE = 127
"""Symbol of distance 0."""

ESCAPE = 255
"""Symbol of all that a row has no place for; the latent follows, as a byte."""

FINE = 1 << 40
"""Parts of 1 in which shares are rounded before they become frequencies."""

START_COUNTS = 200.0
"""Weight of the logistic start of a row, in latents."""


def logistic_rows() -> Float64[np.ndarray, "rows 256"]:
    """Shares of each symbol in logistic distributions, where nothing was counted."""
    index = np.arange(ROWS)
    scale = SCALE_LEAST * 2.0 ** (index // FRACTIONS / SCALES_PER_OCTAVE)
    middle = index % FRACTIONS / FRACTIONS
    edges = (np.arange(-MIDDLE, ESCAPE - MIDDLE + 1) - 0.5 - middle[:, None]) / scale[:, None]
    below = 0.5 + 0.5 * np.tanh(edges / 2)
    shares = np.diff(below, axis=1)
    return np.concatenate((shares, 1 - shares.sum(1, keepdims=True)), 1)


def fit_bank(counts: Int64[np.ndarray, "rows 256"]) -> UInt16[np.ndarray, "rows 256"]:
    """Frequencies that code what was counted in few bits; each row sums to 2**14.

    Args:
        counts: How often each symbol came in each row.
    """
    start = logistic_rows()
    shares = counts + START_COUNTS * start
    shares /= shares.sum(1, keepdims=True)
    freqs = np.zeros((ROWS, SYMBOLS), np.uint16)
    for row, share in zip(freqs, shares, strict=True):
        # A frequency of 1 for something rarer would be paid for by all the others.
        told = np.flatnonzero(share[:ESCAPE] * TOTAL >= 0.5)
        beyond = max(0.0, 1 - share[told].sum())
        parts = np.append(share[told], beyond) * FINE
        row[np.append(told, ESCAPE)] = quantised(np.rint(parts).astype(np.int64))
    return freqs


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
