import pytest
import torch

from sparsight.model.neck import Neck
from sparsight.model.sparse import AreaHolder


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_every_level_hears_of_every_level(changed: int) -> None:
    torch.manual_seed(0)
    neck = Neck((8, 12, 16), 8, AreaHolder()).eval()
    levels = [torch.randn(1, c, 16 >> i, 24 >> i) for i, c in enumerate((8, 12, 16))]
    with torch.no_grad():
        before = neck(*levels)
        levels[changed] = torch.randn_like(levels[changed])
        after = neck(*levels)
    for i, (a, b) in enumerate(zip(before, after, strict=True)):
        assert a.shape == (1, 8, 16 >> i, 24 >> i)
        assert (a - b).abs().max() > 1e-3, f"N{i + 3} knows nothing of P{changed + 3}"
