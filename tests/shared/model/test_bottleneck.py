"""The transforms: which corner is which, what is rounded how, and that frames don't mix."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsight.model.bottleneck import Bottleneck, quantised
from sparsight.model.sparse import AreaHolder, CellArea
from sparsight.settings import CodecSettings

CHANNELS = 3


@pytest.fixture
def bottleneck() -> Bottleneck:
    torch.manual_seed(0)
    codec = CodecSettings(channels=4 * CHANNELS, hidden=8, blocks=2)
    return Bottleneck(CHANNELS, codec, AreaHolder()).requires_grad_(False)


def area_of(*rectangles: tuple[int, int, int, int], frames: int = 2) -> CellArea:
    """Kept cells of 16x24 maps: (frame, top, left, side)."""
    keep = torch.zeros(frames, 16, 24, dtype=torch.bool)
    for frame, top, left, side in rectangles:
        keep[frame, top : top + side, left : left + side] = True
    return CellArea.of(keep)


def latents_of(bottleneck: Bottleneck, p3: Tensor, area: CellArea) -> Tensor:
    return area.gather(bottleneck.analysis(p3), 1).flatten(1)


AREA = area_of((0, 0, 4, 8), (0, 4, 8, 8), (1, 8, 16, 8))


def test_transforms_that_invert_each_other_give_the_map_back(bottleneck: Bottleneck) -> None:
    # An orthogonal matrix over the four corners: any corner out of place would show.
    turn = nn.init.orthogonal_(torch.empty(4 * CHANNELS, 4 * CHANNELS))
    linear = bottleneck.analysis.linear
    linear.weight.copy_(turn.view(-1, 2, 2, CHANNELS).permute(0, 3, 1, 2))
    bottleneck.synthesis.spread.weight.copy_(turn.T)
    p3 = torch.randn(2, CHANNELS, 16, 24)
    out = bottleneck.synthesis(latents_of(bottleneck, p3, AREA), AREA)
    torch.testing.assert_close(out, AREA.gather(p3), atol=1e-5, rtol=1e-4)


def test_what_is_not_linear_begins_as_nothing_and_is_felt_later(bottleneck: Bottleneck) -> None:
    p3 = torch.randn(2, CHANNELS, 16, 24)
    y = bottleneck.analysis(p3)
    torch.testing.assert_close(y, bottleneck.analysis.linear(p3))
    rows = bottleneck.synthesis(latents_of(bottleneck, p3, AREA), AREA)
    four = bottleneck.synthesis.spread(latents_of(bottleneck, p3, AREA)).view(-1, CHANNELS)
    assert sorted(four.flatten().tolist()) == sorted(rows.flatten().tolist())

    nn.init.normal_(bottleneck.analysis.refine.weight)
    assert not torch.allclose(bottleneck.analysis(p3), y)
    narrow = bottleneck.synthesis.blocks[0].narrow
    assert isinstance(narrow, nn.Conv2d)
    nn.init.normal_(narrow.weight)
    assert not torch.allclose(
        bottleneck.synthesis(latents_of(bottleneck, p3, AREA), AREA), rows, atol=0.1
    )


def test_a_frame_is_made_the_same_whatever_is_beside_it(bottleneck: Bottleneck) -> None:
    for block in bottleneck.synthesis.blocks:
        assert isinstance(block.narrow, nn.Conv2d)
        nn.init.normal_(block.narrow.weight, std=0.2)
    latents = torch.randn(len(AREA.rows[1]), 4 * CHANNELS)
    together = bottleneck.synthesis(latents, AREA)
    alone = area_of((0, 0, 4, 8), (0, 4, 8, 8), frames=1)
    count = len(alone.rows[1])
    torch.testing.assert_close(
        bottleneck.synthesis(latents[:count], alone), together[: len(alone.rows[0])]
    )


def test_rounding_is_half_to_even_in_steps_and_ends_at_a_byte() -> None:
    values = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 0.49, 1e6, -1e6])
    got = quantised(values.view(1, 1, 1, -1), torch.ones(1, 1))
    assert got.flatten().tolist() == [0, 2, 2, 0, -2, 0, 127, -128]
    assert got.dtype == torch.int8
    both = quantised(torch.full((1, 2, 1, 1), 6.0), torch.tensor([[1.0, 4.0], [3.0, 2.0]]))
    assert both[0, :, :, 0, 0].tolist() == [[6, 2], [2, 3]]


def test_quantising_loses_at_most_half_a_step() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 9, (2, 3, 8, 8)))
    steps = torch.tensor([[0.25, 1.0, 3.0], [0.5, 2.0, 1.0]])
    back = quantised(values.float(), steps) * steps[:, :, None, None]
    assert ((back - values[:, None]).abs().amax((0, 3, 4)) <= steps / 2 + 1e-5).all()
