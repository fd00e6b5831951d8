"""The parts against the detector that does all in one call."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.split import DETECT, scene

from sparsight.bundle import WEIGHTS, write_bundle
from sparsight.model.detector import Detector, save_weights
from sparsight.model.network import Network
from sparsight.pictures import MAX_PIXELS, read_picture
from sparsight.settings import DetectSettings, ModelSettings
from sparsight.slicer import SlicerSettings
from sparsight_cloud.batch.items import Item
from sparsight_cloud.batch.reading import Lost, Read
from sparsight_cloud.batch.rows import Row
from sparsight_cloud.batch.stages import Deep, Look, Looked, packed

READ = Read(DETECT.long_side_px, MAX_PIXELS)
SIZES = [(144, 256), (256, 144), (90, 120), (200, 256), (144, 256)]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Pictures of several shapes, one that is none, and one with nothing on it."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for seed, hw in enumerate(SIZES):
        paths.append(folder / f"{seed}.png")
        Image.fromarray(scene(seed, hw)).save(paths[-1])
    paths.insert(2, folder / "bad.png")
    paths[2].write_bytes(b"no picture")
    paths.append(folder / "empty.png")
    Image.new("RGB", (64, 64), (127, 127, 127)).save(paths[-1])
    return [Item(str(path), None, None, 0, "") for path in paths]


@pytest.fixture(scope="module")
def looked(items: list[Item], split_bundle: Path) -> list[Looked | Lost]:
    return list(Look(split_bundle, DETECT).run(READ.run(items)))


@pytest.mark.parametrize("budget", [1, 700, 10**6])
def test_rows_are_what_the_detector_finds(
    items: list[Item], looked: list[Looked | Lost], split_bundle: Path, budget: int
) -> None:
    rows, passes = Deep(split_bundle, DETECT, budget).run(looked)
    detector = Detector.from_bundle(split_bundle)
    assert len(rows) == len(items)
    cells = 0
    for item, row in zip(items, rows, strict=True):
        if "bad" in item.path:
            assert row.error is not None and item.path in row.error and len(row.found) == 0
            continue
        frame = read_picture(Path(item.path))
        (want,) = detector.detect([frame], replace(DETECT, halo=0))
        assert row.error is None and row.frame_hw == frame.shape[:2]
        assert row.patches == len(want.patches)
        assert row.kept_area == pytest.approx(want.patches.kept_area)
        cells += int(want.patches.union().sum())
        np.testing.assert_allclose(row.found.scores, want.detections.scores, atol=1e-4)
        np.testing.assert_array_equal(row.found.labels, want.detections.labels)
        np.testing.assert_allclose(row.found.xyxy, want.detections.xyxy, atol=0.02)
    assert sum(len(row.found) for row in rows) > 10
    assert (passes.kept_cells, passes.computed_cells) == (cells, cells)
    if budget == 10**6:
        assert passes.batches == 1


def test_the_same_shard_gives_the_same_rows_to_the_bit(
    looked: list[Looked | Lost], split_bundle: Path
) -> None:
    def all_of(rows: Sequence[Row]) -> list[bytes]:
        return [row.found.xyxy.tobytes() + row.found.scores.tobytes() for row in rows]

    one, other = (Deep(split_bundle, DETECT, 1500) for _ in range(2))
    other.run(looked[3:])
    assert all_of(one.run(looked)[0]) == all_of(other.run(looked)[0])


def test_a_picture_that_breaks_the_deep_part_fails_alone(
    looked: list[Looked | Lost], split_bundle: Path
) -> None:
    good = [one for one in looked if isinstance(one, Looked)]
    broken = [replace(one, p3=one.p3[:-1]) if i == 3 else one for i, one in enumerate(good)]
    deep = Deep(split_bundle, DETECT, 10**6)
    rows, want = deep.run(broken)[0], deep.run(good)[0]
    assert [row.error is not None for row in rows] == [i == 3 for i in range(len(good))]
    for i, row in enumerate(rows):
        if i != 3:
            np.testing.assert_allclose(row.found.scores, want[i].found.scores, atol=1e-4)


def test_what_breaks_an_early_part_is_an_error_of_its_picture(
    items: list[Item], split_bundle: Path
) -> None:
    (lost,) = Read(0, MAX_PIXELS).run(items[:1])
    assert isinstance(lost, Lost) and "long side" in lost.why
    boxed = list(READ.run(items[:2]))
    look = Look(split_bundle, DETECT)
    object.__setattr__(boxed[0], "image", "none")
    one, other = look.run(boxed)
    assert isinstance(one, Lost) and one.read_ms == boxed[0].read_ms
    assert isinstance(other, Looked)


def test_a_backbone_that_runs_patch_by_patch_without_a_codec(
    items: list[Item], tmp_path: Path
) -> None:
    torch.manual_seed(2)
    settings = ModelSettings(
        backbone="swin_tiny_patch4_window7_224", neck_channels=8, classes=("a", "b")
    )
    network = Network(settings)
    network.fold()
    assert not network.trunk.joined
    save_weights(network, tmp_path / WEIGHTS)
    # Thresholds that an untrained network reaches; patches of 12 stick out and overlap.
    slicer = SlicerSettings(patch_hw=(12, 12), threshold=0.02, min_gain=0.2)
    use = DetectSettings(long_side_px=128, mark=0.0, slicer=slicer, score_min=0.001)
    write_bundle(tmp_path, settings, use, name="swin", card="")
    some = [item for item in items if "bad" not in item.path][:3]
    boxed = Read(use.long_side_px, MAX_PIXELS).run(some)
    rows, passes = Deep(tmp_path, use, 10**6).run(Look(tmp_path, use).run(boxed))
    assert passes.computed_cells > passes.kept_cells > 0
    detector = Detector.from_bundle(tmp_path)
    for item, row in zip(some, rows, strict=True):
        (want,) = detector.detect([read_picture(Path(item.path))], use)
        assert row.error is None and len(row.found) == len(want.detections) > 0
        np.testing.assert_allclose(row.found.scores, want.detections.scores, atol=1e-4)


@pytest.mark.parametrize(
    ("cells", "budget", "expected"),
    [
        ([], 10, []),
        ([3, 3, 3, 3], 6, [[0, 1], [2, 3]]),
        ([3, None, 4, 3], 7, [[0, 2], [3]]),
        ([0, 20, 0, 5, 5], 10, [[0], [1], [2, 3, 4]]),
        ([None, None], 10, []),
    ],
)
def test_batches_are_filled_to_their_budget(
    cells: list[int | None], budget: int, expected: list[list[int]]
) -> None:
    assert packed(cells, budget) == expected
