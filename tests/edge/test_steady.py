"""What flickers is held, what changes is told, and a camera that moves is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from sparsight.errors import UsageError
from sparsight_edge.engine.engine import Maps
from sparsight_edge.steady import Steady, SteadySettings, same_fields

RNG = np.random.default_rng(0)
HEAT = RNG.uniform(0, 1, (24, 40)).astype(np.float32)
LATENTS = RNG.integers(-9, 10, (4, 64, 12, 20)).astype(np.int8)
SCENE = Maps(HEAT, LATENTS)


def flicker(maps: Maps, seed: int) -> Maps:
    """Sensor noise: one latent in 50 a step off, heat by a few hundredths."""
    rng = np.random.default_rng(seed)
    steps = rng.choice((-1, 0, 1), maps.latents.shape, p=(0.01, 0.98, 0.01)).astype(np.int8)
    heat = maps.heat + rng.normal(0, 0.02, maps.heat.shape).astype(np.float32)
    return Maps(heat.clip(0, 1), maps.latents + steps)


def with_object(maps: Maps, field_yx: tuple[int, int]) -> Maps:
    """Something new in one cell of a field of 2x2 cells of the latents."""
    y, x = 2 * field_yx[0], 2 * field_yx[1] + 1
    latents = maps.latents.copy()
    latents[:, ::2, y, x] += 3
    return Maps(maps.heat, latents)


def fields_that_differ(a: Maps, b: Maps) -> list[list[int]]:
    heat = (a.heat != b.heat).reshape(-1, 4, 10, 4).any((1, 3))
    latents = (a.latents != b.latents).any((0, 1)).reshape(-1, 2, 10, 2).any((1, 3))
    found: list[list[int]] = np.argwhere(heat | latents).tolist()
    return found


def test_noise_is_held_for_ever() -> None:
    steady = Steady(SteadySettings())
    first = steady.hold(flicker(SCENE, 0), 2)
    for seed in range(1, 20):
        held = steady.hold(flicker(SCENE, seed), 2)
        assert fields_that_differ(first, held) == []


def test_what_comes_and_what_goes_is_told_and_the_rest_held() -> None:
    steady = Steady(SteadySettings())
    first = steady.hold(SCENE, 2)
    there = steady.hold(with_object(flicker(SCENE, 1), (3, 7)), 2)
    assert fields_that_differ(first, there) == [[3, 7]]
    gone = steady.hold(flicker(SCENE, 2), 2)
    assert fields_that_differ(there, gone) == [[3, 7]]


def test_heat_alone_is_a_change() -> None:
    heat = HEAT.copy()
    heat[9, 21] = HEAT[9, 21] - 0.5 if HEAT[9, 21] > 0.5 else HEAT[9, 21] + 0.5
    steady = Steady(SteadySettings())
    first = steady.hold(SCENE, 2)
    assert fields_that_differ(first, steady.hold(Maps(heat, LATENTS), 2)) == [[2, 5]]


def test_what_creeps_is_told_once_it_is_far_enough_from_what_was_told() -> None:
    # A channel in sixteen a step further with every frame: 1/16 a frame, below the bound.
    steady = Steady(SteadySettings(latents=0.18))
    told = [steady.hold(SCENE, 2)]
    for i in range(1, 10):
        latents = LATENTS.copy()
        latents[0, :: 64 // 4] += i
        told.append(steady.hold(Maps(HEAT, latents), 2))
        behind = np.abs(latents[0].astype(int) - told[-1].latents[0]).mean(0)
        assert behind.max() <= 0.18
    assert len({maps.latents.tobytes() for maps in told}) == 4


def test_a_camera_that_moves_or_is_another_is_told_as_it_is() -> None:
    steady = Steady(SteadySettings())
    steady.hold(SCENE, 2)
    moved = Maps(np.roll(HEAT, 5, 1), np.roll(LATENTS, 3, 3))
    assert steady.hold(moved, 2) is moved
    smaller = Maps(HEAT[:16], LATENTS[:, :, :8])
    assert steady.hold(smaller, 2) is smaller
    other_steps = flicker(smaller, 3)
    assert steady.hold(other_steps, 1) is other_steps
    assert fields_that_differ(steady.hold(flicker(smaller, 4), 1), other_steps) == []


def test_a_few_fields_that_happen_to_be_the_same_are_not_held() -> None:
    latents = RNG.integers(-9, 10, LATENTS.shape).astype(np.int8)
    latents[:, :, :, :8] = LATENTS[:, :, :, :8]
    other = Maps(HEAT, latents)
    same = same_fields(other, SCENE, SteadySettings())
    assert 0.3 < same.mean() < 0.5
    steady = Steady(SteadySettings())
    steady.hold(SCENE, 2)
    assert steady.hold(other, 2) is other


@pytest.mark.parametrize("name", ["latents", "heat", "still"])
@pytest.mark.parametrize("value", [-0.1, 300.0, float("nan")])
def test_bounds_that_are_none_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"steady.{name}: expected 0 to"):
        SteadySettings(**{name: value})
