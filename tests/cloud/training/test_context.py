"""Tables that are learned: what others tell is found, and the same pictures teach the same."""

from dataclasses import fields

import numpy as np
import pytest

from sparsight.codec.bank import ESCAPE, MIDDLE, ROWS
from sparsight.codec.context import Context, neighbours
from sparsight.codec.latents import ToldCells
from sparsight.codec.tables import Tables
from sparsight.codec.zones import ZONES
from sparsight_cloud.training.context import (
    HELD_OUT,
    SeenFrame,
    bits_a_cell,
    count_symbols,
    held_out,
    learn_context,
)

STEPS = np.array([[1.0, 1.5, 2.5, 3.0], [4.0, 4.0, 8.0, 9.0]])[..., None].repeat(4, 2)
"""Two rates, four zones, four channels."""


def a_frame(seed: int) -> SeenFrame:
    """Channel 0 wanders; 1 follows its western neighbour's, 2 its own cell's; 3 is noise."""
    rng = np.random.default_rng(seed)
    union = np.ones((10, 16), np.bool_)
    union[:3, :5] = False
    zones = rng.integers(0, ZONES, union.sum()).astype(np.uint8)
    walk = np.cumsum(rng.normal(0, 2.0, (10, 16)), 1) * 0.7
    west = np.roll(walk, 1, 1)
    noise = rng.normal(0, 0.5, (4, 10, 16))
    values = (np.stack((walk, west, walk * 0.8, 4 * noise[3])) + noise)[:, union].T
    latents = [np.rint(values / steps[zones]).clip(-128, 127) for steps in STEPS]
    return SeenFrame(ToldCells(neighbours(union), zones), np.array(latents, np.int8))


FRAMES = [a_frame(seed) for seed in range(30)]
MARKS = np.ones((16, 2), np.int64)


@pytest.fixture(scope="module")
def learned() -> list[Context]:
    return [learn_context(FRAMES, rate, steps) for rate, steps in enumerate(STEPS)]


def alone(rate: int) -> float:
    """Entropy of a cell where each zone and channel has its own distribution and no context."""
    bits, cells = 0.0, 0
    zones = np.concatenate([one.cells.zones for one in FRAMES])
    latents = np.concatenate([one.latents[rate] for one in FRAMES])
    for zone in range(ZONES):
        for column in latents[zones == zone].T:
            share = np.unique(column, return_counts=True)[1] / len(column)
            bits -= (share * np.log2(share)).sum() * len(column)
        cells += (zones == zone).sum()
    return bits / cells


def test_what_others_tell_is_found(learned: list[Context]) -> None:
    tables = Tables.fit(learned, count_symbols(FRAMES, learned), MARKS)
    fresh = [a_frame(seed) for seed in range(100, 106)]
    for rate, bits in enumerate(bits_a_cell(fresh, tables)):
        assert bits < 0.85 * alone(rate)


def test_weights_stay_where_integers_can_hold_them(learned: list[Context]) -> None:
    for net in learned:
        assert net.is_sound()
        for part in (net.around, net.out, net.own):
            assert 0 < np.abs(part).max() < 32767
        assert (np.tril(net.own.transpose(1, 0, 2)) == 0).all()  # nobody before tells of a later
    assert learned[0].units.tolist() == [[16] * 4, [24] * 4, [40] * 4, [48] * 4]


def test_the_same_pictures_teach_the_same(learned: list[Context]) -> None:
    again = learn_context(FRAMES, 0, STEPS[0])
    for one in fields(Context):
        np.testing.assert_array_equal(getattr(again, one.name), getattr(learned[0], one.name))


def test_every_latent_is_counted_once(learned: list[Context]) -> None:
    counts = count_symbols(FRAMES, learned)
    assert counts.shape == (ROWS, 256)
    assert counts.sum() == sum(one.latents.size for one in FRAMES)
    assert counts[:, ESCAPE].sum() == 0  # nothing here is 127 steps from where it is expected
    assert counts[:, MIDDLE - 1 : MIDDLE + 3].sum() > 0.5 * counts.sum()


def test_some_pictures_only_judge() -> None:
    lesson, judges = held_out(FRAMES)
    assert (len(lesson), len(judges)) == (28, 2)
    assert judges == FRAMES[HELD_OUT - 1 :: HELD_OUT]
    few = held_out(FRAMES[:5])
    assert few == (FRAMES[:5], FRAMES[:5])  # too few to spare one
