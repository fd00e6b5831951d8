"""What a frame costs, counted: multiply-adds times two, as ESOD and most tables count.

torch's own counter is run once over each part on a small probe. Every part is convolutional, so its cost is proportional to the
cells it computes: pixels for the stem, kept cells for trunk and neck, marked cells for the sparse head. (Attention within fixed
windows is proportional too.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from sparsight.geometry import CELL_PX
from sparsight.model.head import DEPTH
from sparsight.model.network import Network

PROBE_PX = 256


@dataclass(frozen=True, slots=True)
class Cost:
    """Operations for one unit of each part.

    Attributes:
        stem: Stem and seeker, a P3 cell.
        deep: Trunk and neck, a kept P3 cell with its share of P4 and P5.
        head_near: The first convolution of both branches of the head, a cell of any level.
        head_marked: The rest of the head, a cell of any level.
    """

    stem: float
    deep: float
    head_near: float
    head_marked: float

    @classmethod
    def of(cls, network: Network) -> Cost:
        """Count a network's parts."""
        side = PROBE_PX // CELL_PX
        device = next(network.parameters()).device
        with torch.no_grad():
            image = torch.zeros(1, 3, PROBE_PX, PROBE_PX, device=device)
            with FlopCounterMode(display=False) as stem:
                # Unit by unit, not in strips: a strip's halo is this program's business, not the model's cost.
                x = image
                for unit in network.stem.units:
                    x = unit(x)
                p3 = x.permute(0, 3, 1, 2) if network.stem.nhwc else x
                network.seeker(p3)
            with FlopCounterMode(display=False) as deep:
                network.neck(p3, *network.trunk(p3))
        channels, classes = network.settings.neck_channels, len(network.settings.classes)
        near = 2 * 2.0 * 9 * channels * channels  # both branches
        predict = 2.0 * channels * (classes + 4)
        cells = side * side
        return cls(
            stem.get_total_flops() / cells,
            deep.get_total_flops() / cells,
            near,
            (DEPTH - 1) * near + predict,
        )

    def dense_gflops(self, cells_hw: tuple[int, int]) -> float:
        """A whole frame through every part."""
        cells = cells_hw[0] * cells_hw[1]
        return self.gflops(cells, cells, cells * 21 // 16, cells * 21 // 16)

    def gflops(self, cells: int, kept: int, near: int, marked: int) -> float:
        """A frame.

        Args:
            cells: P3 cells of the frame.
            kept: P3 cells in the kept area.
            near: Cells of all levels at which the head's first convolution ran.
            marked: Cells of all levels at which the rest of the head ran.
        """
        total = (
            self.stem * cells + self.deep * kept + self.head_near * near + self.head_marked * marked
        )
        return total / 1e9
