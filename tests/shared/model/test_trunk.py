"""Patches that run alone, each as if it were a picture."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsight.model.sparse import CellArea
from sparsight.model.trunk import Trunk, alone, in_tiles
from sparsight.slicer import Patches


class Mixing(nn.Module):
    """Halves a map; every cell hears of the whole."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) + x.mean((2, 3), keepdim=True)


TRUNK = Trunk(nn.ModuleList([Mixing(), Mixing()]), joined=False)


def patches_of(grid_hw: tuple[int, int], *origins_yx: tuple[int, int]) -> Patches:
    origins = np.array(origins_yx, np.int32).reshape(-1, 2)
    return Patches(origins, np.ones(len(origins), np.float32), (8, 8), grid_hw)


def area_of(patches: list[Patches], shape: tuple[int, int, int]) -> CellArea:
    keep = torch.zeros(shape, dtype=torch.bool)
    for i, p in enumerate(patches):
        keep[i, : p.grid_hw[0], : p.grid_hw[1]] = torch.from_numpy(p.union())
    return CellArea.of(keep)


def test_each_patch_gets_its_own_answer_and_the_better_one_counts() -> None:
    torch.manual_seed(0)
    # Two patches that overlap, a frame with none, and one that sticks out of a small frame.
    patches = [
        patches_of((16, 16), (0, 0), (4, 4)),
        patches_of((8, 16)),
        patches_of((12, 8), (8, 0)),
    ]
    p3s = [torch.randn(1, 4, *p.grid_hw) for p in patches]
    area = area_of(patches, (3, 16, 16))
    rows = alone(TRUNK, p3s, patches, area)

    first = TRUNK(p3s[0][:, :, 0:8, 0:8])
    second = TRUNK(p3s[0][:, :, 4:12, 4:12])
    padded = F.pad(p3s[2][:, :, 8:12], (0, 0, 0, 4))
    last = TRUNK(padded)
    for level in (1, 2):
        n = 16 >> level
        whole = torch.zeros(3, 4, n, n)
        s, o = 8 >> level, 4 >> level
        whole[0, :, o : o + s, o : o + s] = second[level - 1][0]
        whole[0, :, :s, :s] = first[level - 1][0]
        whole[2, :, 2 * o : 3 * o, :s] = last[level - 1][0, :, :o]
        want = whole.permute(0, 2, 3, 1).flatten(0, 2)[area.rows[level]]
        torch.testing.assert_close(rows[level - 1].flatten(1), want)


def test_training_sees_tiles_alone() -> None:
    torch.manual_seed(0)
    p3 = torch.randn(2, 4, 20, 32)
    p4, p5 = in_tiles(TRUNK, p3, side=16)
    assert p4.shape == (2, 4, 10, 16)
    assert p5.shape == (2, 4, 5, 8)
    want4, want5 = TRUNK(p3[:, :, :16, 16:])
    torch.testing.assert_close(p4[:, :, :8, 8:], want4)
    torch.testing.assert_close(p5[:, :, :4, 4:], want5)
    below = F.pad(p3[:, :, 16:, :16], (0, 0, 0, 12))
    torch.testing.assert_close(p4[:, :, 8:, :8], TRUNK(below)[0][:, :, :2])


def test_channels_last_stages_answer_channels_first() -> None:
    class Last(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, ::2, ::2]

    trunk = Trunk(nn.ModuleList([Last(), Last()]), nhwc=True, joined=False)
    p3 = torch.randn(1, 4, 8, 12)
    p4, p5 = trunk(p3)
    assert torch.equal(p4, p3[:, :, ::2, ::2])
    assert torch.equal(p5, p3[:, :, ::4, ::4])
