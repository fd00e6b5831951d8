"""The assignment against the definition, written out box by box and cell by cell."""

import math

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from sparsight.model.network import cell_centres
from sparsight_cloud.training.assign import assign

CLASSES = 3


def by_definition(
    scores: torch.Tensor,
    predicted: torch.Tensor,
    centres: torch.Tensor,
    strides: torch.Tensor,
    usable: torch.Tensor,
    boxes: torch.Tensor,
    labels: torch.Tensor,
) -> dict[int, tuple[int, float]]:
    """Cell -> box and IoU."""
    iou = box_iou(boxes, predicted).numpy()
    wants: dict[int, list[tuple[float, int]]] = {}
    for b, box in enumerate(boxes.tolist()):
        cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        candidates = []
        for c, (x, y) in enumerate(centres.tolist()):
            rx, ry = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
            if strides[c] == 8:
                rx, ry = max(rx, 8), max(ry, 8)
            if not (usable[c] and abs(x - cx) < rx and abs(y - cy) < ry):
                continue
            p = 1 / (1 + math.exp(-float(scores[c, labels[b]])))
            u = float(iou[b, c])
            bce = -u * math.log(p) - (1 - u) * math.log(1 - p)
            away = math.hypot(x - cx, y - cy) / float(strides[c])
            cost = bce * (u - p) ** 2 - 3 * math.log(u + 1e-7) + 10 ** (away - 3)
            candidates.append((cost, c, u))
        if not candidates:
            continue
        k = max(1, int(sum(sorted((u for _, _, u in candidates), reverse=True)[:13])))
        for cost, c, _ in sorted(candidates)[:k]:
            wants.setdefault(c, []).append((cost, b))
    return {c: (min(w)[1], float(iou[min(w)[1], c])) for c, w in wants.items()}


@pytest.mark.parametrize("seed", range(8))
def test_assignment_is_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres, strides = cell_centres((8, 12), torch.device("cpu"))
    cells, n = len(centres), int(rng.integers(1, 9))
    corner = rng.uniform(-4, 80, (n, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(2, 40, (n, 2))], 1)
    reach = rng.uniform(0.3, 2.5, (cells, 4)) * strides.numpy()[:, None]
    middle = centres.numpy()
    predicted = np.concatenate([middle - reach[:, :2], middle + reach[:, 2:]], 1)
    given = (
        torch.from_numpy(rng.normal(-1, 2, (cells, CLASSES)).astype(np.float32)),
        torch.from_numpy(predicted.astype(np.float32)),
        centres,
        strides,
        torch.from_numpy(rng.random(cells) < 0.8),
        torch.from_numpy(xyxy.astype(np.float32)),
        torch.from_numpy(rng.integers(0, CLASSES, n)),
    )
    got = assign(*given)
    want = by_definition(*given)
    rows = zip(got.cells.tolist(), got.boxes.tolist(), got.ious.tolist(), strict=True)
    found = {c: (b, u) for c, b, u in rows}
    assert len(found) == len(got.cells)
    assert {c: b for c, (b, _) in found.items()} == {c: b for c, (b, _) in want.items()}
    for c, (_, u) in found.items():
        assert u == pytest.approx(want[c][1], abs=1e-5)


def test_no_boxes_and_no_usable_cells_give_nothing() -> None:
    centres, strides = cell_centres((4, 4), torch.device("cpu"))
    n = len(centres)
    scores, predicted = torch.zeros(n, CLASSES), torch.zeros(n, 4)
    none = assign(
        scores,
        predicted,
        centres,
        strides,
        torch.ones(n, dtype=torch.bool),
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.long),
    )
    box, label = torch.tensor([[4.0, 4, 12, 12]]), torch.zeros(1, dtype=torch.long)
    unusable = torch.zeros(n, dtype=torch.bool)
    blind = assign(scores, predicted, centres, strides, unusable, box, label)
    assert len(none.cells) == len(blind.cells) == 0
