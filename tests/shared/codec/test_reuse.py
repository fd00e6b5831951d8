"""A frame told by what changed is the very frame, and anything else is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsight.codec.parts import check_of, leb128, with_check
from sparsight.codec.payload import CodedFrame, encode
from sparsight.codec.reuse import MAGIC, VERSION, decode_delta, encode_delta
from sparsight.codec.tables import Tables
from sparsight.codec.zones import HALO, UNTOLD
from sparsight.errors import PayloadError
from sparsight.geometry import ALIGN_CELLS

from .frames import BUNDLE, any_tables, assert_same, frames_of, some_frame, some_tables

TABLES = some_tables()
REFERENCE = some_frame(TABLES, (64, 96), (16, 16), 6, 0, 1, halo=1)
CHECK = check_of(encode(REFERENCE, TABLES, BUNDLE))


def delta_of(frame: CodedFrame, reference: CodedFrame = REFERENCE, check: int = CHECK) -> bytes:
    delta = encode_delta(frame, reference, check, TABLES)
    assert delta is not None
    return delta


def moved(frame: CodedFrame, cells: int, seed: int = 0) -> CodedFrame:
    """The frame with other latents in some told cells."""
    rng = np.random.default_rng(seed)
    latents = frame.latents.copy()
    latents[:, rng.choice(latents.shape[1], cells, replace=False)] ^= 1
    return replace(frame, latents=latents)


def remarked(frame: CodedFrame, other: CodedFrame) -> CodedFrame:
    """The frame with the marks of another one where both have patches."""
    marks = frame.marks & ~other.union() | other.marks & frame.union()
    bare = replace(frame, marks=marks)
    count = int((bare.zones() != UNTOLD).sum())
    rng = np.random.default_rng(7)
    return replace(bare, latents=rng.integers(-3, 4, (TABLES.channels, count)).astype(np.int8))


@st.composite
def beside(draw: st.DrawFn, tables: Tables, reference: CodedFrame) -> CodedFrame:
    """Any frame of the reference's kind, most of it as there."""
    grid = reference.grid_hw[0] // ALIGN_CELLS, reference.grid_hw[1] // ALIGN_CELLS
    every = [(y * ALIGN_CELLS, x * ALIGN_CELLS) for y in range(grid[0]) for x in range(grid[1])]
    old = [(int(y), int(x)) for y, x in reference.origins_yx]
    origins = draw(st.lists(st.sampled_from([*every, *4 * old]), unique=True, min_size=1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    frame = replace(reference, origins_yx=np.array(origins, np.int32).reshape(-1, 2))
    flipped = rng.random(frame.grid_hw) < draw(st.sampled_from([0, 0.01, 0.5]))
    frame = replace(frame, marks=(reference.marks ^ flipped) & frame.union())
    told, told_before = frame.zones() != UNTOLD, reference.zones() != UNTOLD
    latents = np.zeros((*told.shape, tables.channels), np.int8)
    latents[told_before] = reference.latents.T
    other = rng.random(told.shape) < draw(st.sampled_from([0, 0.05, 1]))
    latents[other] = rng.integers(-128, 128, (int(other.sum()), tables.channels))
    return replace(frame, latents=latents[told].T.copy())


@given(data=st.data(), seed=st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_any_frame_against_any_other_is_read_back(data: st.DataObject, seed: int) -> None:
    tables = any_tables(seed)
    reference = data.draw(frames_of(tables))
    frame = data.draw(beside(tables, reference))
    delta = encode_delta(frame, reference, 5, tables)
    assert delta is not None
    assert_same(decode_delta(delta, reference, 5, tables), frame)


@given(seed=st.integers(0, 2**20), cells=st.integers(0, 40), other=st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_a_frame_that_changed_a_little_is_read_back(seed: int, cells: int, other: int) -> None:
    patches = some_frame(TABLES, (64, 96), (16, 16), 6, 0, other, halo=1)
    for frame in (
        moved(REFERENCE, cells, seed),
        remarked(REFERENCE, patches),
        patches,
        some_frame(TABLES, (64, 96), (16, 16), 5, 0, 1, halo=1),
    ):
        assert_same(decode_delta(delta_of(frame), REFERENCE, CHECK, TABLES), frame)


def test_the_same_frame_takes_next_to_nothing_and_a_change_takes_its_share() -> None:
    whole = len(encode(REFERENCE, TABLES, BUNDLE))
    assert len(delta_of(REFERENCE)) < 60 < 0.05 * whole
    few = len(delta_of(moved(REFERENCE, 3)))
    assert 60 < few < 0.15 * whole
    assert len(delta_of(moved(REFERENCE, 60))) > 3 * few


def test_a_change_in_the_halo_is_told() -> None:
    zones = REFERENCE.zones()
    halo = np.flatnonzero((zones == HALO)[zones != UNTOLD])
    assert len(halo)
    latents = REFERENCE.latents.copy()
    latents[0, halo[0]] ^= 1
    frame = replace(REFERENCE, latents=latents)
    assert_same(decode_delta(delta_of(frame), REFERENCE, CHECK, TABLES), frame)
    assert len(delta_of(frame)) > len(delta_of(REFERENCE))


def test_frames_that_are_not_of_a_kind_are_told_whole() -> None:
    for other in (
        replace(REFERENCE, rate=1),
        replace(REFERENCE, halo=2),
        some_frame(TABLES, (64, 128), (16, 16), 6, 0, 1, halo=1),
        some_frame(TABLES, (64, 96), (12, 16), 6, 0, 1, halo=1),
        some_frame(TABLES, (64, 96), (16, 16), 0, 0, 1, halo=1),
    ):
        assert encode_delta(other, REFERENCE, CHECK, TABLES) is None


def test_another_reference_is_noticed() -> None:
    other = some_frame(TABLES, (64, 96), (16, 16), 6, 0, 2, halo=1)
    check = check_of(encode(other, TABLES, BUNDLE))
    with pytest.raises(PayloadError, match="against another frame"):
        decode_delta(delta_of(REFERENCE), other, check, TABLES)


def test_damage_is_noticed_wherever_it_is() -> None:
    delta = delta_of(moved(REFERENCE, 4))
    for i in range(len(delta)):
        damaged = bytearray(delta)
        damaged[i] ^= 1 << i % 8
        for data in (bytes(damaged), delta[:i]):
            with pytest.raises(PayloadError):
                decode_delta(data, REFERENCE, CHECK, TABLES)


def test_what_is_made_up_is_refused_or_is_a_frame() -> None:
    rng = np.random.default_rng(3)
    delta = delta_of(moved(REFERENCE, 20))
    refused = 0
    for _ in range(400):
        forged = bytearray(delta[:-4])
        for i in rng.integers(9, len(forged), rng.integers(1, 4)):
            forged[i] = rng.integers(0, 256)
        try:
            frame = decode_delta(with_check(bytes(forged)), REFERENCE, CHECK, TABLES)
        except PayloadError:
            refused += 1
        else:
            encode(frame, TABLES, BUNDLE)  # which checks that it is sound
    assert refused > 350


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (leb128([2**31]), "at most 384 patches"),
        (leb128([2, 384]) + bytes(20), "outside the frame"),
        (leb128([3, 5, 5]) + bytes(20), "the same patch twice"),
        (leb128([1]) + bytes(20), "without patches is told whole"),
        (leb128([0, 2**32 - 1]) + bytes(20), "4294967295 words make"),
        (leb128([0, 6]) + bytes(20), "no coder ends in"),
        (b"\xff" * 20, "more than 32 bits"),
    ],
)
def test_bounds_are_looked_at_first(body: bytes, says: str) -> None:
    head = MAGIC + bytes([VERSION]) + CHECK.to_bytes(4, "little")
    with pytest.raises(PayloadError, match=says):
        decode_delta(with_check(head + body), REFERENCE, CHECK, TABLES)


def test_a_later_version_is_refused_by_name() -> None:
    delta = delta_of(REFERENCE)
    with pytest.raises(PayloadError, match="version 1, got b'SPYD' of 2"):
        decode_delta(with_check(MAGIC + b"\2" + delta[5:-4]), REFERENCE, CHECK, TABLES)
    with pytest.raises(PayloadError, match="expected a delta"):
        decode_delta(encode(REFERENCE, TABLES, BUNDLE), REFERENCE, CHECK, TABLES)
