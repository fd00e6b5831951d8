"""Convolution on rows: a table says which input rows lie under each tap of each output row.

    x [N, C] ── gather by table ──> [M, taps * C] ── one GEMM ──> [M, C']       any kernel
    x [N, C] ── taps added up in place, row by row ─────────────> [M, C]        depth-wise

Index N stands for a row of zeros. On a CPU gather, scatter and the depth-wise sum are numba loops
with the gradients beside them (design runtimes.md §3: a gather and a GEMM beat every sparse
library on CPU, and one of them is wrong with two threads); on a GPU, and of other floats than
those of 32 bits, they are plain torch.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

CHUNK_BYTES = 1 << 20
"""Gathered rows of one GEMM: with 1 MB of second-level cache a core, the 3x3 convolutions of neck
and head take three quarters of the time that they take with all rows gathered first."""


def conv_rows(
    x: Float[Tensor, "n c"],
    weight: Float[Tensor, "o i k k"],
    bias: Float[Tensor, " o"] | None,
    table: Int64[Tensor, "m taps"],
) -> Float[Tensor, "m o"]:
    """A convolution on rows: depth-wise tap by tap, anything else as one gather and one GEMM.

    Args:
        x: Input rows.
        weight: Kernel; `i` is 1 for a depth-wise convolution.
        bias: Added to every output row.
        table: Input row under each tap of each output row; `n` stands for a row of zeros.
    """
    taps, channels = table.shape[1], x.shape[1]
    by_hand = _by_hand(x)
    if weight.shape[1] == 1 and channels > 1:
        by_tap = weight.flatten(1).t()
        if by_hand:
            out: Tensor = _DepthwiseRows.apply(x, by_tap, bias, table)
            return out
        padded = torch.cat([x, x.new_zeros(1, channels)])
        out = torch.stack([padded[table[:, t]] * by_tap[t] for t in range(taps)]).sum(0)
        return out if bias is None else out + bias
    flat_weight = weight.permute(0, 2, 3, 1).flatten(1)
    if by_hand and not torch.is_grad_enabled():
        return _in_chunks(x, flat_weight, bias, table)
    flat = take_rows(x, table.flatten()).view(len(table), taps * channels)
    return F.linear(flat, flat_weight, bias)


def _by_hand(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32


def _in_chunks(
    x: Float[Tensor, "n c"],
    weight: Float[Tensor, "o taps_c"],
    bias: Float[Tensor, " o"] | None,
    table: Int64[Tensor, "m taps"],
) -> Float[Tensor, "m o"]:
    """Gather and GEMM chunk by chunk, so that what was gathered is still in the cache."""
    rows_in, index = x.detach().contiguous().numpy(), table.numpy()
    step = max(1, CHUNK_BYTES // (4 * weight.shape[1]))
    gathered = torch.empty((min(step, len(table)), weight.shape[1]))
    by_row = gathered.numpy().reshape(-1, x.shape[1])
    out = torch.empty((len(table), weight.shape[0]))
    for start in range(0, len(table), step):
        piece = index[start : start + step]
        _gather(rows_in, piece.reshape(-1), by_row[: piece.size])
        out[start : start + step] = F.linear(gathered[: len(piece)], weight, bias)
    return out


def take_rows(x: Float[Tensor, "n c"], index: Int64[Tensor, " m"]) -> Float[Tensor, "m c"]:
    """Rows by index; index `n` is a row of zeros."""
    if not _by_hand(x):
        return torch.cat([x, x.new_zeros(1, x.shape[1])])[index]
    out: Tensor = _TakeRows.apply(x, index)
    return out


def neighbour_table(
    row_map: Int64[Tensor, " cells"],
    nowhere: int,
    out: Int64[Tensor, " m"],
    sides: tuple[int, int, int, int, int, int, int],
) -> Int64[Tensor, "m taps"]:
    """Rows under each tap of a kernel, on a CPU.

    Args:
        row_map: Row of each cell of the input's whole map.
        nowhere: What stands for a row of zeros: how many rows there are.
        out: Flat index of each output cell in its own whole map.
        sides: Height and width of the input, of the output; kernel, stride, zeros before.
    """
    kernel = sides[4]
    table = torch.empty((len(out), kernel * kernel), dtype=torch.int64)
    _neighbours(row_map.numpy(), nowhere, out.numpy(), sides, table.numpy())
    return table


class _TakeRows(torch.autograd.Function):
    # index_select needs a copy of x with the row of zeros, and its backward sorts; two plain loops
    # do better.

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = len(x)
        out = torch.empty((len(index), x.shape[1]))
        _gather(x.detach().contiguous().numpy(), index.numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        back = torch.zeros((ctx.rows, grads[0].shape[1]))
        _scatter_add(grads[0].contiguous().numpy(), index.numpy(), back.numpy())
        return back, None


class _DepthwiseRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, by_tap: Tensor, bias: Tensor | None, table: Tensor) -> Tensor:
        x, by_tap = x.detach().contiguous(), by_tap.detach().contiguous()
        ctx.save_for_backward(x, by_tap, table)
        ctx.biased = bias is not None
        start = x.new_zeros(x.shape[1]) if bias is None else bias.detach()
        out = torch.empty((len(table), x.shape[1]))
        _depthwise(x.numpy(), by_tap.numpy(), start.numpy(), table.numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, by_tap, table = ctx.saved_tensors
        back, back_weight = torch.zeros_like(x), torch.zeros_like(by_tap)
        _depthwise_back(
            x.numpy(),
            by_tap.numpy(),
            table.numpy(),
            grads[0].contiguous().numpy(),
            back.numpy(),
            back_weight.numpy(),
        )
        return back, back_weight, grads[0].sum(0) if ctx.biased else None, None


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _neighbours(
    row_map: Int64[np.ndarray, " cells"],
    nowhere: int,
    out: Int64[np.ndarray, " m"],
    sides: tuple[int, int, int, int, int, int, int],
    table: Int64[np.ndarray, "m taps"],
) -> None:
    h, w, oh, ow, kernel, stride, pad = sides
    for m in range(len(out)):
        frame, rest = divmod(out[m], oh * ow)
        y0, x0 = rest // ow * stride - pad, rest % ow * stride - pad
        for dy in range(kernel):
            for dx in range(kernel):
                y, x = y0 + dy, x0 + dx
                inside = 0 <= y < h and 0 <= x < w
                table[m, dy * kernel + dx] = row_map[(frame * h + y) * w + x] if inside else nowhere


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _gather(
    x: Float32[np.ndarray, "n c"], index: Int64[np.ndarray, " m"], out: Float32[np.ndarray, "m c"]
) -> None:
    for m in range(len(index)):
        if index[m] < len(x):
            out[m] = x[index[m]]
        else:
            out[m] = 0.0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _scatter_add(
    grad: Float32[np.ndarray, "m c"],
    index: Int64[np.ndarray, " m"],
    out: Float32[np.ndarray, "n c"],
) -> None:
    for m in range(len(index)):
        if index[m] < len(out):
            row, g = out[index[m]], grad[m]
            for c in range(len(g)):
                row[c] += g[c]


@numba.njit(cache=True, fastmath=True, nogil=True)  # type: ignore[untyped-decorator]
def _depthwise(
    x: Float32[np.ndarray, "n c"],
    weight: Float32[np.ndarray, "taps c"],
    start: Float32[np.ndarray, " c"],
    table: Int64[np.ndarray, "m taps"],
    out: Float32[np.ndarray, "m c"],
) -> None:
    # One output row stays in the first-level cache while its taps are added up: no gathered copy
    # is ever written.
    n, channels = x.shape
    for m in range(table.shape[0]):
        row = out[m]
        for c in range(channels):
            row[c] = start[c]
        for t in range(table.shape[1]):
            source = table[m, t]
            if source < n:
                w, v = weight[t], x[source]
                for c in range(channels):
                    row[c] += w[c] * v[c]


@numba.njit(cache=True, fastmath=True, nogil=True)  # type: ignore[untyped-decorator]
def _depthwise_back(
    x: Float32[np.ndarray, "n c"],
    weight: Float32[np.ndarray, "taps c"],
    table: Int64[np.ndarray, "m taps"],
    grad: Float32[np.ndarray, "m c"],
    back: Float32[np.ndarray, "n c"],
    back_weight: Float32[np.ndarray, "taps c"],
) -> None:
    # Two loops over the taps, not one: with four arrays in it the compiler gives up on vector
    # instructions (7 times slower).
    n, channels = x.shape
    for m in range(table.shape[0]):
        g = grad[m]
        for t in range(table.shape[1]):
            source = table[m, t]
            if source < n:
                w, row = weight[t], back[source]
                for c in range(channels):
                    row[c] += w[c] * g[c]
        for t in range(table.shape[1]):
            source = table[m, t]
            if source < n:
                v, row = x[source], back_weight[t]
                for c in range(channels):
                    row[c] += v[c] * g[c]
