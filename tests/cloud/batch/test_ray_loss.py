"""When a flow is given up: for a node that is gone, and when nothing comes for too long."""

import pytest

from sparsight.errors import UsageError
from sparsight_cloud.batch import ray_loss
from sparsight_cloud.batch.ray_loss import NodeLostError, Progress


class World:
    """The cluster's nodes and the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes, self.now_s = {"a", "b"}, 100.0
        monkeypatch.setattr(ray_loss, "_alive", lambda: frozenset(self.nodes))
        monkeypatch.setattr("time.monotonic", lambda: self.now_s)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_lost_node_ends_a_flow_once_nothing_comes(world: World) -> None:
    progress = Progress(8)
    world.nodes = {"a", "c"}  # another one came: it is not the one that computed
    for _ in range(20):
        world.now_s += 10
        progress.check()
        progress.came(took_s=2)
    world.now_s += 14
    progress.check()
    world.now_s += 2
    with pytest.raises(NodeLostError):
        progress.check()
    Progress(8).check()  # the next flow begins with the nodes that are there


def test_slow_shards_are_waited_for(world: World) -> None:
    progress = Progress(8)
    progress.came(took_s=100)
    world.nodes = {"a"}
    world.now_s += 290
    progress.check()
    world.now_s += 20
    with pytest.raises(NodeLostError):
        progress.check()


@pytest.mark.parametrize(("pictures", "limit_s"), [(8, 1800), (4096, 4096 * 30)])
def test_a_flow_that_hangs_ends_one_day(world: World, pictures: int, limit_s: float) -> None:
    progress = Progress(pictures)
    world.now_s += limit_s - 1
    progress.check()
    world.now_s += 2
    with pytest.raises(UsageError, match="no shard was done for"):
        progress.check()
