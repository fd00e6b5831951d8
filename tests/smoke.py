"""A little training, and split against dense: what tests of bases share."""

import numpy as np
import pytest
import torch
from torch import nn

from sparsight.model.cost import Cost
from sparsight.model.network import Network
from sparsight.model.passes import Kept, SplitPass, dense_pass
from sparsight.slicer import Patches
from sparsight_cloud.training.samples import Sample
from sparsight_cloud.training.step import Batch
from sparsight_cloud.training.tasks import DetectorTask


def squares(side: int, count: int, seed: int) -> Sample:
    """Bright squares on noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 120, (side, side, 3), np.uint8)
    wh = rng.integers(8, 24, (count, 1))
    xy = rng.integers(0, side - 24, (count, 2))
    boxes = np.concatenate([xy, xy + wh], 1)
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = 230
    none = np.zeros((0, 4), np.float32)
    return Sample(image, boxes.astype(np.float32), np.zeros(count, np.int64), none)


def learned(task: DetectorTask, batch: Batch) -> list[dict[str, float]]:
    """Some steps on one batch, and the losses before each."""
    optimiser, rng, told = task.optimiser(), np.random.default_rng(0), []
    for _ in range(6):
        total, terms = task.losses(batch, rng)
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(task.module.parameters(), 10.0)
        optimiser.step()
        told.append(terms)
    return told


@torch.inference_mode()
def assert_split_is_dense_where_all_is_kept(network: Network) -> None:
    """One patch over the whole frame gives what whole maps give."""
    image = torch.rand(1, 3, 96, 160, generator=torch.Generator().manual_seed(2)) * 255
    p3, _ = network.look(image)
    grid = (12, 20)
    whole = Patches(np.zeros((1, 2), np.int32), np.ones(1, np.float32), grid, grid)
    cost = Cost.of(network)
    (dense,) = dense_pass(network, cost, [p3])
    split = SplitPass(network, cost, [Kept(whole, np.ones(grid, bool))])
    (got,) = split.head(split.trunk(split.rows_of([p3])))
    atol = 1e-3 * float(dense.logits.abs().max())
    torch.testing.assert_close(got.centres_xy, dense.centres_xy)
    torch.testing.assert_close(got.logits, dense.logits, rtol=1e-3, atol=atol)
    torch.testing.assert_close(got.distances, dense.distances, rtol=1e-3, atol=1e-2)
    assert got.gflops == pytest.approx(dense.gflops, rel=1e-6)
