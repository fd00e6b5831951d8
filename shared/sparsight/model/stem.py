"""The stem: the whole frame to P3.

    image [B, 3, H, W] ─ normalise ─ units of the backbone ─> P3 [B, C, H/8, W/8]

The widest maps of a stem are inside its blocks (96 channels at stride 2: 127 MB for one 1536x864
frame), and a CPU spends its time moving them. Without gradient the stem therefore runs strip by
strip (`strips`): three times faster than whole maps on one core, with a fraction of the memory
and the same numbers (docs/LOG.md, 2026-11-22). In training the units that are frozen run so too.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsight.model.strips import Plan


class Normalise(nn.Module):
    """Pixels in [0, 255] -> what the pretrained backbone was trained on."""

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        """Of channels whose values in [0, 1] have this mean and deviation."""
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1) * 255, persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Bytes or floats, [B, 3, H, W]."""
        return (image.float() - self.mean) / self.std


class Stem(nn.Module):
    """The dense part of the detector.

    Attributes:
        normalise: From pixels to the first unit's input.
        units: Modules that follow each other.
        channels: Channels of P3.
        nhwc: Whether the units' maps are channels-last in their shape.
    """

    def __init__(
        self, units: nn.Sequential, channels: int, normalise: Normalise, *, nhwc: bool = False
    ) -> None:
        """A stem of a backbone's first units."""
        super().__init__()
        self.normalise = normalise
        self.units = units
        self.channels = channels
        self.nhwc = nhwc
        self._plans: dict[int, Plan] = {}

    def freeze_below(self, stride: int) -> int:
        """Freeze the units whose output is finer than this stride; they run without gradient.

        Returns:
            How many units that is.
        """
        x = torch.zeros(1, 3, 64, 64, device=self.normalise.mean.device)
        frozen = 0
        with torch.no_grad():
            for i, unit in enumerate(self.units):
                x = unit(x)
                if 64 // (x.shape[1] if self.nhwc else x.shape[2]) < stride:
                    frozen = i + 1
        for unit in self.units[:frozen]:
            unit.requires_grad_(False)
        return frozen

    def forward(self, image: Tensor) -> Float[Tensor, "b c h8 w8"]:
        """Pixels in [0, 255], [B, 3, H, W] with sides that are multiples of 32 -> P3."""
        if not torch.is_grad_enabled():
            x = self._first(image, len(self.units))
        else:
            frozen = len(list(itertools.takewhile(_is_frozen, self.units)))
            with torch.no_grad():
                x = self._first(image, frozen)
            x = self.units[frozen:](x)
        return x.permute(0, 3, 1, 2) if self.nhwc else x

    def _first(self, image: Tensor, last: int) -> Tensor:
        """The first units, in strips."""
        units = [self.normalise, *self.units[:last]]
        if self.nhwc:
            whole: Tensor = nn.Sequential(*units)(image)
            return whole
        if last not in self._plans:
            self._plans[last] = Plan.of(units, image.device)
        return self._plans[last].run(image)


def _is_frozen(unit: nn.Module) -> bool:
    return not any(p.requires_grad for p in unit.parameters())
