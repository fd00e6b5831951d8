"""How many replicas, as people write it."""

from __future__ import annotations

import pytest

from sparsight.errors import UsageError
from sparsight_cloud.serving.ray_wishes import RayWishes
from sparsight_cloud.serving.replicas import Replicas


def test_a_number_or_a_range() -> None:
    assert Replicas.of("2") == Replicas(2, 1, 2)
    assert not Replicas.of("2").scales
    assert Replicas.of("1-8", cpus=0.5, gpus=0.25) == Replicas(1, 0.5, 8, 0.25)
    assert Replicas.of("1-8").scales


@pytest.mark.parametrize("count", ["", "0", "8-1", "-1", "1-", "1025", "two", "1-2-3"])
def test_anything_else_is_said_so(count: str) -> None:
    with pytest.raises(UsageError, match="--replicas"):
        Replicas.of(count)


def test_gpus_are_a_part_of_one_or_whole() -> None:
    with pytest.raises(UsageError, match="--gpus"):
        Replicas.of("1", gpus=1.5)


def test_an_application_is_of_a_cluster_that_others_can_reach() -> None:
    with pytest.raises(UsageError, match="--address"):
        RayWishes(app="fleet")
    with pytest.raises(UsageError, match="letters, digits"):
        RayWishes(address="auto", app="a fleet/1")
    assert RayWishes(address="auto", app="fleet", cpus=0.5).counted().cpus == 0.5
