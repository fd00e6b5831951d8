"""Payloads: what goes in comes out, in the bytes that the drawing says, and few of them."""

import dataclasses
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsight.codec import reference
from sparsight.codec.payload import (
    VERSION,
    CodedFrame,
    Header,
    PayloadLimits,
    coded_symbols,
    decode,
    encode,
    peek,
)
from sparsight.codec.rans import TOTAL
from sparsight.errors import PayloadError, UsageError

from .frames import (
    BUNDLE,
    any_tables,
    assert_same,
    frames_of,
    sealed,
    some_frame,
    some_tables,
)

TABLES = some_tables()


def empty_frame(rate: int = 0) -> CodedFrame:
    return CodedFrame(
        rate=rate,
        halo=5,
        grid_hw=(24, 40),
        patch_hw=(12, 16),
        origins_yx=np.zeros((0, 2), np.int32),
        marks=np.zeros((24, 40), np.bool_),
        latents=np.zeros((TABLES.channels, 0), np.int8),
    )


@given(st.data(), st.integers(0, 2**32))
@settings(max_examples=50)
def test_every_field_comes_back_and_plain_python_agrees(data: st.DataObject, seed: int) -> None:
    tables = any_tables(seed)
    frame = data.draw(frames_of(tables))
    coded = encode(frame, tables, BUNDLE)
    assert_same(decode(coded, tables), frame)
    assert reference.encode(frame, tables, BUNDLE) == coded
    assert_same(reference.decode(coded, tables), frame)


def test_an_empty_frame_is_27_bytes_as_drawn() -> None:
    body = (
        b"SPYL"
        + bytes([VERSION])
        + bytes.fromhex(BUNDLE[:16])
        + bytes([2, 5])
        + struct.pack("<HH", 24 // 4, 40 // 4)
        + bytes([12 // 4, 16 // 4])
        + bytes([0, 0])
    )
    assert encode(empty_frame(2), TABLES, BUNDLE) == sealed(body)
    assert len(sealed(body)) == 27
    assert_same(decode(sealed(body), TABLES), empty_frame(2))


def test_a_payload_says_what_it_is_before_it_is_decoded() -> None:
    frame = some_frame(TABLES, rate=1, halo=7)
    data = encode(frame, TABLES, BUNDLE)
    head = peek(data)
    assert head == Header(
        bundle_prefix=BUNDLE[:16],
        rate=1,
        halo=7,
        grid_hw=(32, 48),
        patch_hw=(12, 12),
        patches=4,
        fields_at=22,
        words=head.words,
    )
    # The list of patches, a byte each on this map; the words' number; states, words, checksum.
    assert head.words.at == 22 + 4 + 2
    assert len(data) == head.words.at + 8 + 2 * head.words.count + 4


@pytest.mark.parametrize("rate", [0, 1, 2, 3])
def test_a_payload_is_within_a_percent_of_its_entropy(rate: int) -> None:
    # As a frame of 1536x864 px with a third of it kept.
    tables = some_tables(4, 64)
    frame = some_frame(tables, (108, 192), (12, 12), 60, rate, halo=1)
    union = frame.union()
    symbols, rows = coded_symbols(frame, tables)
    starts = tables.coder.starts
    bits = -np.log2((starts[rows, symbols + 1] - starts[rows, symbols]) / TOTAL).sum()
    data = encode(frame, tables, BUNDLE)
    head = peek(data)
    list_bytes = head.words.at - head.fields_at
    assert 0.25 < union.mean() < 0.4
    assert len(symbols) < 1.001 * (union.sum() + frame.latents.size)  # escapes are rare
    assert 2 * head.words.count + 8 <= 1.002 * bits / 8
    assert len(data) - list_bytes <= 1.01 * bits / 8
    assert list_bytes <= 2 * 60 + 3
    assert_same(decode(data, tables), frame)


def test_the_same_bytes_whatever_else_was_coded_before() -> None:
    frames = [some_frame(TABLES, seed=i, rate=i % 3) for i in range(6)]
    alone = [encode(frame, some_tables(), BUNDLE) for frame in frames]
    assert [encode(frame, TABLES, BUNDLE) for frame in frames[::-1]] == alone[::-1]


def test_a_newer_version_is_told_from_damage() -> None:
    data = bytearray(encode(some_frame(TABLES), TABLES, BUNDLE))
    data[4] = VERSION + 1
    for newer in (bytes(data), sealed(bytes(data[:-4]))):
        with pytest.raises(PayloadError, match="version 4, this program reads 3; update the older"):
            decode(newer, TABLES)


def test_another_bundle_is_named_so_that_a_reader_can_choose_its_tables() -> None:
    other = "fedcba9876543210" * 4
    data = encode(some_frame(TABLES), TABLES, other)
    assert peek(data).bundle_prefix == other[:16]


def test_a_rate_that_the_bundle_has_not() -> None:
    data = encode(empty_frame(2), TABLES, BUNDLE)
    with pytest.raises(PayloadError, match="rate 2, the bundle has 2"):
        decode(data, some_tables(2))


def test_a_reader_may_put_up_with_less() -> None:
    data = encode(some_frame(TABLES), TABLES, BUNDLE)
    for limits, says in (
        (PayloadLimits(bytes_max=len(data) - 1), f"at most {len(data) - 1} bytes"),
        (PayloadLimits(cells_max=32 * 48 - 1), "a map of 1 to 1535 cells, got 32x48"),
        (PayloadLimits(patches_max=3), "at most 3 patches on this map, got 4"),
    ):
        with pytest.raises(PayloadError, match=says):
            decode(data, TABLES, limits)
    decode(data, TABLES, PayloadLimits(len(data), 32 * 48, 4))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rate": 3}, "expected 0 to 2, got 3"),
        ({"grid_hw": (30, 48)}, "in multiples of 4 cells"),
        ({"patch_hw": (0, 12)}, "in multiples of 4 cells"),
        ({"patch_hw": (1024, 12)}, "of patches at most 1020"),
        ({"grid_hw": (1 << 11, 1 << 10)}, "at most 1048576 cells"),
        ({"origins_yx": np.array([[0, 2]], np.int32)}, "aligned"),
        ({"origins_yx": np.array([[32, 0]], np.int32)}, "inside the map"),
        ({"origins_yx": np.array([[-4, 0]], np.int32)}, "inside the map"),
        ({"origins_yx": np.array([[0, 4], [0, 4]], np.int32)}, "each at its own"),
        ({"marks": np.ones((32, 48), np.bool_)}, "marks lie inside the patches"),
        ({"marks": np.zeros((32, 44), np.bool_)}, "marks lie inside the patches"),
        ({"latents": np.zeros((8, 7), np.int8)}, "expected latents of 8 channels"),
        ({"latents": np.zeros((7, 1), np.int8)}, "expected latents of 8 channels"),
    ],
)
def test_a_frame_that_no_reader_would_take_is_not_coded(changes: dict[str, Any], says: str) -> None:
    frame = dataclasses.replace(some_frame(TABLES), **changes)
    with pytest.raises(UsageError, match=says):
        encode(frame, TABLES, BUNDLE)


@pytest.mark.parametrize("name", ["", "abc", "0123456789abcde", "0123456789abcdeg" * 4])
def test_an_id_that_is_none(name: str) -> None:
    with pytest.raises(UsageError, match="bundle id: expected at least 16 hex digits"):
        encode(empty_frame(), TABLES, name)
