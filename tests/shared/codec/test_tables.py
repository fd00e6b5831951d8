"""Tables: integers that both ends read from one file, and no others are read."""

import tokenize
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsight.codec.bank import ROWS
from sparsight.codec.context import Context
from sparsight.codec.marks import CONTEXTS
from sparsight.codec.rans import TOTAL
from sparsight.codec.tables import FILE_BYTES_MAX, RAW_ROW, Tables
from sparsight.codec.zones import ZONES
from sparsight.errors import BundleError, UsageError

from .frames import NOTHING, any_tables, some_context, some_tables

EVEN = np.ones((CONTEXTS, 2), np.int64)
NET = [one.name for one in fields(Context)]


@pytest.mark.parametrize("seed", range(12))
def test_tables_that_pass_the_check_are_whole(seed: int) -> None:
    tables = any_tables(seed)
    tables.check(Path("made"))
    coder = tables.coder
    assert coder is tables.coder
    assert coder.starts.shape == (RAW_ROW + 1 + ROWS, 257)
    assert (coder.starts[:, 0] == 0).all() and (coder.starts[:, -1] == TOTAL).all()
    assert set(np.diff(coder.starts[RAW_ROW])) == {TOTAL // 256}
    slots = np.arange(0, TOTAL, 64)
    for row, starts in zip(coder.slots, coder.starts, strict=True):
        symbols = row.astype(int)
        assert ((starts[symbols] <= slots) & (slots < starts[symbols + 1])).all()


def test_a_file_holds_them(tmp_path: Path) -> None:
    tables = some_tables()
    tables.save(tmp_path / "tables.npz")
    read = Tables.load(tmp_path / "tables.npz")
    for name in ("bank", "ones"):
        np.testing.assert_array_equal(getattr(read, name), getattr(tables, name), strict=True)
    for got, want in zip(read.contexts, tables.contexts, strict=True):
        for name in NET:
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name), strict=True)
    assert (tmp_path / "tables.npz").stat().st_size < 40_000


def arrays_of(tables: Tables) -> dict[str, Any]:
    nets = {name: np.stack([getattr(one, name) for one in tables.contexts]) for name in NET}
    return {"bank": tables.bank, "ones": tables.ones, **nets}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bank": np.zeros((ROWS, 256), np.int32)}, "other shapes"),
        ({"bank": np.zeros((ROWS, 255), np.uint16)}, "other shapes"),
        ({"bank": np.zeros((ROWS, 256), np.uint16)}, "sum to 16384"),
        ({"bank": np.tile(np.uint16(TOTAL) * (np.arange(256) == 9), (ROWS, 1))}, "sum to 16384"),
        ({"out": np.zeros((3, 5, 8), np.int16)}, "other shapes"),
        ({"out": np.zeros((0, 5, 2, 8), np.int16)}, "other shapes"),
        ({"out": np.zeros((3, 257, 2, 8), np.int16)}, "other shapes"),
        ({"own": np.zeros((3, 8, 2, 7), np.int16)}, "other shapes"),
        ({"units": np.zeros((3, ZONES, 8), np.uint8)}, "sums of over 32 bits"),
        ({"lift": np.full((3, ZONES, 5), 2**31 - 1, np.int32)}, "sums of over 32 bits"),
        ({"bias": np.full((3, ZONES, 2, 8), -(2**31), np.int32)}, "sums of over 32 bits"),
        ({"ones": np.zeros(16, np.uint16)}, "sum to 16384"),
        ({"ones": np.full(16, TOTAL, np.uint16)}, "sum to 16384"),
        ({"ones": np.array([None] * 16)}, "no tables of the entropy coder"),
        ({"ones": None}, "no tables of the entropy coder"),
    ],
)
def test_tables_that_no_coder_could_use_are_refused(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    file = tmp_path / "tables.npz"
    arrays = arrays_of(some_tables()) | change
    np.savez(
        file,
        **{
            k: v.astype(np.uint16) if k == "bank" and v.dtype == np.int64 else v
            for k, v in arrays.items()
            if v is not None
        },
    )
    with pytest.raises(BundleError, match=f"tables.npz: .*{says}"):
        Tables.load(file)


def test_weights_whose_sums_leave_32_bits_are_refused() -> None:
    net = some_context(64, hidden=160)
    assert net.is_sound()
    for name in ("around", "out", "own"):
        # Of 260 known latents and 64 of the cell even the largest fit; 160 hidden values don't.
        most = replace(net, **{name: np.full_like(getattr(net, name), 32767)})
        assert most.is_sound() == (name != "out")


@pytest.mark.parametrize("error", [SyntaxError("x"), tokenize.TokenError("x")])
def test_a_header_that_python_can_not_read_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    some_tables().save(tmp_path / "tables.npz")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(BundleError, match="no tables of the entropy coder"):
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
    for size in range(0, len(data), 97):
        file.write_bytes(data[:size])
        with pytest.raises(BundleError):
            Tables.load(file)


def test_a_damaged_file_is_refused_or_holds_tables_that_a_coder_can_use(tmp_path: Path) -> None:
    some_tables(1, 2).save(tmp_path / "whole.npz")
    data = (tmp_path / "whole.npz").read_bytes()
    file, refused = tmp_path / "tables.npz", 0
    rng = np.random.default_rng(0)
    places = range(0, len(data), 61)
    for at in places:
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(0, 8))
        file.write_bytes(damaged)
        try:
            _ = Tables.load(file).coder
        except BundleError:
            refused += 1
    assert refused > 0.7 * len(places)


def test_a_file_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "tables.npz"
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
        packed.open("out.npy", "w") as f,
    ):
        for _ in range(FILE_BYTES_MAX // (1 << 20) + 1):
            f.write(bytes(1 << 20))
    assert file.stat().st_size < 100_000
    with pytest.raises(BundleError, match="larger than any tables"):
        Tables.load(file)


def test_counts_of_another_kind_are_refused() -> None:
    nets = [some_context(2)]
    with pytest.raises(UsageError, match="expected counts of shape"):
        Tables.fit(nets, NOTHING, EVEN[1:])
    with pytest.raises(UsageError, match="expected counts of shape"):
        Tables.fit(nets, NOTHING[1:], EVEN)
    with pytest.raises(UsageError, match="negative"):
        Tables.fit(nets, NOTHING - 1, EVEN)
    with pytest.raises(UsageError, match="expected 0 to 2, got 3"):
        some_tables().context(3)
