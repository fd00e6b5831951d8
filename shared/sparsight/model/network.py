"""The whole network, as training sees it.

image ─ stem ─> P3 ─┬─ seeker ─────────────────────────> heat
                    └─ trunk ─ neck ─ head, on the kept area ─> class logits, distances
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sparsight.errors import UsageError
from sparsight.model.backbone import build_backbone
from sparsight.model.bottleneck import Bottleneck
from sparsight.model.head import STRIDES_PX, Head
from sparsight.model.neck import ConvNormAct, Neck
from sparsight.model.seeker import Seeker
from sparsight.model.sparse import AreaHolder, CellArea, CellConv2d
from sparsight.model.stem import Normalise, Stem
from sparsight.model.trunk import Trunk, in_tiles
from sparsight.settings import ModelSettings


class Network(nn.Module):
    """Stem, seeker, trunk, neck and head."""

    def __init__(
        self, settings: ModelSettings, pretrained: dict[str, Tensor] | None = None
    ) -> None:
        """A network.

        Args:
            settings: What it is made of.
            pretrained: State of the backbone's full timm classifier, if there is one.
        """
        super().__init__()
        self.settings = settings
        self.holder = AreaHolder()
        backbone = build_backbone(settings.backbone, self.holder, pretrained=pretrained)
        normalise = Normalise(settings.mean, settings.std)
        self.stem = Stem(backbone.stem, backbone.channels[0], normalise, nhwc=backbone.nhwc)
        self.seeker = Seeker(backbone.channels[0])
        self.trunk = Trunk(backbone.stages, nhwc=backbone.nhwc, joined=backbone.joined)
        self.neck = Neck(backbone.channels, settings.neck_channels, self.holder)
        self.head = Head(settings.neck_channels, len(settings.classes), self.holder)
        self.bottleneck = (
            None
            if settings.codec is None
            else Bottleneck(backbone.channels[0], settings.codec, self.holder)
        )

    def forward(
        self, image: Float[Tensor, "b 3 h w"], keep: Bool[Tensor, "b h8 w8"] | None = None
    ) -> tuple[Float[Tensor, "b h8 w8"], Float[Tensor, "b a k"], Float[Tensor, "b a 4"]]:
        """Whole maps, or the kept area of maps.

        Args:
            image: RGB in [0, 255], bytes or floats, sides multiples of 32.
            keep: The kept area; None keeps all.

        Returns:
            Logit of the heat; class logits and distances (input pixels) of all cells, level after
            level, zeros where nothing is kept.

        Raises:
            UsageError: The sides are no multiples of 32.
        """
        p3, heat = self.look(image)
        return heat, *self.detect(p3, keep)

    def look(
        self, image: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b c h8 w8"], Float[Tensor, "b h8 w8"]]:
        """The device's half: P3 and the logit of the heat.

        Args:
            image: RGB in [0, 255], bytes or floats, sides multiples of 32.

        Raises:
            UsageError: The sides are no multiples of 32.
        """
        if image.shape[2] % 32 or image.shape[3] % 32:
            raise UsageError(
                f"image: expected sides that are multiples of 32 px, got {tuple(image.shape[2:])}"
            )
        p3 = self.stem(image)
        return p3, self.seeker(p3)

    def detect(
        self, p3: Float[Tensor, "b c h8 w8"], keep: Bool[Tensor, "b h8 w8"] | None = None
    ) -> tuple[Float[Tensor, "b a k"], Float[Tensor, "b a 4"]]:
        """The cloud's half: class logits and distances (input pixels) of all cells.

        Args:
            p3: The stem's map.
            keep: The kept area, zeros elsewhere; None keeps all.
        """
        if keep is None:
            whole: tuple[Tensor, Tensor] = self.head(self.neck(p3, *self.trunk(p3)))
            return whole
        area = CellArea.of(keep)
        return self.detect_rows(area.gather(p3), area)

    def detect_rows(
        self, rows: Float[Tensor, "n c 1 1"], area: CellArea
    ) -> tuple[Float[Tensor, "b a k"], Float[Tensor, "b a 4"]]:
        """Likewise of P3 as rows of the kept cells; zeros where nothing is kept."""
        with self.holder.keeping(area):
            if self.trunk.joined:
                p4, p5 = self.trunk(rows)
            else:
                tiles = in_tiles(self.trunk, area.map_of(rows))
                p4, p5 = (area.gather(p, i + 1) for i, p in enumerate(tiles))
            kept: tuple[Tensor, Tensor] = self.head(self.neck(rows, p4, p5))
            return kept

    def fold(self) -> None:
        """Fold the norms and scales of all but the seeker into the convolutions before them.

        For inference only; the numbers stay the same.
        """
        self.eval()
        self.requires_grad_(False)
        for m in self.modules():
            if isinstance(m, (CellConv2d, ConvNormAct)):
                m.fold()
        self.head.fold()
        self.to(memory_format=torch.channels_last)


def cell_centres(
    grid_hw: tuple[int, int], device: torch.device
) -> tuple[Float[Tensor, "a 2"], Float[Tensor, " a"]]:
    """Centres of the cells of all levels, in input pixels, and their strides.

    Args:
        grid_hw: Height and width of P3, in cells.
        device: Where to put them.
    """
    centres, strides = [], []
    for i, stride in enumerate(STRIDES_PX):
        h, w = grid_hw[0] >> i, grid_hw[1] >> i
        y = (torch.arange(h, device=device) + 0.5) * stride
        x = (torch.arange(w, device=device) + 0.5) * stride
        centres.append(
            torch.stack([x[None].expand(h, w), y[:, None].expand(h, w)], -1).reshape(-1, 2)
        )
        strides.append(torch.full((h * w,), float(stride), device=device))
    return torch.cat(centres), torch.cat(strides)
