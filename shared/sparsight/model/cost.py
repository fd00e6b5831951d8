"""What a frame costs, counted: multiply-adds times two, as ESOD and most tables count.

torch's own counter runs once over each part, on tensors that have shapes but no data. What is
convolutional costs in proportion to the cells it computes: P3 cells of the frame for stem and
seeker, kept cells for trunk and neck, marked cells for the sparse head. Attention does not (windows
are padded to fit, global attention grows with the square), so where the trunk runs patches alone,
stem and trunk are counted at the very size of the frame and of the patch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from sparsight.geometry import CELL_PX
from sparsight.model.head import DEPTH
from sparsight.model.network import Network
from sparsight.slicer import Patches

PROBE_CELLS = (32, 32)


@dataclass(frozen=True, slots=True)
class Cost:
    """Operations of each part.

    Attributes:
        network: What is counted.
        stem: Stem and seeker, a P3 cell.
        trunk: Trunk, a kept P3 cell with its share of P4 and P5.
        neck: The same of the neck.
        head_near: The first convolution of both branches of the head, a cell of any level.
        head_marked: The rest of the head, a cell of any level.
    """

    network: Network
    stem: float
    trunk: float
    neck: float
    head_near: float
    head_marked: float
    _counted: dict[tuple[str, tuple[int, int]], float] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network) -> Cost:
        """Count a network's parts."""
        cells = PROBE_CELLS[0] * PROBE_CELLS[1]
        channels, classes = network.settings.neck_channels, len(network.settings.classes)
        near = 2 * 2.0 * 9 * channels * channels  # both branches
        predict = 2.0 * channels * (classes + 4)
        return cls(
            network,
            _stem(network, PROBE_CELLS) / cells,
            _trunk(network, PROBE_CELLS) / cells,
            _neck(network, PROBE_CELLS) / cells,
            near,
            (DEPTH - 1) * near + predict,
        )

    def dense_gflops(self, cells_hw: tuple[int, int]) -> float:
        """A whole frame through every part."""
        cells = cells_hw[0] * cells_hw[1]
        backbone = self._of("stem", cells_hw) + self._of("trunk", cells_hw)
        head = (self.head_near + self.head_marked) * (cells * 21 // 16)
        return (backbone + self.neck * cells + head) / 1e9

    def device_gflops(self, cells_hw: tuple[int, int]) -> float:
        """Stem and seeker on a whole frame."""
        return self._of("stem", cells_hw) / 1e9

    def gflops_at(
        self, cells_hw: tuple[int, int], occupancy: float, patch_hw: tuple[int, int]
    ) -> float:
        """A frame of which patches that don't overlap keep a share, the head at every kept cell.

        At most that: the sparse head leaves cells out.

        Args:
            cells_hw: P3 cells of the frame.
            occupancy: Share of them under the patches, from 0 to 1.
            patch_hw: Of a patch, in cells; of no weight where patches are computed joined.
        """
        cells = occupancy * cells_hw[0] * cells_hw[1]
        of_a_patch = self._of("trunk", patch_hw) / (patch_hw[0] * patch_hw[1])
        head = (self.head_near + self.head_marked) * 21 / 16
        deep = of_a_patch + self.neck + head
        return (self._of("stem", cells_hw) + deep * cells) / 1e9

    def split_gflops(self, patches: Patches, cells: int, near: int, marked: int) -> float:
        """A frame of which patches are kept.

        Args:
            patches: What is kept.
            cells: Cells of P3 that the deep part sees: under the patches and in their halo.
            near: Cells of all levels at which the head's first convolution ran.
            marked: Cells of all levels at which the rest of the head ran.
        """
        if self.network.trunk.joined:
            trunk = self.trunk * cells
        else:
            # Each patch by itself: overlaps are computed twice, what sticks out of the frame too.
            trunk = self._of("trunk", patches.size_hw) * len(patches)
        head = self.head_near * near + self.head_marked * marked
        return (self._of("stem", patches.grid_hw) + trunk + self.neck * cells + head) / 1e9

    def _of(self, part: str, cells_hw: tuple[int, int]) -> float:
        """Stem or trunk on a map of this size."""
        if self.network.trunk.joined:
            return (self.stem if part == "stem" else self.trunk) * cells_hw[0] * cells_hw[1]
        if (part, cells_hw) not in self._counted:
            count = _stem if part == "stem" else _trunk
            self._counted[part, cells_hw] = count(self.network, cells_hw)
        return self._counted[part, cells_hw]


def _stem(network: Network, cells_hw: tuple[int, int]) -> float:
    # Units on the whole map: a strip's halo is this program's business, not the model's cost.
    image = _map(3, (cells_hw[0] * CELL_PX, cells_hw[1] * CELL_PX))
    p3 = _map(network.stem.channels, cells_hw)
    return _count(network.stem.units, image) + _count(network.seeker, p3)


def _trunk(network: Network, cells_hw: tuple[int, int]) -> float:
    return _count(network.trunk, _map(network.stem.channels, cells_hw))


def _neck(network: Network, cells_hw: tuple[int, int]) -> float:
    widths = network.neck.channels_in
    levels = [_map(c, (cells_hw[0] >> i, cells_hw[1] >> i)) for i, c in enumerate(widths)]
    return _count(network.neck, *levels)


def _map(channels: int, hw: tuple[int, int]) -> Tensor:
    return torch.empty(1, channels, *hw, device="meta")


def _count(module: nn.Module, *inputs: Tensor) -> float:
    state: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    shapes = {k: torch.empty_like(v, device="meta") for k, v in state.items()}
    # Grad mode off and inference mode left, in which operators reach the counter undivided.
    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(module, shapes, inputs)
    return float(counter.get_total_flops())
