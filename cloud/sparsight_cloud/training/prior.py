"""How likely each integer of the latents is, while the transforms are learned.

A logistic distribution for each way of coding (rate and zone) and channel, summed over the bin of
an integer (Ballé et al., arXiv 1611.01704, §3). Only training uses it: a bundle ships integer
tables made afterwards.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

FLOOR = 1e-6
"""Least probability of a bin: bounds the bits of an outlier."""

LOGISTIC_DEVIATION = math.pi / math.sqrt(3)


class Prior(nn.Module):
    """Locations and scales.

    Attributes:
        location: Of each way and channel, in steps.
        log_scale: Logarithm of the scale, in steps.
    """

    def __init__(self, deviation: Float[Tensor, "ways k"]) -> None:
        """Centred, with these standard deviations in steps."""
        super().__init__()
        self.location = nn.Parameter(torch.zeros_like(deviation))
        self.log_scale = nn.Parameter((deviation / LOGISTIC_DEVIATION).clamp_min(0.05).log())

    def bits(self, noisy: Float[Tensor, "n k"], ways: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
        """Bits of each value.

        Args:
            noisy: Latents in steps with uniform noise of one step, in place of rounding.
            ways: Which way each row is coded.
        """
        scale = self.log_scale.clamp(-6, 8).exp()[ways]
        # Both tails are mirrored to where the sigmoid keeps its digits.
        away = -(noisy - self.location[ways]).abs()
        p = torch.sigmoid((away + 0.5) / scale) - torch.sigmoid((away - 0.5) / scale)
        return -p.clamp_min(FLOOR).log2()
