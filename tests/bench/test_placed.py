import numpy as np
import pytest
import torch
from bench.placed import GivenHeat, seeded_heat
from torch import nn

from sparsight.errors import UsageError
from sparsight.slicer import SlicerSettings, slice_heat


@pytest.mark.parametrize("share", [0.08, 0.25])
@pytest.mark.parametrize("patch_hw", [(16, 16), (28, 28)])
def test_the_slicer_keeps_the_share_that_was_asked_for(
    patch_hw: tuple[int, int], share: float
) -> None:
    slicer = SlicerSettings(patch_hw=patch_hw)
    kept = slice_heat(seeded_heat((240, 240), slicer, share), slicer).kept_area
    assert kept == pytest.approx(share, abs=0.51 * patch_hw[0] * patch_hw[1] / 240**2)


def test_the_same_seed_places_the_same_patches() -> None:
    a, b, c = (seeded_heat((64, 64), SlicerSettings(), 0.25, seed) for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_more_patches_than_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="ask for less"):
        seeded_heat((240, 240), SlicerSettings(patch_hw=(28, 28)), 0.95)


class Zeros(nn.Module):
    calls = 0

    def forward(self, p3: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.zeros(1, *p3.shape[2:])


def test_a_given_heat_replaces_the_answer_but_not_the_work() -> None:
    heat = seeded_heat((32, 32), SlicerSettings(), 0.25)
    seeker = Zeros()
    given = GivenHeat(seeker, heat)
    answer = given(torch.zeros(1, 4, 32, 32)).sigmoid()[0].numpy()
    np.testing.assert_allclose(answer, heat, atol=2e-4)
    assert seeker.calls == 1
    assert given(torch.zeros(1, 4, 8, 8)).shape == (1, 8, 8)
