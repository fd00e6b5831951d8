"""Payloads of the version that is read say what they meant, and are written the same again."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from tests.shared.codec.frames import BUNDLE, assert_same

from sparsight.codec import reference
from sparsight.codec.parts import check_of
from sparsight.codec.payload import VERSION, CodedFrame, decode, encode, peek
from sparsight.codec.reuse import VERSION as DELTA_VERSION
from sparsight.codec.reuse import decode_delta, encode_delta
from sparsight.codec.tables import Tables

HERE = Path(__file__).parent
FOLDERS = sorted(HERE.glob("payload-v*"))
PAYLOADS = sorted(HERE.glob("payload-v*/*.payload"))
DELTAS = sorted(HERE.glob("delta-v*/*.delta"))


def meant(payload: Path) -> CodedFrame:
    with np.load(payload.with_suffix(".npz"), allow_pickle=False) as data:
        height, width = (int(side) for side in data["grid_hw"])
        patch_h, patch_w = (int(side) for side in data["patch_hw"])
        bits = np.unpackbits(data["marks"], count=height * width)
        return CodedFrame(
            rate=int(data["rate"]),
            halo=int(data["halo"]),
            grid_hw=(height, width),
            patch_hw=(patch_h, patch_w),
            origins_yx=data["origins_yx"],
            marks=bits.reshape(height, width).astype(np.bool_),
            latents=data["latents"],
        )


def test_there_are_some_of_the_version_that_is_read_and_they_are_small() -> None:
    assert [folder.name for folder in FOLDERS] == [f"payload-v{VERSION}"]
    assert len(PAYLOADS) >= 6
    assert sum(file.stat().st_size for file in HERE.rglob("*") if file.is_file()) < 100_000


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_golden(payload: Path) -> None:
    tables = Tables.load(payload.parent / "tables.npz")
    data, frame = payload.read_bytes(), meant(payload)
    assert_same(decode(data, tables), frame)
    assert_same(reference.decode(data, tables), frame)
    assert peek(data).bundle_prefix == BUNDLE[:16]
    assert encode(frame, tables, BUNDLE) == data
    assert reference.encode(frame, tables, BUNDLE) == data


def test_nobody_made_version_three_anew() -> None:
    digest = hashlib.sha256()
    for payload in PAYLOADS:
        if payload.parent.name == "payload-v3":
            digest.update(payload.name.encode() + payload.read_bytes())
    assert digest.hexdigest() == "f5d218060bbf34502b4a89e7453b66b3979bf56bcc3bc2872ba4b53d2ad289d3"


@pytest.mark.parametrize("delta", DELTAS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_golden_deltas(delta: Path) -> None:
    tables = Tables.load(HERE / "payload-v3" / "tables.npz")
    data, payload = delta.read_bytes(), delta.with_suffix(".reference").read_bytes()
    before = decode(payload, tables)
    frame = decode(delta.with_suffix(".whole").read_bytes(), tables)
    assert_same(decode_delta(data, before, check_of(payload), tables), frame)
    assert encode_delta(frame, before, check_of(payload), tables) == data


def test_nobody_made_the_deltas_anew() -> None:
    digest = hashlib.sha256()
    for delta in DELTAS:
        assert delta.parent.name == f"delta-v{DELTA_VERSION}"
        digest.update(delta.name.encode() + delta.read_bytes())
    assert digest.hexdigest() == "d122c6365c45fb9716bb142e8492ae12a96395b2c358bd931ebd7e41fc87f3fc"
