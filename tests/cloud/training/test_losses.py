from typing import Literal

import numpy as np
import pytest
import torch

from sparsight.model.network import cell_centres
from sparsight_cloud.training.config import PatchConfig
from sparsight_cloud.training.losses import Labels, detector_losses, seeker_loss
from sparsight_cloud.training.samples import Sample
from sparsight_cloud.training.step import batch_of, cut_by_seeker

CPU = torch.device("cpu")
SIDE = 128
CLASSES = 2


def a_sample(ignored: tuple[float, float, float, float]) -> Sample:
    return Sample(
        image=np.zeros((SIDE, SIDE, 3), np.uint8),
        xyxy=np.array([[16, 16, 40, 40]], np.float32),
        labels=np.array([1], np.int64),
        ignore_xyxy=np.array([ignored], np.float32),
    )


def labels_of(sample: Sample, share: float = 0.0) -> tuple[torch.Tensor, Labels]:
    patches = PatchConfig(share=share, cells=(8,), by_seeker=0.0)
    batch = batch_of([sample], patches, np.random.default_rng(0), CPU)
    return batch.keep, batch.labels


def test_ignore_regions_count_for_no_loss() -> None:
    region = (64.0, 64.0, 128.0, 128.0)
    _, labels = labels_of(a_sample(region))
    centres, strides = cell_centres((SIDE // 8, SIDE // 8), CPU)
    x, y = centres.T
    inside = (x > 64) & (y > 64)
    torch.manual_seed(0)
    heat = torch.randn(1, SIDE // 8, SIDE // 8, requires_grad=True)
    logits = torch.randn(1, len(centres), CLASSES, requires_grad=True)
    distances = (torch.rand(1, len(centres), 4) * 16 + 4).requires_grad_()
    losses = detector_losses(heat, logits, distances, centres, strides, labels)
    losses.total.backward()
    assert logits.grad is not None and distances.grad is not None and heat.grad is not None
    assert (logits.grad[0, inside] == 0).all()
    assert (logits.grad[0, ~inside] != 0).all()
    assert (heat.grad[0, 8:, 8:] == 0).all()
    assert (heat.grad[0, :8] != 0).all()
    # Boxes are learned at the cells of the one object, and nowhere else.
    told = distances.grad[0].abs().sum(1) > 0
    assert told.any()
    assert (centres[told] - 28).abs().max() < 16


def test_an_object_in_an_ignore_region_still_warms_the_seeker() -> None:
    _, labels = labels_of(a_sample((0.0, 0.0, 64.0, 64.0)))
    assert (labels.weight[0, 2:5, 2:5] > 0).all()
    assert labels.weight[0, 0, 0] == 0


def test_cells_that_are_not_kept_count_for_no_loss_but_the_seekers() -> None:
    keep, labels = labels_of(a_sample((0.0, 0.0, 1.0, 1.0)), share=1.0)
    assert 0 < keep.float().mean() < 1
    np.testing.assert_array_equal(labels.usable[0, : keep[0].numel()], keep[0].flatten())
    assert (labels.weight > 0).all()


@pytest.mark.parametrize("kind", ["bce", "focal_dice"])
def test_the_seekers_loss_prefers_the_truth(kind: Literal["bce", "focal_dice"]) -> None:
    torch.manual_seed(1)
    heat = torch.zeros(2, 12, 12)
    heat[:, 3:6, 4:7] = 0.8
    weight = torch.ones_like(heat)
    truth = torch.logit(heat.clamp(1e-3, 1 - 1e-3))
    right = seeker_loss(truth, heat, weight, kind)
    wrong = seeker_loss(-truth, heat, weight, kind)
    silent = seeker_loss(torch.full_like(heat, -9.0), heat, weight, kind)
    assert right < silent < wrong
    weight[:, 6:] = 0
    changed = truth.clone()
    changed[:, 6:] = 7.0
    same = seeker_loss(truth, heat, weight, kind)
    assert seeker_loss(changed, heat, weight, kind) == pytest.approx(float(same))


def test_the_seekers_own_heat_cuts_the_samples_that_it_is_to_cut() -> None:
    sample = a_sample((0.0, 0.0, 0.0, 0.0))
    patches = PatchConfig(share=1.0, cells=(8,), by_seeker=1.0)
    batch = batch_of([sample, sample], patches, np.random.default_rng(0), CPU)
    assert all(cut is not None for cut in batch.cuts) and batch.keep.all()
    cold = torch.full((2, SIDE // 8, SIDE // 8), -6.0)
    keep, labels = cut_by_seeker(batch, cold)
    assert keep.all() and labels.usable.all()  # not warm yet: seen whole
    warm = cold.clone()
    warm[1, 12, 12] = 6.0
    keep, labels = cut_by_seeker(batch, warm)
    assert keep[0].all()
    assert keep[1].sum() == 64 and keep[1, 12, 12]
    assert labels.usable[1].sum() == 64 + 16 + 4
