"""Tables and frames to code: realistic ones, and any that may be, for hypothesis to draw from."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from hypothesis import strategies as st
from jaxtyping import Bool, Int8, Int16, Int64, UInt16

from sparsight.codec.bank import (
    ROWS,
    SCALE_LEAST,
    SCALES_PER_OCTAVE,
    SYMBOLS,
    fit_bank,
    quantised,
)
from sparsight.codec.context import BEFORE_YX, LOCATION_BITS, SCALE_BITS, Context, base_units
from sparsight.codec.latents import ToldCells
from sparsight.codec.marks import CONTEXTS, count_marks
from sparsight.codec.payload import CodedFrame
from sparsight.codec.rans import LOWEST
from sparsight.codec.tables import Tables
from sparsight.codec.zones import HALO_MAX, UNTOLD, ZONES
from sparsight.geometry import ALIGN_CELLS

BUNDLE = "0123456789abcdef" * 4
NOTHING = np.zeros((ROWS, SYMBOLS), np.int64)
"""Counts that leave a bank at its start."""

HEAD_BYTES = 21
"""Everything before the list of patches."""


def some_context(channels: int, seed: int = 0, hidden: int = 5, steps: float = 1.0) -> Context:
    """A net of any weights, that expects a few wide channels and many narrow ones."""
    rng = np.random.default_rng(seed)
    wide = 12 / (1 + np.arange(channels)) ** 0.9 / steps
    rows = SCALES_PER_OCTAVE * np.log2(np.maximum(wide, SCALE_LEAST) / SCALE_LEAST)
    bias = np.zeros((ZONES, 2, channels), np.int32)
    bias[:, 0] = rng.normal(0, 1 << LOCATION_BITS, (ZONES, channels))
    bias[:, 1] = rows * (1 << SCALE_BITS)

    def weights(deviation: float, *shape: int) -> Int16[np.ndarray, "..."]:
        return rng.normal(0, deviation, shape).astype(np.int16)

    return Context(
        around=weights(80, len(BEFORE_YX), channels + 1, hidden),
        lift=rng.normal(0, 2000, (ZONES, hidden)).astype(np.int32),
        out=weights(20, hidden, 2, channels),
        own=weights(600, channels, 2, channels) // np.array([1, 40], np.int16)[:, None],
        bias=bias,
        units=base_units(
            np.array([[1.0], [1.5], [2.6], [4.0]]) * rng.uniform(0.9, 1.1, (ZONES, channels))
        ),
    )


def still_context(channels: int, row: int) -> Context:
    """A net in which nothing tells anything: every latent is expected at 0, in one row."""
    net = some_context(channels)
    bias = np.zeros_like(net.bias)
    bias[:, 1] = row << SCALE_BITS
    silent = {name: np.zeros_like(getattr(net, name)) for name in ("around", "lift", "out", "own")}
    return replace(net, bias=bias, **silent)


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
    """Tables of some nets, a start of a bank, and many counted marks."""
    marks = sum(count_marks(blobs(64, 96, i), np.ones((64, 96), np.bool_)) for i in range(4))
    assert not isinstance(marks, int)
    contexts = [some_context(channels, r, steps=2.0**r) for r in range(rates)]
    return tables_of(contexts, marks)


def tables_of(contexts: Sequence[Context], marks: Int64[np.ndarray, "contexts 2"]) -> Tables:
    """Tables of some nets and counted marks, sooner than `Tables.fit` makes them."""
    ones = np.array([quantised(pair)[1] for pair in marks], np.uint16)
    return Tables(a_bank(0), tuple(contexts), ones)


def some_frame(
    tables: Tables,
    grid_hw: tuple[int, int] = (32, 48),
    patch_hw: tuple[int, int] = (12, 12),
    patches: int = 4,
    rate: int = 0,
    seed: int = 0,
    halo: int = 0,
) -> CodedFrame:
    """A frame whose latents are as likely as the tables say."""
    rng = np.random.default_rng(seed)
    fields_w = grid_hw[1] // ALIGN_CELLS
    fields = rng.choice(grid_hw[0] // ALIGN_CELLS * fields_w, patches, replace=False)
    origins = np.stack((fields // fields_w, fields % fields_w), 1).astype(np.int32) * ALIGN_CELLS
    none = np.zeros((tables.channels, 0), np.int8)
    bare = CodedFrame(rate, halo, grid_hw, patch_hw, origins, np.zeros(grid_hw, np.bool_), none)
    marked = replace(bare, marks=blobs(*grid_hw, seed) & bare.union())
    latents = drawn_latents(ToldCells.of(marked.zones()), tables, rate, rng)
    return replace(marked, latents=latents.T.copy())


def drawn_latents(
    cells: ToldCells, tables: Tables, rate: int, rng: np.random.Generator
) -> Int8[np.ndarray, "n k"]:
    """What a decoder makes of endless words by chance: latents as likely as the tables say."""
    latents = np.zeros((len(cells.zones), tables.channels), np.int8)
    words = rng.integers(0, 1 << 16, 2 * latents.size + 1000).astype(np.uint16)
    states = np.full(2, LOWEST, np.int64) + rng.integers(0, 1 << 16, 2)
    assert cells.pull(words, states, 0, 0, tables.contexts[rate], tables.coder, latents) >= 0
    return latents


def sealed(body: bytes) -> bytes:
    """A payload with a checksum that fits."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def assert_same(a: CodedFrame, b: CodedFrame) -> None:
    """Every field of both, types included."""
    assert (a.rate, a.halo) == (b.rate, b.halo)
    assert (a.grid_hw, a.patch_hw) == (b.grid_hw, b.patch_hw)
    for x, y in ((a.origins_yx, b.origins_yx), (a.marks, b.marks), (a.latents, b.latents)):
        np.testing.assert_array_equal(x, y, strict=True)


def any_tables(seed: int) -> Tables:
    """Nets of any weights that pass the check, and one of a few banks."""
    rng = np.random.default_rng(seed)
    rates, channels, hidden = rng.integers(1, [3, 5, 7])
    most = int(rng.choice([10, 300, 32767]))

    def weights(*shape: int) -> Int16[np.ndarray, "..."]:
        return rng.integers(-most, most + 1, shape).astype(np.int16)

    contexts = [
        Context(
            around=weights(len(BEFORE_YX), channels + 1, hidden),
            lift=rng.integers(-(10**6), 10**6, (ZONES, hidden)).astype(np.int32),
            out=weights(hidden, 2, channels),
            own=weights(channels, 2, channels),
            bias=rng.integers(-(10**5), 10**5, (ZONES, 2, channels)).astype(np.int32),
            units=rng.integers(1, 256, (ZONES, channels)).astype(np.uint8),
        )
        for _ in range(rates)
    ]
    marks = rng.integers(0, 10 ** rng.integers(1, 7), (CONTEXTS, 2))
    ones = np.array([quantised(pair)[1] for pair in marks], np.uint16)
    return Tables(a_bank(int(rng.choice([0, 1, 10**6]))), tuple(contexts), ones)


@cache
def a_bank(weight: int) -> UInt16[np.ndarray, "rows 256"]:
    """From logistic distributions to nearly even ones."""
    return fit_bank(weight * np.random.default_rng(0).integers(0, 9, (ROWS, SYMBOLS)))


@st.composite
def frames_of(draw: st.DrawFn, tables: Tables) -> CodedFrame:
    """Any frame; latents that the tables hold for unlikely too."""
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
    halo = draw(st.sampled_from([0, 1, 20, HALO_MAX]))
    bare = CodedFrame(rate, halo, grid_hw, patch_hw, origins, np.zeros(grid_hw, np.bool_), none)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    most = draw(st.sampled_from([1, 8, 128]))
    share = draw(st.sampled_from([0, 0.1, 0.5, 1]))
    marked = replace(bare, marks=(rng.random(grid_hw) < share) & bare.union())
    shape = (tables.channels, int((marked.zones() != UNTOLD).sum()))
    return replace(marked, latents=rng.integers(-most, most, shape).astype(np.int8))
