"""The sparse head against the dense one."""

import pytest
import torch

from sparsight.model.network import Network
from sparsight.model.sparse import CellArea

SHAPE = (2, 16, 24)


def levels_and_area(kept: str) -> tuple[list[torch.Tensor], CellArea]:
    torch.manual_seed(5)
    keep = torch.zeros(SHAPE, dtype=torch.bool)
    keep[0, 4:12, 8:20] = True
    keep[1, 0:4, 0:4] = True
    if kept == "all":
        keep[:] = True
    area = CellArea.of(keep)
    return [torch.randn(len(r), 16, 1, 1) for r in area.rows], area


@pytest.mark.parametrize("kept", ["all", "some"])
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_marked_cells_get_the_dense_heads_numbers(
    network: Network, level: int, share: float, kept: str
) -> None:
    network.fold()
    rows, area = levels_and_area(kept)
    n = rows[level]
    marked = (torch.rand(len(n)) < share).nonzero()[:, 0]
    if share and not len(marked):
        marked = torch.tensor([len(n) - 1])
    with torch.no_grad():
        with network.holder.keeping(area):
            want_logits = network.head.classes(n, level).flatten(1)
            raw = network.head.boxes(n, level).flatten(1)
            want_distances = network.head.distances(raw, level)
        logits, distances, near = network.head.sparse(n, level, area, marked)
    torch.testing.assert_close(logits, want_logits[marked], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(distances, want_distances[marked], rtol=1e-4, atol=1e-3)
    assert len(near) <= min(len(n), 9 * len(marked))
    assert set(marked.tolist()) <= set(near.tolist())


def test_one_marked_cell_costs_nine_cells_of_the_first_convolution(network: Network) -> None:
    network.fold()
    rows, area = levels_and_area("all")
    middle = torch.tensor([5 * 24 + 7])
    corner = torch.tensor([0])
    assert len(network.head.sparse(rows[0], 0, area, middle)[2]) == 9
    assert len(network.head.sparse(rows[0], 0, area, corner)[2]) == 4


def test_untrained_boxes_start_at_one_and_a_half_strides() -> None:
    from sparsight.model.head import Head
    from sparsight.model.sparse import AreaHolder

    head = Head(16, 3, AreaHolder()).eval()
    maps = tuple(torch.zeros(1, 16, 8 >> i, 8 >> i) for i in range(3))
    logits, distances = head(maps)
    assert torch.allclose(logits.sigmoid(), torch.tensor(0.01), atol=1e-4)
    strides = torch.cat([torch.full((64 >> (2 * i),), 8.0 * 2**i) for i in range(3)])
    torch.testing.assert_close(distances, (1.5 * strides)[None, :, None].expand(1, -1, 4))
