"""P3 of the kept cells as it is, without a learned codec: the least that splitting a detector asks.

rows of P3 ─┬─ half precision ──────────────────────────────────────────> bytes ─> rows
            └─ a scale for each channel ─ int8 ─ channel by channel ─ zstd ──> bytes ─> rows
"""

from __future__ import annotations

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

ZSTD_LEVEL = 19
"""Slow and small."""

SCALE_BYTES = 4
"""A channel's scale."""


def as_half(rows: Float[Tensor, "n c 1 1"]) -> tuple[int, Float[Tensor, "n c 1 1"]]:
    """Rows in half precision: how many bytes, and what comes out."""
    half = rows.half()
    return half.numel() * half.element_size(), half.float()


def as_zstd(rows: Float[Tensor, "n c 1 1"]) -> tuple[int, Float[Tensor, "n c 1 1"]]:
    """Rows as zstd of bytes: how many, and what comes out."""
    if not len(rows):
        return 0, rows
    scale = rows.abs().amax((0, 2, 3), keepdim=True).clamp(min=1e-12) / 127
    small = (rows / scale).round().to(torch.int8)
    # Channel after channel: neighbours in a channel are alike.
    plain = small[:, :, 0, 0].T.contiguous().numpy().tobytes()
    packed = pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(plain, asbytes=True)
    return len(packed) + SCALE_BYTES * scale.numel(), small.float() * scale
