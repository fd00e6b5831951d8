"""`sparsight bundle show | verify` as typed: of a sound bundle, and with any byte changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer

from sparsight.bundle import (
    EDGE,
    MANIFEST,
    TABLES,
    WEIGHTS,
    default_bundle,
    open_bundle,
    with_figures,
)
from sparsight.bundle_cli import bundle_app
from sparsight.cli import run
from sparsight.errors import BundleError
from sparsight.model.cloud_half import CloudHalf

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs `sparsight bundle ...`; gives its exit code and what it wrote, on single lines."""

    def do(*arguments: str) -> tuple[int, str, str]:
        app = typer.Typer(pretty_exceptions_enable=False)
        app.add_typer(bundle_app(), name="bundle")
        code = run(app, ["bundle", *arguments])
        told = capsys.readouterr()
        return code, " ".join(told.out.split()), " ".join(told.err.split())

    return do


@pytest.fixture
def folder(split_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(split_bundle, tmp_path / "bundle")


def test_a_sound_bundle(folder: Path, typed: Typed) -> None:
    manifest = open_bundle(folder).manifest
    code, out, err = typed("verify", str(folder))
    assert (code, err) == (0, "")
    assert out == f"{folder}: 6 files as written, id {manifest.id}"


def test_what_it_is(folder: Path, typed: Typed) -> None:
    with_figures(folder, [(9000.0, 0.25, 0.5), (4000.0, 0.2, 0.4), (1000.0, 0.1, 0.2)])
    code, out, _ = typed("show", str(folder))
    assert code == 0
    for told in ("red, blue, green", "mobilenetv2_035", "256 px", EDGE, TABLES, "9.0", "25.0"):
        assert told in out
    assert "rate 1, unless told another" in out
    code, out, _ = typed("show", str(folder), "--json")
    assert code == 0
    assert json.loads(out) == open_bundle(folder).manifest.model_dump(mode="json")


def test_without_a_folder_it_is_the_default_bundle(typed: Typed) -> None:
    code, out, _ = typed("verify")
    assert code == 0
    assert open_bundle(default_bundle()).manifest.id in out
    assert typed("show")[0] == 0


def test_a_flipped_byte_in_any_file_is_found_and_not_loaded(folder: Path, typed: Typed) -> None:
    files = sorted(folder.iterdir())
    assert {MANIFEST, WEIGHTS, EDGE, TABLES} < {file.name for file in files}
    rng = np.random.default_rng(0)
    for file in files:
        data = file.read_bytes()
        for at in (0, len(data) // 2, len(data) - 1, *rng.integers(0, len(data), 5).tolist()):
            damaged = bytearray(data)
            damaged[at] ^= 1 << int(rng.integers(0, 8))
            file.write_bytes(damaged)
            code, out, err = typed("verify", str(folder))
            assert (code, out) == (5, ""), (file.name, at)
            assert err
            with pytest.raises(BundleError):
                CloudHalf.from_bundle(folder)
        file.write_bytes(data)
    assert typed("verify", str(folder))[0] == 0


def test_a_missing_file_and_no_bundle_at_all(folder: Path, typed: Typed, tmp_path: Path) -> None:
    (folder / TABLES).unlink()
    code, _, err = typed("verify", str(folder))
    assert code == 5
    assert "tables.npz: missing from the bundle" in err
    code, _, err = typed("show", str(tmp_path))
    assert code == 5
    assert "no bundle here" in err


def test_figures_change_the_id_and_nothing_else(folder: Path) -> None:
    before = open_bundle(folder).manifest
    after = with_figures(folder, [(3.0, 0.3, 0.6), (2.0, 0.2, 0.4), (1.0, 0.1, 0.2)])
    assert open_bundle(folder).manifest == after
    assert after.id != before.id
    assert after.sha256 == before.sha256
    assert [r.steps for r in after.rates] == [r.steps for r in before.rates]
    assert [(r.bytes_per_frame, r.ap, r.ap50) for r in after.rates][1] == (2.0, 0.2, 0.4)
