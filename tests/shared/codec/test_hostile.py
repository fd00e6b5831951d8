"""Bytes from strangers: one typed error or a sound frame, soon, and in little memory."""

import time
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from sparsight.codec.bank import MIDDLE
from sparsight.codec.payload import MAGIC, VERSION, CodedFrame, decode, encode, peek
from sparsight.codec.tables import Tables
from sparsight.errors import PayloadError

from .frames import (
    BUNDLE,
    HEAD_BYTES,
    NOTHING,
    assert_same,
    sealed,
    some_frame,
    some_tables,
    still_context,
)

TABLES = some_tables()
Mangle = Callable[[np.random.Generator, bytes], bytes]


def payloads() -> list[bytes]:
    frames = [some_frame(TABLES, (16, 24), (8, 8), i % 5, i % 3, i, i % 4) for i in range(8)]
    return [encode(frame, TABLES, BUNDLE) for frame in frames]


def head(
    grid: tuple[int, int] = (4, 6),
    patch: tuple[int, int] = (2, 2),
    version: int = VERSION,
    halo: int = 1,
) -> bytes:
    """The fixed part; sides in fields."""
    sides = b"".join(side.to_bytes(2, "little") for side in grid) + bytes(patch)
    return MAGIC + bytes([version]) + bytes.fromhex(BUNDLE[:16]) + bytes([0, halo]) + sides


def leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def noise(rng: np.random.Generator, data: bytes) -> bytes:
    return rng.bytes(int(rng.integers(0, 300)))


def noise_after_a_head(rng: np.random.Generator, data: bytes) -> bytes:
    return sealed(head() + rng.bytes(int(rng.integers(0, 200))))


def noise_as_a_list(rng: np.random.Generator, data: bytes) -> bytes:
    count = int(rng.integers(0, 5))
    fields = rng.permutation(24)[:count].tolist()
    words = int(rng.integers(0, 60)) if count else 0
    coded = rng.bytes(8 + 2 * words) if count else b""
    return sealed(head() + bytes([count, *fields, words]) + coded)


def cut(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: int(rng.integers(0, len(data)))]


def cut_and_sealed(rng: np.random.Generator, data: bytes) -> bytes:
    return sealed(data[: int(rng.integers(0, len(data) - 4))])


def flipped(rng: np.random.Generator, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        out[int(rng.integers(0, len(out)))] ^= 1 << int(rng.integers(0, 8))
    return bytes(out)


def flipped_and_sealed(rng: np.random.Generator, data: bytes) -> bytes:
    return sealed(flipped(rng, data[:-4]))


def flipped_in_the_coded_part(rng: np.random.Generator, data: bytes) -> bytes:
    at = peek(data).words.at
    return sealed(data[:at] + (flipped(rng, data[at:-4]) if at < len(data) - 4 else b""))


def spliced(rng: np.random.Generator, data: bytes) -> bytes:
    other = payloads_once[int(rng.integers(0, len(payloads_once)))]
    at = int(rng.integers(HEAD_BYTES, min(len(data), len(other)) - 4))
    return sealed(data[:at] + other[at:-4])


def grown(rng: np.random.Generator, data: bytes) -> bytes:
    return sealed(data[:-4] + rng.bytes(int(rng.integers(1, 30))))


payloads_once = payloads()
CASES = 1000


@pytest.mark.parametrize(
    ("mangle", "may_pass"),
    [
        (noise, False),
        (noise_after_a_head, True),
        (noise_as_a_list, True),
        (cut, False),
        (cut_and_sealed, False),
        (flipped, True),  # two flips of the same bit
        (flipped_and_sealed, True),
        (flipped_in_the_coded_part, True),
        (spliced, True),
        (grown, False),
    ],
)
def test_a_thousand_payloads_each(mangle: Mangle, may_pass: bool) -> None:
    rng = np.random.default_rng(7)
    passed = 0
    for i in range(CASES):
        data = mangle(rng, payloads_once[i % len(payloads_once)])
        try:
            frame = decode(data, TABLES)
        except PayloadError:
            continue
        passed += 1
        # Sound by the coder's own rules, and what it says can be said again.
        assert_same(decode(encode(frame, TABLES, BUNDLE), TABLES), frame)
    assert passed < 0.6 * CASES
    assert may_pass or passed == 0


def test_each_flipped_bit_is_found() -> None:
    for data in payloads_once[:3]:
        for at in range(len(data)):
            for bit in range(8):
                damaged = bytearray(data)
                damaged[at] ^= 1 << bit
                with pytest.raises(PayloadError):
                    peek(bytes(damaged))


def test_each_cut_is_found() -> None:
    for size in range(len(payloads_once[4])):
        with pytest.raises(PayloadError):
            decode(payloads_once[4][:size], TABLES)


def declared() -> Iterator[tuple[bytes, str]]:
    huge = (1 << 16) - 1
    yield head(halo=145) + b"\0\0", "a halo of 0 to 144 marks, got 145"
    yield head((huge, huge)) + b"\0\0", "a map of 1 to 1048576 cells, got 262140x262140"
    yield head((0, 6)) + b"\0\0", "a map of 1 to"
    yield head(patch=(0, 2)) + b"\0\0", "patches of at least a cell"
    yield head() + leb128(10**6) + b"\0", "at most 24 patches on this map, got 1000000"
    yield head() + leb128(2**32 - 1) + b"\0", "at most 24 patches"
    yield head((256, 256)) + leb128(60_000) + b"\0", "at most 16384 patches"
    yield head() + b"\xff" * 20, "a number of more than 32 bits"
    yield head() + b"\1" + leb128(24) + b"\0", "patch outside the frame, field 24 of 24"
    yield head() + b"\2\5\5\0" + b"\0\0\1\0" * 2, "the same patch twice"
    yield head() + b"\1\5" + leb128(2**32 - 1) + b"\0" * 8, "4294967295 words make"
    yield head() + b"\0" + leb128(2**31), "no patches, but 2147483648 words"
    yield head() + b"\1\5", "ends inside a number"
    yield head() + b"\1\5\0" + bytes(8), "states that no coder ends in"
    yield head() + b"\1\5\0" + b"\xff" * 8, "does not end where it should"


@pytest.mark.parametrize(("body", "says"), list(declared()))
def test_what_is_declared_is_checked_before_anything_is_allocated(body: bytes, says: str) -> None:
    data = sealed(body)
    with pytest.raises(PayloadError, match=says):  # compiles and caches what is to be
        decode(data, TABLES)
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError, match=says):
            decode(data, TABLES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000


def test_bytes_beyond_the_limit_are_not_even_summed() -> None:
    with pytest.raises(PayloadError, match="at most 8388608 bytes, got 8388609"):
        decode(bytes((8 << 20) + 1), TABLES)


def certain() -> Tables:
    """Tables by which any number of symbols costs next to nothing."""
    counts = NOTHING.copy()
    counts[:, MIDDLE] = 10**12
    return Tables.fit([still_context(64, 0)], counts, np.tile(np.array([10**9, 0]), (16, 1)))


def test_the_dearest_payload_of_few_bytes() -> None:
    # A map as large as may be, all of it kept, sixteen thousand times over.
    side, count = 256, 1 << 14
    fields = b"".join(leb128(field) for field in range(count))
    body = head((side, side), (255, 255)) + leb128(count) + fields
    states = (1 << 16).to_bytes(4, "little") * 2
    tables = certain()
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(PayloadError, match="does not end where it should"):
            decode(sealed(body + b"\0" + states), tables)
        took_s, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64e6
    assert took_s < 10


def test_a_sound_frame_of_the_largest_map() -> None:
    tables = certain()
    frame = CodedFrame(
        rate=0,
        halo=0,
        grid_hw=(1024, 1024),
        patch_hw=(1020, 1020),
        origins_yx=np.array([[0, 0], [4, 4], [0, 4], [4, 0]], np.int32),
        marks=np.zeros((1024, 1024), np.bool_),
        latents=np.zeros((64, 512 * 512), np.int8),
    )
    assert_same(decode(encode(frame, tables, BUNDLE), tables), frame)
