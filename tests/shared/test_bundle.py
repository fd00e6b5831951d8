"""Bundles: what is written is what is read, and nothing that changed gets through."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from sparsight import bundle as bundles
from sparsight.bundle import (
    CARD,
    EDGE,
    MANIFEST,
    MODEL,
    TABLES,
    WEIGHTS,
    Rate,
    default_bundle,
    open_bundle,
    write_bundle,
)
from sparsight.errors import BundleError
from sparsight.settings import CodecSettings, DetectSettings, ModelSettings
from sparsight.slicer import SlicerSettings

MODEL_SETTINGS = ModelSettings(classes=("car", "naïve café"), neck_channels=32)
DETECT = DetectSettings(
    long_side_px=1280,
    mark=0.25,
    slicer=SlicerSettings(patch_hw=(12, 16), threshold=0.3, min_gain=0.7),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / WEIGHTS).write_bytes(np.random.default_rng(0).bytes(100_000))
    write_bundle(folder, MODEL_SETTINGS, DETECT, name="test", card="# A card\n")
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "bundle")


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the manifest and give it the id that belongs to it; None takes a key away."""
    raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) | changes
    raw = {k: v for k, v in raw.items() if v is not None and k != "id"}
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    raw["id"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(raw), encoding="utf-8")


def test_what_is_written_is_read(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert bundle.folder == folder
    assert bundle.model == MODEL_SETTINGS
    assert bundle.manifest.detect_settings() == DETECT
    assert bundle.manifest.classes == ("car", "naïve café")
    assert bundle.manifest.id == bundle.manifest.own_id()
    assert (
        bundle.manifest.sha256[WEIGHTS]
        == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    )


def test_the_id_is_the_content(folder: Path, tmp_path: Path) -> None:
    first = open_bundle(folder).manifest.id
    again = write_bundle(folder, MODEL_SETTINGS, DETECT, name="test", card="# A card\n").id
    other = write_bundle(folder, MODEL_SETTINGS, DETECT, name="test", card="# Another\n").id
    assert first == again != other


@pytest.mark.parametrize("name", [MANIFEST, MODEL, CARD])
def test_every_byte_of_the_small_files_counts(folder: Path, name: str) -> None:
    file = folder / name
    data = file.read_bytes()
    rng = np.random.default_rng(len(data))
    for at in range(len(data)):
        bit = 1 << int(rng.integers(0, 8))
        file.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
        with pytest.raises(BundleError, match=name if name != MANIFEST else None):
            open_bundle(folder)
    file.write_bytes(data)
    open_bundle(folder)


@pytest.mark.parametrize("at", [0, 1, 7, 4096, 50_000, 99_999])
def test_a_byte_of_the_weights_counts(folder: Path, at: int) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[at] ^= 0x10
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(BundleError, match=r"cloud\.safetensors: was changed or damaged"):
        open_bundle(folder)


@pytest.mark.parametrize("name", [MODEL, WEIGHTS, CARD])
def test_a_truncated_or_missing_file(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1])
    with pytest.raises(BundleError, match=f"{name}: was changed or damaged"):
        open_bundle(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: missing from the bundle"):
        open_bundle(folder)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle here, expected a folder with manifest\.json"):
        open_bundle(tmp_path)
    with pytest.raises(BundleError, match="no bundle here"):
        open_bundle(tmp_path / "nowhere")
    (tmp_path / MANIFEST).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="no bundle here"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "null", '{"format": 99}', "{}"])
def test_another_format_is_named(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match="this program reads format 4; get a matching bundle"):
        open_bundle(folder)


def test_a_huge_manifest_is_not_read(folder: Path) -> None:
    with (folder / MANIFEST).open("wb") as f:
        f.truncate(bundles.MANIFEST_BYTES_MAX + 1)
    with pytest.raises(BundleError, match="larger than any manifest"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"classes": []}, "classes: Tuple should have at least 1 item"),
        ({"threshold": 0}, "threshold: Input should be greater than 0"),
        ({"long_side_px": 10**9}, "long_side_px"),
        ({"patch_hw": [13, 16]}, "patch_hw: expected two positive multiples of 4"),
        ({"name": None}, "name: Field required"),
        ({"classes": ["van", "bus"]}, "name different classes"),
        ({"sha256": {}}, "vouches for nothing"),
        ({"sha256": {"../../etc/passwd": "0"}}, "must vouch for"),
    ],
)
def test_a_manifest_that_says_nonsense(folder: Path, changes: dict[str, Any], says: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(BundleError, match=says):
        open_bundle(folder)


def rate(*channels: int, step: float = 0.5) -> Rate:
    return Rate(steps=tuple((step,) * k for k in channels))


@pytest.mark.parametrize("steps", [(3, 3, 3, 3), (256, 256, 256, 256)])
def test_a_rate_has_steps_for_each_channel_in_each_zone(steps: tuple[int, ...]) -> None:
    assert rate(*steps).channels == steps[0]


@pytest.mark.parametrize(
    ("channels", "step", "says"),
    [
        ((3, 3, 3), 0.5, "at least 4 items"),
        ((3, 3, 3, 3, 3), 0.5, "at most 4 items"),
        ((3, 2, 3, 3), 0.5, "expected as many steps in each zone, got 3, 2, 3, 3"),
        ((0, 0, 0), 0.5, "at least 1 item"),
        ((257, 257, 257), 0.5, "at most 256 items"),
        ((1, 1, 1), 0.0, "greater than 0"),
        ((1, 1, 1), float("inf"), "finite number"),
    ],
)
def test_steps_that_are_none(channels: tuple[int, ...], step: float, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        rate(*channels, step=step)


@pytest.mark.parametrize(("rates", "middle"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_devices_send_at_the_middle_rate(folder: Path, rates: int, middle: int) -> None:
    manifest = open_bundle(folder).manifest
    some = manifest.model_copy(update={"rates": (rate(1, 1, 1, 1),) * rates})
    assert some.default_rate == middle
    assert "default_rate" not in some.model_dump()


def test_rates_of_other_channels_than_the_models(folder: Path) -> None:
    rates = (rate(3, 3, 3, 3),)
    for name in (EDGE, TABLES):
        (folder / name).write_bytes(b"made by a test")
    codec = CodecSettings(channels=4)
    settings = MODEL_SETTINGS.model_copy(update={"codec": codec})
    write_bundle(folder, settings, DETECT, name="test", card="# A card\n", rates=rates)
    with pytest.raises(BundleError, match="rates for other than the 4 latent channels"):
        open_bundle(folder)


def test_a_file_that_nobody_vouches_for_is_not_loaded(folder: Path) -> None:
    known = json.loads((folder / MANIFEST).read_text())["sha256"]
    del known[WEIGHTS]
    rewrite(folder, sha256=known)
    with pytest.raises(BundleError, match=r"must vouch for model\.yaml, cloud\.safetensors"):
        open_bundle(folder)


def test_a_wrong_id(folder: Path) -> None:
    raw = json.loads((folder / MANIFEST).read_text())
    for wrong in ("0" * 64, "", raw["id"][::-1]):
        (folder / MANIFEST).write_text(json.dumps(raw | {"id": wrong}))
        with pytest.raises(BundleError, match="its id does not match its content"):
            open_bundle(folder)


def test_a_manifest_from_before_a_key_existed_keeps_its_id(folder: Path) -> None:
    rewrite(folder, min_gain=None)
    manifest = open_bundle(folder).manifest
    assert manifest.detect_settings().slicer.min_gain == SlicerSettings().min_gain


def test_a_model_that_is_none(folder: Path) -> None:
    for text in ("- a list", "classes: [car]\ncolour: red", "{", "!!python/object:os.system {}"):
        (folder / MODEL).write_text(text)
        known = json.loads((folder / MANIFEST).read_text())["sha256"]
        rewrite(folder, sha256=known | {MODEL: hashlib.sha256(text.encode()).hexdigest()})
        with pytest.raises(BundleError, match=r"model\.yaml: not a model's settings") as caught:
            open_bundle(folder)
        assert "\n" not in str(caught.value)


def test_the_model_file_is_plain_yaml(folder: Path) -> None:
    raw = yaml.safe_load((folder / MODEL).read_text(encoding="utf-8"))
    assert raw["backbone"] == "tf_efficientnet_lite0"
    assert ModelSettings.model_validate(raw) == MODEL_SETTINGS


def test_the_default_bundle() -> None:
    checkout = Path(__file__).parents[2] / "models" / "default"
    if not (checkout / MANIFEST).is_file():
        with pytest.raises(BundleError, match="give one with --bundle DIR"):
            default_bundle()
        return
    bundle = open_bundle(default_bundle())
    files = [bundle.folder / f for f in (MANIFEST, MODEL, WEIGHTS, CARD)]
    assert sum(f.stat().st_size for f in files) <= 12e6
