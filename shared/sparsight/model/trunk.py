"""The trunk: the backbone's deep stages, on the kept area only.

    P3 ─ stage ─> P4 (stride 16) ─ stage ─> P5 (stride 32)

Convolutional stages run in cells form (`sparse`): neighbouring patches see each other. Stages that
mix cells in other ways (attention, squeeze-and-excite, pooling) run the way ESOD does (arXiv
2407.16424, §III-C): on a stack of patches, each as if it were a picture. `adapt` finds out which.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsight.model.sparse import CellArea
from sparsight.slicer import Patches


class Trunk(nn.Module):
    """Two stages.

    Attributes:
        stages: P3 to P4 and P4 to P5.
        nhwc: Whether the stages' maps are channels-last in their shape.
        joined: Whether patches may be computed joined, as cells.
    """

    def __init__(self, stages: nn.ModuleList, *, nhwc: bool = False, joined: bool = True) -> None:
        """A trunk of a backbone's stages."""
        super().__init__()
        self.stages = stages
        self.nhwc = nhwc
        self.joined = joined

    def forward(self, p3: Tensor) -> tuple[Tensor, Tensor]:
        """P3 -> P4, P5, as maps or as rows."""
        if self.nhwc:
            p4 = self.stages[0](p3.permute(0, 2, 3, 1))
            p5 = self.stages[1](p4)
            return p4.permute(0, 3, 1, 2), p5.permute(0, 3, 1, 2)
        p4 = self.stages[0](p3)
        return p4, self.stages[1](p4)


def alone(
    trunk: Trunk,
    p3s: Sequence[Float[Tensor, "1 _ _ _"]],
    patches: Sequence[Patches],
    area: CellArea,
) -> tuple[Float[Tensor, "n4 c4 1 1"], Float[Tensor, "n5 c5 1 1"]]:
    """Run the trunk on a stack of the patches of all frames, each as if it were a picture.

    Where patches overlap, the better one's answer counts.

    Args:
        trunk: The trunk.
        p3s: P3 of each frame.
        patches: What is kept of each; all of one size, at least one of all frames.
        area: The kept area of all.

    Returns:
        Rows of P4 and P5, in the order of the area.
    """
    stack, places = [], []
    for i, (p3, kept) in enumerate(zip(p3s, patches, strict=True)):
        for x0, y0, x1, y1 in kept.xyxy_cells().tolist():
            # Patches of one size stack; what sticks out of a small frame is zeros.
            window = p3.new_zeros((p3.shape[1], *kept.size_hw))
            window[:, : y1 - y0, : x1 - x0] = p3[0, :, y0:y1, x0:x1]
            stack.append(window)
            places.append((i, y0, x0, y1, x1))
    answers = trunk(torch.stack(stack))
    rows = []
    for level, answer in zip((1, 2), answers, strict=True):
        whole = answer.new_zeros((*area.shapes[level], answer.shape[1]))
        for (i, y0, x0, y1, x1), a in reversed(list(zip(places, answer, strict=True))):
            h, w = (y1 - y0) >> level, (x1 - x0) >> level
            whole[i, y0 >> level : y1 >> level, x0 >> level : x1 >> level] = a[:, :h, :w].permute(
                1, 2, 0
            )
        rows.append(whole.flatten(0, 2)[area.rows[level]][:, :, None, None])
    return rows[0], rows[1]


def in_tiles(
    trunk: Trunk, p3: Float[Tensor, "b c h w"], side: int = 16
) -> tuple[Float[Tensor, "b c4 h2 w2"], Float[Tensor, "b c5 h4 w4"]]:
    """Run the trunk on every tile of a map as if it were a picture.

    That is what training sees of patches that run alone.

    Args:
        trunk: The trunk.
        p3: Maps whose sides are multiples of four cells.
        side: Side of a tile, in cells; the last tiles may be smaller by what the map lacks.
    """
    b, c, h, w = p3.shape
    rows, columns = -(-h // side), -(-w // side)
    padded = nn.functional.pad(p3, (0, columns * side - w, 0, rows * side - h))
    tiles = (
        padded.view(b, c, rows, side, columns, side)
        .permute(0, 2, 4, 1, 3, 5)
        .reshape(-1, c, side, side)
    )
    out = []
    for level, a in zip((1, 2), trunk(tiles), strict=True):
        s = side >> level
        whole = (
            a.reshape(b, rows, columns, -1, s, s)
            .permute(0, 3, 1, 4, 2, 5)
            .reshape(b, -1, rows * s, columns * s)
        )
        out.append(whole[:, :, : h >> level, : w >> level])
    return out[0], out[1]
