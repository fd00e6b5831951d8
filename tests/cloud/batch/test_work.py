"""What is left when a cluster loses a node is done by another flow; errors are counted once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sparsight.errors import PictureError, UsageError
from sparsight.settings import DetectSettings
from sparsight_cloud.batch import work
from sparsight_cloud.batch.items import Item, Shard, shards_of
from sparsight_cloud.batch.ray_flow import Job
from sparsight_cloud.batch.ray_loss import NodeLostError
from sparsight_cloud.batch.rows import Made
from sparsight_cloud.batch.work import Wanted
from sparsight_cloud.serving.ray_cluster import RayCluster

JOB = Job(Path("bundle"), ("car",), DetectSettings(), 100, 100, "out")
SHARDS = shards_of([Item(f"/{i}.png", None, None, 1, "") for i in range(6)], 2)
MADE = Made(2, 0, 1, 10, 10, 0.0)


class Cluster(RayCluster):
    """Has three processors, then one; says what was done with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cpus: Sequence[int] = (3, 1)) -> None:
        super().__init__("head:1", with_serve=False)
        self.cpus, self.seen = [*cpus], list[Any]()
        monkeypatch.setattr("sparsight_cloud.batch.work.cluster_cpus", lambda: self.cpus[0])
        monkeypatch.setattr("sparsight_cloud.batch.work.flow", self.flow)

    def disconnect(self) -> None:
        self.seen.append("left")
        self.cpus.pop(0)

    def connect(self) -> None:
        self.seen.append("joined")

    def flow(
        self, job: Job, shards: Sequence[Shard], workers: int, gpus: object
    ) -> Iterator[tuple[int, Made]]:
        self.seen.append(([shard.number for shard in shards], workers))
        for shard in reversed(shards):
            if len(self.cpus) > 1 and shard.number == 0:
                raise NodeLostError
            yield shard.number, MADE


def through(cluster: Cluster) -> list[int]:
    wanted = Wanted(address="head:1")
    flows = work._flows(JOB, SHARDS, wanted, cluster)
    return [number for number, _ in flows]


def test_a_lost_node_costs_nothing_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch)
    assert through(cluster) == [2, 1, 0]
    assert cluster.seen == [([0, 1, 2], 3), "left", "joined", ([0], 1)]


def test_a_cluster_of_which_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="has 0 processors"):
        through(Cluster(monkeypatch, (3, 0)))


def test_errors_are_held_against_the_most_that_are_allowed() -> None:
    work._hold(2, Wanted(max_errors=2))
    work._hold(9, Wanted())
    with pytest.raises(PictureError, match="3 pictures can't be read, more than --max-errors 2"):
        work._hold(3, Wanted(max_errors=2))
