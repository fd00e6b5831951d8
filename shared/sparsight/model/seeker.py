"""The seeker: where on the frame may objects be?

    P3 [B, C, H/8, W/8] ─ depth-wise 13x13, BN, SiLU ─ 1x1 ─> logit of the heat [B, H/8, W/8]

ESOD's ObjSeeker (arXiv 2407.16424, §III-B): 0.3 GFLOPs at 1536x864, class-agnostic, trained on
Gaussian heat.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

REACH_CELLS = 13


class Seeker(nn.Module):
    """A large depth-wise kernel that sees 104 px around every cell."""

    def __init__(self, channels: int) -> None:
        """A seeker on a P3 of so many channels."""
        super().__init__()
        self.look = nn.Conv2d(
            channels, channels, REACH_CELLS, padding=REACH_CELLS // 2, groups=channels, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.SiLU()
        self.tell = nn.Conv2d(channels, 1, 1)
        assert self.tell.bias is not None
        nn.init.constant_(self.tell.bias, -2.5)

    def forward(self, p3: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
        """P3 -> logit of the object probability of each cell."""
        out: Tensor = self.tell(self.act(self.norm(self.look(p3))))
        return out[:, 0]
