"""Deltas behind what they are told against read the same as whole payloads."""

from __future__ import annotations

import numpy as np
import pytest

from sparsight.codec.chain import CHAIN_MAX, MAGIC, Reader, join, sent_bytes, whole_of
from sparsight.codec.parts import check_of
from sparsight.codec.payload import CodedFrame, PayloadLimits, encode
from sparsight.codec.reuse import encode_delta
from sparsight.errors import PayloadError

from .frames import BUNDLE, assert_same, some_frame, some_tables
from .test_reuse import moved

TABLES = some_tables()


def chain(deltas: int) -> tuple[list[CodedFrame], list[bytes], list[int]]:
    """Frames, their payloads, each joined to the one before, and the sizes of what was sent."""
    frames = [some_frame(TABLES, (32, 48), (12, 12), 4, 1, 0, halo=1)]
    payloads = [encode(frames[0], TABLES, BUNDLE)]
    sizes = [len(payloads[0])]
    for i in range(deltas):
        frame = moved(frames[-1], 5, i)
        delta = encode_delta(frame, frames[-1], check_of(payloads[-1]), TABLES)
        assert delta is not None
        frames.append(frame)
        payloads.append(join(payloads[-1], delta))
        sizes.append(len(delta))
    return frames, payloads, sizes


def test_every_link_is_read_back_in_any_order() -> None:
    frames, payloads, sizes = chain(CHAIN_MAX)
    forgetful, reader = Reader(TABLES, remembered=1), Reader(TABLES)
    for i in np.random.default_rng(0).permutation(len(frames)):
        assert_same(reader.read(payloads[i]), frames[i])
        assert_same(forgetful.read(payloads[i]), frames[i])
        assert whole_of(payloads[i]) == payloads[0]
        assert sent_bytes(payloads[i]) == sizes[i]


def test_a_reader_remembers_references_and_no_more_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames, payloads, _ = chain(4)
    reader = Reader(TABLES, remembered=2)
    reader.read(payloads[4])
    # Three and two are remembered; what a whole payload would be read by is not needed for four.
    monkeypatch.setattr("sparsight.codec.chain.decode", None)
    assert_same(reader.read(payloads[4]), frames[4])
    with pytest.raises(TypeError):
        reader.read(payloads[1])


def test_too_long_a_chain_is_refused_before_it_is_read() -> None:
    _, payloads, _ = chain(CHAIN_MAX)
    longer = join(payloads[-1], b"whatever")
    for read in (Reader(TABLES).read, whole_of):
        with pytest.raises(PayloadError, match=f"at most {CHAIN_MAX} deltas"):
            read(longer)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (MAGIC, "too few for any"),
        (MAGIC + b"\1\xff\xff\xff\xff", "a reference of 4294967295 bytes in 9"),
        (MAGIC + b"\2\0\0\0\0", "joined by version 2"),
        (MAGIC + b"\1\0\0\0\0", "too few for any"),
        (MAGIC + b"\1\4\0\0\0nono", "too few for any"),
    ],
)
def test_what_is_no_chain_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(PayloadError, match=says):
        Reader(TABLES).read(data)


def test_a_damaged_reference_is_noticed_and_not_remembered() -> None:
    frames, payloads, _ = chain(2)
    reader = Reader(TABLES)
    for i in range(len(payloads[2])):
        damaged = bytearray(payloads[2])
        damaged[i] ^= 16
        with pytest.raises(PayloadError):
            reader.read(bytes(damaged))
    assert_same(reader.read(payloads[2]), frames[2])


def test_limits_hold_for_every_part() -> None:
    _, payloads, sizes = chain(1)
    limits = PayloadLimits(bytes_max=sizes[0] - 1)
    with pytest.raises(PayloadError, match=f"at most {sizes[0] - 1} bytes"):
        Reader(TABLES, limits).read(payloads[1])
    limits = PayloadLimits(bytes_max=sizes[1] - 1)
    with pytest.raises(PayloadError, match=f"at most {sizes[1] - 1} bytes"):
        Reader(TABLES, limits).read(payloads[1])


def test_bytes_that_are_none_of_ours_were_all_sent() -> None:
    for data in (b"", b"xyz", MAGIC, MAGIC + bytes(5)):
        assert sent_bytes(data) == len(data) - (9 if len(data) == 9 else 0)
