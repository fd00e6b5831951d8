"""The detector on whole frames: batches, sizes, patches."""

import copy
import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch

from sparsight.geometry import Letterbox
from sparsight.model.detector import Detector, FrameResult
from sparsight.model.merge import merge
from sparsight.model.passes import Answer, Kept, SplitPass
from sparsight.settings import DetectSettings
from sparsight.slicer import Patches, SlicerSettings

from .conftest import ToldSeeker, frame, heat_at

SETTINGS = DetectSettings(
    long_side_px=256, score_min=0.02, slicer=SlicerSettings(patch_hw=(8, 8), threshold=0.3)
)
MIXED = (frame(200, 256, 1), frame(256, 120, 2), frame(90, 90, 3), frame(256, 256, 4))
HEATS = (heat_at((3, 4), (20, 25)), heat_at((16, 7)), heat_at(), heat_at((9, 9), (12, 30)))


def told(detector: Detector, *heats: np.ndarray) -> Detector:
    """The same detector with a seeker that says these, frame after frame."""
    other = copy.copy(detector)
    other.network = copy.deepcopy(detector.network)
    other.network.seeker = ToldSeeker(*heats)  # type: ignore[assignment]
    return other


def same(a: FrameResult, b: FrameResult) -> None:
    np.testing.assert_allclose(a.heat, b.heat, atol=1e-5)
    np.testing.assert_array_equal(a.patches.origins_yx, b.patches.origins_yx)
    assert a.letterbox == b.letterbox
    assert a.gflops == pytest.approx(b.gflops, rel=1e-9)
    assert len(a.detections) == len(b.detections)
    np.testing.assert_allclose(a.detections.scores, b.detections.scores, atol=1e-4)
    np.testing.assert_allclose(a.detections.xyxy, b.detections.xyxy, atol=0.02)
    np.testing.assert_array_equal(a.detections.labels, b.detections.labels)


@pytest.mark.parametrize("sparse_head", [True, False])
def test_frames_of_a_batch_get_what_each_gets_alone(detector: Detector, sparse_head: bool) -> None:
    settings = dataclasses.replace(SETTINGS, sparse_head=sparse_head)
    together = told(detector, *HEATS).detect(MIXED, settings)
    assert [len(r.patches) for r in together] == [2, 1, 0, 2]
    for result, picture, heat in zip(together, MIXED, HEATS, strict=True):
        same(result, told(detector, heat).detect([picture], settings)[0])


def test_order_of_frames_does_not_matter(detector: Detector) -> None:
    forth = told(detector, *HEATS).detect(MIXED, SETTINGS)
    back = told(detector, *HEATS[::-1]).detect(MIXED[::-1], SETTINGS)
    for a, b in zip(forth, back[::-1], strict=True):
        same(a, b)


def test_a_frame_without_patches_is_empty_in_its_own_place(detector: Detector) -> None:
    results = told(detector, *HEATS).detect(MIXED, SETTINGS)
    assert [len(r.detections) > 0 for r in results] == [True, True, False, True]
    assert results[2].letterbox.frame_hw == (90, 90)
    assert results[2].patches.kept_area == 0
    nothing = told(detector, heat_at()).detect(MIXED, SETTINGS)
    assert [len(r.detections) for r in nothing] == [0, 0, 0, 0]
    assert all(r.gflops < detector.gflops_dense(r.letterbox) / 2 for r in nothing)


@pytest.mark.parametrize("mode", ["split", "dense"])
def test_no_frames_no_results(detector: Detector, mode: Literal["split", "dense"]) -> None:
    assert detector.detect([], dataclasses.replace(SETTINGS, mode=mode)) == []


def test_everything_kept_and_marked_is_dense_mode(detector: Detector) -> None:
    dense = detector.detect(MIXED, dataclasses.replace(SETTINGS, mode="dense"))
    whole = dataclasses.replace(
        SETTINGS, mark=0.0, slicer=SlicerSettings(patch_hw=(32, 32), threshold=0.3)
    )
    split = told(detector, heat_at((4, 4))).detect(MIXED, whole)
    for a, b in zip(split, dense, strict=True):
        assert a.patches.kept_area == 1.0
        assert a.gflops == pytest.approx(detector.gflops_dense(a.letterbox), rel=1e-6)
        assert b.gflops == pytest.approx(detector.gflops_dense(a.letterbox), rel=1e-9)
        np.testing.assert_allclose(a.detections.scores, b.detections.scores, atol=1e-4)
        np.testing.assert_allclose(a.detections.xyxy, b.detections.xyxy, atol=0.02)


def test_a_sparse_head_reports_what_the_dense_one_says_of_the_marked(detector: Detector) -> None:
    every = dataclasses.replace(SETTINGS, sparse_head=False, nms_iou=1.0, max_detections=100000)
    sparse = dataclasses.replace(every, sparse_head=True)
    all_cells = told(detector, *HEATS).detect(MIXED[:1], every)[0]
    marked = told(detector, *HEATS).detect(MIXED[:1], sparse)[0]
    assert 0 < len(marked.detections) < len(all_cells.detections)
    assert marked.gflops < all_cells.gflops
    known = np.c_[all_cells.detections.xyxy, all_cells.detections.scores * 100]
    for found in np.c_[marked.detections.xyxy, marked.detections.scores * 100]:
        assert np.abs(known - found).max(1).min() < 0.02


def patches_of(*origins_yx: tuple[int, int], size_hw: tuple[int, int]) -> Patches:
    gains = np.ones(len(origins_yx), np.float32)
    return Patches(np.array(origins_yx, np.int32).reshape(-1, 2), gains, size_hw, (16, 32))


def answer(detector: Detector, patches: Patches) -> Answer:
    picture = torch.from_numpy(frame(128, 256, 5)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        p3 = detector.network.stem(picture)
        split = SplitPass(
            detector.network, detector.cost, [Kept(patches, np.ones((16, 32), np.bool_))]
        )
        return split.head(split.trunk(split.rows_of([p3])))[0]


def test_two_touching_patches_are_one_large_patch(detector: Detector) -> None:
    two = answer(detector, patches_of((0, 0), (0, 16), size_hw=(16, 16)))
    one = answer(detector, patches_of((0, 0), size_hw=(16, 32)))
    box = Letterbox.fit((128, 256), 256)
    settings = dataclasses.replace(SETTINGS, nms_iou=0.3)
    a, b = (merge(x.logits, x.distances, x.centres_xy, box, settings) for x in (two, one))
    assert len(a) > 5
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_allclose(a.xyxy, b.xyxy, atol=1e-3)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
    # Some of these boxes lie across the border of the two, whole.
    across = (a.xyxy[:, 0] < 120) & (a.xyxy[:, 2] > 136)
    assert across.any()


def test_patches_that_overlap_compute_nothing_twice(detector: Detector) -> None:
    two = answer(detector, patches_of((0, 0), (0, 8), size_hw=(16, 16)))
    one = answer(detector, patches_of((0, 0), size_hw=(16, 24)))
    assert len(two.logits) == len(one.logits) == 16 * 24 * 21 // 16
    assert two.gflops == pytest.approx(one.gflops)
    torch.testing.assert_close(two.logits, one.logits)


@pytest.mark.parametrize("hw", [(700, 1), (1, 700), (3, 5), (1, 1)])
@pytest.mark.parametrize("mode", ["split", "dense"])
def test_frames_of_a_pixel(
    detector: Detector, hw: tuple[int, int], mode: Literal["split", "dense"]
) -> None:
    settings = dataclasses.replace(SETTINGS, mode=mode)
    result = told(detector, heat_at((0, 0))).detect([frame(*hw)], settings)[0]
    xyxy = result.detections.xyxy
    assert result.heat.shape == result.letterbox.cells_hw
    assert (xyxy >= 0).all()
    assert (xyxy <= np.array([hw[1], hw[0]] * 2)).all()
    assert (xyxy[:, 2:] > xyxy[:, :2]).all()


def test_boxes_are_in_pixels_of_the_frame_and_inside_it(detector: Detector) -> None:
    small, large = frame(96, 128, 6), frame(96, 128, 6).repeat(3, 0).repeat(3, 1)
    dense = dataclasses.replace(SETTINGS, mode="dense", score_min=0.3)
    a, b = (detector.detect([f], dense)[0].detections for f in (small, large))
    assert len(a) > 3
    assert a.xyxy[:, 2].max() <= 128
    assert a.xyxy[:, 3].max() <= 96
    # The two reach the network as nearly the same input, so their best boxes match, scaled.
    assert b.xyxy[:, 2].max() > 128
    assert abs(len(a) - len(b)) <= max(3, len(a) // 3)


def test_times_name_every_stage(detector: Detector) -> None:
    modes: tuple[Literal["split", "dense"], ...] = ("split", "dense")
    for mode in modes:
        settings = dataclasses.replace(SETTINGS, mode=mode)
        result = told(detector, *HEATS).detect(MIXED[:2], settings)[0]
        assert set(result.times_ms) == {"device", "slicer", "trunk", "head", "merge"}
        assert all(t >= 0 for t in result.times_ms.values())


def test_the_head_runs_around_marked_cells_on_every_level(detector: Detector) -> None:
    marks = np.zeros((16, 32), np.bool_)
    marks[7, 11] = True  # the last cell of its 2x2 and its 4x4: sampling would miss it
    with torch.inference_mode():
        p3 = detector.network.stem(torch.zeros(1, 3, 128, 256))
        kept = Kept(patches_of((0, 0), size_hw=(16, 32)), marks)
        split = SplitPass(detector.network, detector.cost, [kept])
        found = split.head(split.trunk(split.rows_of([p3])))[0]
    want = [
        [(x + dx + 0.5) * stride, (y + dy + 0.5) * stride]
        for stride, y, x in ((8, 7, 11), (16, 3, 5), (32, 1, 2))
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    ]
    assert found.centres_xy.tolist() == want
    assert len(found.logits) == len(found.distances) == 27
