"""The codec's two ends in torch: P3 of kept cells to a coded frame, coded frames to P3.

    P3, patches ─ analysis ─ round ─ cut_frame ─> CodedFrame ─ payload.encode ─> bytes
    CodedFrames ─ latents * steps ─ synthesis on the kept cells of all frames ─> rows of P3

The steps of a cell are those of its zone, which both lines derive from the frame's marks. A device
does the first line with `edge.onnx`; here it serves training and evaluation. The second line is the
cloud's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from sparsight.bundle import TABLES, Bundle
from sparsight.codec.cut import cut_frame
from sparsight.codec.payload import CodedFrame
from sparsight.codec.tables import Tables
from sparsight.codec.zones import UNTOLD
from sparsight.errors import UsageError
from sparsight.model.bottleneck import Bottleneck, quantised
from sparsight.model.passes import Kept
from sparsight.model.sparse import CellArea
from sparsight.slicer import Patches


@dataclass(frozen=True, slots=True)
class FrameCodec:
    """A bundle's codec.

    Attributes:
        bottleneck: Its learned half.
        steps: Step sizes of each rate, finest first: a row for each zone.
        tables: Its exact half.
    """

    bottleneck: Bottleneck
    steps: tuple[Float[Tensor, "z k"], ...]
    tables: Tables

    @classmethod
    def of(cls, bundle: Bundle, bottleneck: Bottleneck) -> FrameCodec:
        """The codec of an opened bundle.

        Raises:
            BundleError: Its tables are damaged.
        """
        steps = tuple(torch.tensor(rate.steps) for rate in bundle.manifest.rates)
        return cls(bottleneck, steps, Tables.load(bundle.folder / TABLES))

    def code(self, p3: Float[Tensor, "1 c h w"], kept: Kept, rate: int) -> CodedFrame:
        """What a device would send of a frame.

        Args:
            p3: The stem's map.
            kept: What the slicer kept of it.
            rate: Which steps to use.

        Raises:
            UsageError: There is no such rate.
        """
        steps = self.steps_of(rate).to(p3.device)
        return self.code_latents(quantised(self.bottleneck.analysis(p3), steps)[0], kept, rate)

    def code_latents(self, latents: Int8[Tensor, "z k _ _"], kept: Kept, rate: int) -> CodedFrame:
        """Likewise from the latents of the whole frame, in the steps of each zone."""
        return cut_frame(latents.cpu().numpy(), kept.patches, kept.marks, rate, kept.halo)

    def rows(self, frames: Sequence[CodedFrame], area: CellArea) -> Float[Tensor, "n c 1 1"]:
        """P3 of the kept cells of some frames.

        Args:
            frames: Coded frames, of any rates.
            area: Their kept cells, frame after frame.
        """
        device = self.bottleneck.synthesis.spread.weight.device
        latents = torch.cat([self._scaled(frame).to(device) for frame in frames])
        out: Tensor = self.bottleneck.synthesis(latents, area)
        return out

    def steps_of(self, rate: int) -> Float[Tensor, "z k"]:
        """Step size of each channel in each zone at a rate.

        Raises:
            UsageError: There is no such rate.
        """
        if not 0 <= rate < len(self.steps):
            raise UsageError(
                f"rate: expected 0 to {len(self.steps) - 1}, the finest first, got {rate}"
            )
        return self.steps[rate]

    def _scaled(self, frame: CodedFrame) -> Float[Tensor, "n16 k"]:
        """Latents of a frame times the steps of their zones, a row for each told cell."""
        zones = frame.zones()
        own = torch.from_numpy(zones[zones != UNTOLD].astype(np.int64))
        out: Tensor = torch.from_numpy(frame.latents).T.float() * self.steps_of(frame.rate)[own]
        return out


def kept_of(frame: CodedFrame) -> Kept:
    """What was kept of a coded frame."""
    gains = np.zeros(len(frame.origins_yx), np.float32)
    patches = Patches(frame.origins_yx, gains, frame.patch_hw, frame.grid_hw)
    return Kept(patches, frame.marks, frame.halo)
