"""Tables and frames to code: realistic ones, and any that may be, for hypothesis to draw from."""

import zlib

import numpy as np
from hypothesis import strategies as st
from jaxtyping import Bool, Int64

from sparsight.codec.marks import CONTEXTS, count_marks
from sparsight.codec.payload import CodedFrame
from sparsight.codec.tables import SYMBOLS, Tables
from sparsight.geometry import ALIGN_CELLS

BUNDLE = "0123456789abcdef" * 4
HEAD_BYTES = 20
"""Everything before the list of patches."""


def laplace_counts(rates: int, channels: int, seed: int = 0) -> Int64[np.ndarray, "r k 256"]:
    """Counts as a transform coder has them: peaks at zero, a few wide channels, many narrow."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((rates, channels, SYMBOLS), np.int64)
    for r in range(rates):
        for k in range(channels):
            scale = 24 / (1 + k) ** 0.9 / 2**r
            values = rng.laplace(0, scale, 20_000).round().clip(-128, 127).astype(int)
            counts[r, k] = np.bincount(values + SYMBOLS // 2, minlength=SYMBOLS)
    return counts


def blobs(height: int, width: int, seed: int) -> Bool[np.ndarray, "h w"]:
    """Marks as heat leaves them: small discs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    out = np.zeros((height, width), np.bool_)
    for _ in range(height * width // 60):
        cy, cx, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.5, 2.5)
        out |= (y - cy) ** 2 + (x - cx) ** 2 < radius**2
    return out


def some_tables(rates: int = 3, channels: int = 8) -> Tables:
    """Tables of many counted frames."""
    marks = sum(count_marks(blobs(64, 96, i), np.ones((64, 96), np.bool_)) for i in range(4))
    assert not isinstance(marks, int)
    return Tables.fit(laplace_counts(rates, channels), marks)


def some_frame(
    tables: Tables,
    grid_hw: tuple[int, int] = (32, 48),
    patch_hw: tuple[int, int] = (12, 12),
    patches: int = 4,
    rate: int = 0,
    seed: int = 0,
) -> CodedFrame:
    """A frame whose latents are as likely as the tables say."""
    rng = np.random.default_rng(seed)
    fields_w = grid_hw[1] // ALIGN_CELLS
    fields = rng.choice(grid_hw[0] // ALIGN_CELLS * fields_w, patches, replace=False)
    origins = np.stack((fields // fields_w, fields % fields_w), 1).astype(np.int32) * ALIGN_CELLS
    none = np.zeros((tables.channels, 0), np.int8)
    bare = CodedFrame(rate, grid_hw, patch_hw, origins, np.zeros(grid_hw, np.bool_), none)
    union = bare.union()
    cells = int(union[::2, ::2].sum())
    shares = tables.freqs[rate] / tables.freqs[rate].sum(1, keepdims=True)
    latents = [
        rng.choice(SYMBOLS, cells, p=share) + low
        for share, low in zip(shares, tables.low[rate].astype(int), strict=True)
    ]
    marks = blobs(*grid_hw, seed) & union
    return CodedFrame(rate, grid_hw, patch_hw, origins, marks, np.array(latents, np.int8))


def sealed(body: bytes) -> bytes:
    """A payload with a checksum that fits."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def assert_same(a: CodedFrame, b: CodedFrame) -> None:
    """Every field of both, types included."""
    assert (a.rate, a.grid_hw, a.patch_hw) == (b.rate, b.grid_hw, b.patch_hw)
    for x, y in ((a.origins_yx, b.origins_yx), (a.marks, b.marks), (a.latents, b.latents)):
        np.testing.assert_array_equal(x, y, strict=True)


@st.composite
def any_tables(draw: st.DrawFn) -> Tables:
    """From even to certain, of any width."""
    rates, channels = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    counts = np.zeros((rates, channels, SYMBOLS), np.int64)
    for r in range(rates):
        for k in range(channels):
            first = draw(st.integers(0, SYMBOLS - 1))
            width = draw(st.one_of(st.just(1), st.integers(1, SYMBOLS - first)))
            rng = np.random.default_rng(draw(st.integers(0, 2**32)))
            power = draw(st.sampled_from([0, 1, 8]))
            counts[r, k, first : first + width] = 1 + 1000 * rng.random(width) ** power
            if draw(st.booleans()):
                counts[r, k, first] = 10**9
    marks = draw(
        st.lists(
            st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
            min_size=CONTEXTS,
            max_size=CONTEXTS,
        )
    )
    return Tables.fit(counts, np.array(marks, np.int64))


@st.composite
def frames_of(draw: st.DrawFn, tables: Tables) -> CodedFrame:
    """Any frame that these tables can code; symbols that they hold for unlikely too."""
    sides = st.integers(1, 6).map(lambda fields: fields * ALIGN_CELLS)
    grid_hw = (draw(sides), draw(sides))
    patch_hw = (draw(sides), draw(sides))
    fields_w = grid_hw[1] // ALIGN_CELLS
    every = list(range(grid_hw[0] // ALIGN_CELLS * fields_w))
    chosen = draw(st.lists(st.sampled_from(every), unique=True, max_size=6))
    fields = np.array(chosen, np.int32)
    origins = (np.stack((fields // fields_w, fields % fields_w), 1) * ALIGN_CELLS).astype(np.int32)
    rate = draw(st.integers(0, tables.rates - 1))
    none = np.zeros((tables.channels, 0), np.int8)
    bare = CodedFrame(rate, grid_hw, patch_hw, origins, np.zeros(grid_hw, np.bool_), none)
    union = bare.union()
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    low, high = (side.astype(int) for side in tables.limits(rate))
    shape = (tables.channels, int(union[::2, ::2].sum()))
    latents = rng.integers(low[:, None], high[:, None] + 1, shape).astype(np.int8)
    marks = (rng.random(grid_hw) < draw(st.sampled_from([0, 0.1, 0.5, 1]))) & union
    return CodedFrame(rate, grid_hw, patch_hw, origins, marks, latents)
