from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sparsight.errors import DataError, PictureError, TrainingError
from sparsight_cloud.data.dataset import Dataset, LabelledImage, Outline
from sparsight_cloud.training.config import CropConfig, PatchConfig
from sparsight_cloud.training.labels import BORDER
from sparsight_cloud.training.samples import BOXED, MASKED, Sample, Sampler
from sparsight_cloud.training.step import batch_of

GREY, RED = (100, 100, 100), (255, 0, 0)
SQUARES = [(40, 60, 70, 90), (130, 20, 170, 50), (200, 150, 230, 200), (90, 140, 106, 156)]


def squares(folder: Path, frame_hw: tuple[int, int] = (220, 260), factor: int = 1) -> Dataset:
    """One picture with red rectangles on grey; the last of them is an ignore region instead."""
    h, w = (side * factor for side in frame_hw)
    frame = np.full((h, w, 3), GREY, np.uint8)
    xyxy = np.array(SQUARES, np.float32) * factor
    for x0, y0, x1, y1 in xyxy.astype(int):
        frame[y0:y1, x0:x1] = RED
    Image.fromarray(frame).save(folder / "squares.png")
    image = LabelledImage(
        path=folder / "squares.png",
        file_name="squares.png",
        image_id=1,
        frame_hw=(h, w),
        xyxy=xyxy[:-1],
        labels=np.array([0, 1, 1], np.int64),
        ignore_xyxy=xyxy[-1:],
    )
    return Dataset((image,), ("a", "b"), (1, 2))


def crops(**changes: Any) -> CropConfig:
    return CropConfig.model_validate(
        {"long_side_px": 260, "side_px": 128, "colour": 0.0, **changes}
    )


def misplaced(sample: Sample) -> float:
    """Share of pixels on the wrong side of their box's border, one pixel's width left out."""
    image = sample.image.astype(int)
    red = (image[..., 0] - image[..., 1]) > (RED[0] - RED[1]) // 2
    sure, inside = np.ones(red.shape, bool), np.zeros(red.shape, bool)
    y, x = np.indices(red.shape) + 0.5
    for x0, y0, x1, y1 in np.concatenate([sample.xyxy, sample.ignore_xyxy]):
        inside |= (x > x0) & (x < x1) & (y > y0) & (y < y1)
        near = (x > x0 - 1) & (x < x1 + 1) & (y > y0 - 1) & (y < y1 + 1)
        core = (x > x0 + 1) & (x < x1 - 1) & (y > y0 + 1) & (y < y1 - 1)
        sure &= ~near | core
    return float(((red != inside) & sure).mean())


@pytest.mark.parametrize(
    ("factor", "changes"),
    [
        (1, {"scale": (1.0, 1.0), "mosaic": 0.0, "flip": 0.0}),
        (1, {"scale": (0.7, 1.6), "mosaic": 0.0, "flip": 1.0}),
        (4, {"scale": (0.8, 1.2), "mosaic": 0.0}),  # shrunk to a quarter, by areas
    ],
)
def test_boxes_follow_the_pixels(tmp_path: Path, factor: int, changes: dict[str, Any]) -> None:
    dataset = squares(tmp_path, factor=factor)
    sampler = Sampler(dataset, crops(**changes), 0 if factor == 1 else 10**9)
    seen = 0
    for step in range(40):
        sample = sampler.draw(np.random.default_rng([0, step]))
        assert sample.image.shape == (128, 128, 3)
        if len(sample.xyxy) < visible(sample):
            continue  # a box was cut away for the most part and is not labelled
        assert misplaced(sample) == 0
        seen += len(sample.xyxy)
    assert seen > 20


def visible(sample: Sample) -> int:
    """Rectangles of which something is in the crop, but for the ignored one."""
    image = sample.image.astype(int)
    red = ((image[..., 0] - image[..., 1]) > 60).astype(np.uint8)
    for x0, y0, x1, y1 in sample.ignore_xyxy.round().astype(int):
        red[max(0, y0 - 1) : max(0, y1 + 1), max(0, x0 - 1) : max(0, x1 + 1)] = 0
    import cv2

    return int(cv2.connectedComponents(red)[0]) - 1


def test_mosaic_joins_four_crops_whose_boxes_stay_in_their_parts(tmp_path: Path) -> None:
    sampler = Sampler(squares(tmp_path), crops(mosaic=1.0, on_object=1.0), 10**9)
    counts = []
    for step in range(30):
        sample = sampler.draw(np.random.default_rng([1, step]))
        assert (sample.xyxy >= 0).all()
        assert (sample.xyxy <= 128).all()
        for x0, y0, x1, y1 in sample.xyxy:
            middle = sample.image[int((y0 + y1) / 2), int((x0 + x1) / 2)]
            np.testing.assert_array_equal(middle, RED)
        counts.append(len(sample.xyxy))
    assert max(counts) >= 3


def test_a_sample_is_a_function_of_its_seed_whatever_is_cached(tmp_path: Path) -> None:
    config = crops(mosaic=0.5, colour=1.0)
    cached, cold = (Sampler(squares(tmp_path), config, room) for room in (10**9, 0))
    assert cached.preload(0)
    assert not cold.preload(0)
    for step in range(6):
        a, b = (s.draw(np.random.default_rng([3, step, 1])) for s in (cached, cold))
        other = cold.draw(np.random.default_rng([3, step, 0]))
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.xyxy, b.xyxy)
        assert not np.array_equal(a.image, other.image)


def test_silence_is_refused(tmp_path: Path) -> None:
    dataset = squares(tmp_path)
    silent = replace(
        dataset.images[0], xyxy=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64)
    )
    with pytest.raises(TrainingError, match=r"got none in 1 pictures.*silence"):
        Sampler(replace(dataset, images=(silent,)), crops(), 0)
    with pytest.raises(TrainingError, match="got none in 0 pictures"):
        Sampler(replace(dataset, images=()), crops(), 0)


def test_pictures_that_are_missing_vanish_or_have_another_size(tmp_path: Path) -> None:
    dataset = squares(tmp_path)
    lying = replace(dataset.images[0], frame_hw=(260, 220))
    with pytest.raises(DataError, match=r"squares\.png: expected 220x260 .* has 260x220"):
        Sampler(replace(dataset, images=(lying,)), crops(), 10**9).preload(0)
    sampler = Sampler(dataset, crops(), 0)
    dataset.images[0].path.unlink()
    with pytest.raises(TrainingError, match=r"squares\.png.*put it back and start again"):
        sampler.draw(np.random.default_rng(0))
    with pytest.raises(PictureError, match=r"squares\.png"):
        Sampler(dataset, crops(), 10**9).preload(0)


def test_masks_follow_the_pixels_and_shape_the_heat(tmp_path: Path) -> None:
    dataset = squares(tmp_path)
    item = dataset.images[0]
    # The lower left half of each square is object; drawn red, the other half grey.
    frame = np.array(Image.open(item.path))
    outlines = []
    for x0, y0, x1, y1 in item.xyxy:
        ring = np.array([[x0, y0], [x1, y1], [x0, y1]], np.float32)
        outlines.append(Outline(np.array([x0, y0, x1, y1], np.float32), (ring,)))
        y, x = np.mgrid[int(y0) : int(y1), int(x0) : int(x1)]
        upper = (x - x0) * (y1 - y0) > (y - y0) * (x1 - x0)
        frame[y[upper], x[upper]] = GREY
    Image.fromarray(frame).save(item.path)
    shaped = replace(dataset, images=(replace(item, outlines=tuple(outlines)),))
    sampler = Sampler(shaped, crops(scale=(0.8, 1.5), mosaic=0.5, on_object=1.0), 10**9)
    for step in range(12):
        sample = sampler.draw(np.random.default_rng([4, step]))
        assert sample.shapes is not None
        masked = (sample.shapes & MASKED) > 0
        red = sample.image[..., 0].astype(int) - sample.image[..., 1] > 78
        for x0, y0, x1, y1 in sample.ignore_xyxy:
            red[max(0, int(y0) - 1) : int(y1) + 2, max(0, int(x0) - 1) : int(x1) + 2] = False
            masked[max(0, int(y0) - 1) : int(y1) + 2, max(0, int(x0) - 1) : int(x1) + 2] = False
        assert (masked != red).mean() < 0.012  # lines are a pixel wide
        patches = PatchConfig(share=0.0)
        labels = batch_of([sample], patches, np.random.default_rng(0), torch.device("cpu")).labels
        bits = sample.shapes.reshape(16, 8, 16, 8)
        mask = (bits & MASKED).any((1, 3))
        boxed = (bits & BOXED).any((1, 3))
        heat = labels.heat[0].numpy()
        assert (heat[mask] >= BORDER).all()
        assert (heat[boxed & ~mask] == 0).all()


def test_some_samples_went_through_a_codec(tmp_path: Path) -> None:
    plain, coded = (
        Sampler(squares(tmp_path), crops(compress=share, mosaic=0.0), 10**8) for share in (0.0, 1.0)
    )
    worst = 0.0
    for seed in range(6):
        a, b = (sampler.draw(np.random.default_rng(seed)) for sampler in (plain, coded))
        np.testing.assert_array_equal(a.xyxy, b.xyxy)
        assert a.image.shape == b.image.shape and b.image.dtype == np.uint8
        apart = np.abs(a.image.astype(int) - b.image.astype(int))
        assert 0 < apart.mean() < 12
        worst = max(worst, float(apart.max()))
        again = coded.draw(np.random.default_rng(seed))
        np.testing.assert_array_equal(b.image, again.image)
    assert worst > 20  # coarse qualities are among them
