from pathlib import Path

import numpy as np
import pytest

from sparsight.bundle import EDGE, TABLES, open_bundle
from sparsight.codec.payload import decode
from sparsight.codec.zones import HALO, UNTOLD
from sparsight.errors import BundleError, UsageError
from sparsight.pictures import read_picture
from sparsight_edge.engine.engine import Maps
from sparsight_edge.model import EdgeModel

from .small.bundles import CHANNELS, RATES, draw_pictures, write_small_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_small_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def see(model: EdgeModel, path: Path, rate: int = 1) -> Maps:
    _, image = model.fit(read_picture(path))
    return model.engine.run(image, rate)


@pytest.mark.parametrize("rate", range(len(RATES)))
def test_the_cloud_reads_what_the_device_saw(folder: Path, tmp_path: Path, rate: int) -> None:
    model = EdgeModel.load(folder)
    patches = []
    seen: set[int] = set()
    for name in draw_pictures(tmp_path / "pictures", 4):
        maps = see(model, tmp_path / "pictures" / name, rate)
        coded = model.code(maps, rate)
        frame = decode(coded.payload, model.tables)
        assert frame.rate == rate
        assert frame.grid_hw == maps.heat.shape == (20, 32)
        assert len(frame.origins_yx) == coded.patches
        union = frame.union()
        assert union.mean() == pytest.approx(coded.kept_area)
        np.testing.assert_array_equal(frame.marks, (maps.heat >= 0.5) & union)
        zones = frame.zones()
        for i, (y, x) in enumerate(np.argwhere(zones != UNTOLD)):
            np.testing.assert_array_equal(frame.latents[:, i], maps.latents[zones[y, x], :, y, x])
        seen |= set(zones.ravel().tolist())
        patches.append(coded.patches)
    assert patches[0] == 0 and patches[3] > 0
    assert seen == {0, 1, 2, HALO, UNTOLD}
    assert len(model.code(see(model, tmp_path / "pictures" / "0000.png"), 1).payload) < 40


def test_a_warm_model_says_what_a_cold_one_says(folder: Path, tmp_path: Path) -> None:
    (name,) = draw_pictures(tmp_path / "pictures", 1)
    cold, warm = EdgeModel.load(folder), EdgeModel.load(folder)
    warm.warm()
    a, b = (m.code(see(m, tmp_path / "pictures" / name), 1).payload for m in (cold, warm))
    assert a == b


def test_the_smallest_latents_come_through(folder: Path) -> None:
    model = EdgeModel.load(folder)
    heat = np.ones((8, 8), np.float32)
    latents = np.full((3, CHANNELS, 4, 4), -128, np.int8)
    frame = decode(model.code(Maps(heat, latents), 1).payload, model.tables)
    assert frame.latents.size and (frame.latents == -128).all()


def test_the_middle_rate_is_that_of_devices(folder: Path) -> None:
    assert EdgeModel.load(folder).rate == open_bundle(folder).manifest.default_rate == 1
    assert EdgeModel.load(folder, 0).rate == 0


def test_a_budget_keeps_the_best_patches(folder: Path, tmp_path: Path) -> None:
    model = EdgeModel.load(folder)
    maps = see(model, tmp_path / "pictures" / draw_pictures(tmp_path / "pictures", 4)[3])
    whole = model.code(maps, 1)
    assert model.code(maps, 1, 1000) == whole
    cut = model.code(maps, 1, whole.patches - 1)
    assert cut.patches == whole.patches - 1 and len(cut.payload) < len(whole.payload)
    best = decode(whole.payload, model.tables).origins_yx.tolist()
    assert all(one in best for one in decode(cut.payload, model.tables).origins_yx.tolist())
    assert model.code(maps, 1, 0).patches == 0


def test_a_rate_that_the_bundle_has_not(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"this bundle has 0 \(the finest\) to 1, got 2"):
        EdgeModel.load(folder, 2)


@pytest.mark.parametrize("name", [EDGE, TABLES])
def test_a_flipped_byte_is_found(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name}: was changed or damaged"):
        EdgeModel.load(folder)


def test_a_bundle_for_one_process_only(tmp_path: Path) -> None:
    from sparsight.bundle import WEIGHTS, write_bundle
    from sparsight.settings import DetectSettings, ModelSettings

    (tmp_path / WEIGHTS).write_bytes(b"w")
    write_bundle(tmp_path, ModelSettings(classes=("car",)), DetectSettings(), name="n", card="c")
    with pytest.raises(BundleError, match="has no device half"):
        EdgeModel.load(tmp_path)
