"""Stated operations against torch's own counter and against a count by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sparsight.model.cost import Cost
from sparsight.model.network import Network
from sparsight.slicer import Patches

NetworkOf = Callable[[str], Network]
LITE, SWIN = "tf_efficientnet_lite0", "swin_tiny_patch4_window7_224"


def counted(run: Callable[[], object]) -> float:
    # With gradients the stem runs whole: a strip's halo is no part of the model's cost.
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / 1e9


def patches_of(grid_hw: tuple[int, int], size: int, *origins_yx: tuple[int, int]) -> Patches:
    origins = np.array(origins_yx, np.int32).reshape(-1, 2)
    return Patches(origins, np.ones(len(origins), np.float32), (size, size), grid_hw)


@pytest.mark.parametrize(
    ("backbone", "folded"),
    [(LITE, False), (LITE, True), ("resnet18", False), (SWIN, False)],
)
def test_a_dense_frame_costs_what_torch_counts(
    network_of: NetworkOf, backbone: str, folded: bool
) -> None:
    network = network_of(backbone)
    if folded:
        network.fold()
        network.requires_grad_(True)
    want = counted(lambda: network(torch.zeros(1, 3, 160, 256)))
    assert Cost.of(network).dense_gflops((20, 32)) == pytest.approx(want, rel=0.01)


def test_a_split_frame_costs_what_its_areas_cost(network: Network) -> None:
    cost, grid = Cost.of(network), (20, 32)
    patches = patches_of(grid, 8, (0, 0), (4, 4), (16, 28))  # 64 + 64 - 16 + 4 * 4 cells
    cells, near, marked = 128 + 16, 70, 40  # a field of halo
    image = torch.zeros(1, 3, 160, 256)
    p3 = network.stem(image)
    stem = counted(lambda: network.seeker(network.stem(image)))
    deep = counted(lambda: network.neck(p3, *network.trunk(p3))) * cells / (20 * 32)
    channels, classes = 16, 3
    near_each = 2 * 2 * 9 * channels * channels
    marked_each = near_each + 2 * channels * (classes + 4)
    head = (near * near_each + marked * marked_each) / 1e9
    assert int(patches.union().sum()) == 128
    got = cost.split_gflops(patches, cells, near, marked)
    assert got == pytest.approx(stem + deep + head, rel=1e-3)


def test_patches_that_run_alone_cost_their_own_size_each(network_of: NetworkOf) -> None:
    network = network_of(SWIN)
    cost, grid = Cost.of(network), (20, 32)
    patches = patches_of(grid, 8, (0, 0), (4, 4), (16, 28))  # overlapping, and sticking out
    image = torch.zeros(1, 3, 160, 256)
    p3 = network.stem(image)
    stem = counted(lambda: network.seeker(network.stem(image)))
    trunk = counted(lambda: network.trunk(torch.zeros(3, p3.shape[1], 8, 8)))
    zeros = [torch.zeros(1, c, 4 >> i, 32 >> i) for i, c in enumerate(network.neck.channels_in)]
    neck = counted(lambda: network.neck(*zeros))  # 128 cells, as many as are kept
    assert cost.split_gflops(patches, 128, 0, 0) == pytest.approx(stem + trunk + neck, rel=1e-3)


@pytest.mark.parametrize("backbone", [LITE, SWIN])
def test_a_share_of_a_frame_costs_what_so_many_patches_cost(
    network_of: NetworkOf, backbone: str
) -> None:
    cost, grid = Cost.of(network_of(backbone)), (16, 32)
    patches = patches_of(grid, 8, (0, 0), (8, 16))  # a quarter
    cells = 128 * 21 // 16
    want = cost.split_gflops(patches, 128, cells, cells)
    assert cost.gflops_at(grid, 0.25, (8, 8)) == pytest.approx(want, rel=1e-9)
    empty = cost.split_gflops(patches_of(grid, 8), 0, 0, 0)
    assert cost.gflops_at(grid, 0.0, (8, 8)) == pytest.approx(empty, rel=1e-9)
    assert cost.device_gflops(grid) == pytest.approx(empty, rel=1e-9)


def test_an_empty_frame_costs_stem_and_seeker(network: Network) -> None:
    cost = Cost.of(network)
    image = torch.zeros(1, 3, 160, 256)
    want = counted(lambda: network.seeker(network.stem(image)))
    assert cost.split_gflops(patches_of((20, 32), 8), 0, 0, 0) == pytest.approx(want, rel=1e-6)


def test_counting_works_where_detection_runs(network_of: NetworkOf) -> None:
    cost = Cost.of(network_of(SWIN))
    outside = cost.dense_gflops((8, 12))
    with torch.inference_mode():
        assert cost.dense_gflops((12, 8)) == pytest.approx(outside, rel=1e-9)
