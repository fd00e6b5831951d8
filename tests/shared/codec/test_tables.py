"""Tables: integers that sum to 2**14, near what was counted, and no others are read."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import Int64

from sparsight.codec.marks import CONTEXTS
from sparsight.codec.rans import TOTAL
from sparsight.codec.tables import FILE_BYTES_MAX, SYMBOLS, Tables, quantised
from sparsight.errors import BundleError, UsageError

from .frames import any_tables, laplace_counts, some_tables

COUNTS = hnp.arrays(np.int64, st.integers(1, 256), elements=st.integers(0, 10**10))
EVEN = np.ones((CONTEXTS, 2), np.int64)


@given(COUNTS)
@example(np.array([10**9] + [1] * 255))  # many rare symbols beside a sure one
@settings(max_examples=60)
def test_frequencies_sum_to_two_to_the_fourteen(counts: Int64[np.ndarray, " n"]) -> None:
    freqs = quantised(counts)
    assert freqs.sum() == TOTAL
    assert freqs.min() >= 1
    np.testing.assert_array_equal(quantised(counts), freqs)
    order = np.argsort(counts, kind="stable")
    assert (np.diff(freqs[order]) >= -1).all()  # more often seen, not less likely


@pytest.mark.parametrize("rate", [0, 1, 2])
def test_integer_tables_cost_next_to_nothing(rate: int) -> None:
    for counts in laplace_counts(3, 16)[rate]:
        seen = counts[counts.nonzero()[0].min() : counts.nonzero()[0].max() + 1]
        share = seen / seen.sum()
        ideal = -(share[seen > 0] * np.log2(share[seen > 0])).sum()
        spent = -(share * np.log2(quantised(seen) / TOTAL)).sum()
        assert spent - ideal < 0.002 * ideal + 0.001


def test_supports_are_what_was_counted() -> None:
    counts = np.zeros((1, 3, SYMBOLS), np.int64)
    counts[0, 0, [128 - 5, 128 + 9]] = 4  # nothing between was seen: it can be coded all the same
    counts[0, 1, [0, 255]] = 1
    tables = Tables.fit(counts, EVEN)
    low, high = tables.limits(0)
    assert low.tolist() == [-5, -128, 0]  # a channel never seen is always zero
    assert high.tolist() == [9, 127, 0]
    assert {str(side.dtype) for side in (low, high)} == {"int8"}
    assert tables.freqs[0, 2].tolist() == [TOTAL] + [0] * 255
    assert tables.ones.tolist() == [TOTAL // 2] * CONTEXTS


@given(any_tables())
@settings(max_examples=40)
def test_what_is_fitted_passes_the_check(tables: Tables) -> None:
    tables.check(Path("fitted"))
    for rate in range(tables.rates):
        coder = tables.coder(rate)
        assert (coder.starts[:, 0] == 0).all() and (coder.starts[:, -1] == TOTAL).all()
        assert coder is tables.coder(rate)
        for row, starts in zip(coder.slots, coder.starts, strict=True):
            symbols = row.astype(int)
            slots = np.arange(TOTAL)
            assert ((starts[symbols] <= slots) & (slots < starts[symbols + 1])).all()


def test_a_file_holds_them(tmp_path: Path) -> None:
    tables = some_tables()
    tables.save(tmp_path / "tables.npz")
    read = Tables.load(tmp_path / "tables.npz")
    for name in ("low", "widths", "freqs", "ones"):
        np.testing.assert_array_equal(getattr(read, name), getattr(tables, name), strict=True)
    assert (tmp_path / "tables.npz").stat().st_size < 20_000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"low": np.zeros((3, 8), np.int16)}, "other shapes"),
        ({"low": np.zeros((0, 8), np.int8)}, "other shapes"),
        ({"widths": np.zeros((3, 8), np.uint16)}, "sum to 16384"),
        ({"widths": np.full((3, 8), 256, np.uint16)}, "sum to 16384"),
        ({"low": np.full((3, 8), 127, np.int8)}, "sum to 16384"),
        ({"freqs": np.zeros((3, 8, 256), np.uint16)}, "sum to 16384"),
        ({"freqs": np.zeros((3, 8, 255), np.uint16)}, "other shapes"),
        ({"ones": np.zeros(16, np.uint16)}, "sum to 16384"),
        ({"ones": np.full(16, TOTAL, np.uint16)}, "sum to 16384"),
        ({"ones": np.array([None] * 16)}, "no tables of the entropy coder"),
        ({"ones": None}, "no tables of the entropy coder"),
    ],
)
def test_tables_that_no_coder_could_use_are_refused(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    tables = some_tables()
    arrays = {name: getattr(tables, name) for name in ("low", "widths", "freqs", "ones")} | change
    file = tmp_path / "tables.npz"
    np.savez(file, **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(BundleError, match=f"tables.npz: .*{says}"):
        Tables.load(file)


def test_a_zero_frequency_inside_the_support_is_refused(tmp_path: Path) -> None:
    tables = some_tables()
    freqs = tables.freqs.copy()
    freqs[1, 2, 0] += freqs[1, 2, 1]
    freqs[1, 2, 1] = 0
    Tables(tables.low, tables.widths, freqs, tables.ones).save(tmp_path / "tables.npz")
    with pytest.raises(BundleError, match="sum to 16384"):
        Tables.load(tmp_path / "tables.npz")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", bytes(1000)])
def test_a_file_that_is_none(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "tables.npz"
    with pytest.raises(BundleError, match="no tables of the entropy coder"):
        Tables.load(file)
    file.write_bytes(data)
    with pytest.raises(BundleError, match="no tables of the entropy coder"):
        Tables.load(file)


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    some_tables(1, 2).save(tmp_path / "whole.npz")
    data = (tmp_path / "whole.npz").read_bytes()
    file = tmp_path / "tables.npz"
    for size in range(0, len(data), 7):
        file.write_bytes(data[:size])
        with pytest.raises(BundleError):
            Tables.load(file)


def test_a_damaged_file_is_refused_or_holds_tables_that_a_coder_can_use(tmp_path: Path) -> None:
    some_tables(1, 2).save(tmp_path / "whole.npz")
    data = (tmp_path / "whole.npz").read_bytes()
    file, refused = tmp_path / "tables.npz", 0
    rng = np.random.default_rng(0)
    places = range(0, len(data), 3)
    for at in places:
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(0, 8))
        file.write_bytes(damaged)
        try:
            Tables.load(file).coder(0)
        except BundleError:
            refused += 1
    assert refused > 0.7 * len(places)


def test_a_file_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "tables.npz"
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
        packed.open("low.npy", "w") as f,
    ):
        for _ in range(FILE_BYTES_MAX // (1 << 20) + 1):
            f.write(bytes(1 << 20))
    assert file.stat().st_size < 100_000
    with pytest.raises(BundleError, match="larger than any tables"):
        Tables.load(file)


def test_counts_of_another_kind_are_refused() -> None:
    good = laplace_counts(1, 2)
    with pytest.raises(UsageError, match="expected counts of shape"):
        Tables.fit(good, EVEN[1:])
    with pytest.raises(UsageError, match="negative"):
        Tables.fit(-good, EVEN)
    with pytest.raises(UsageError, match="expected 0 to 2, got 3"):
        some_tables().limits(3)
