"""What is wanted of Ray, as a person says it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparsight.errors import UsageError
from sparsight_cloud.serving.batching import BatchRule
from sparsight_cloud.serving.ray_app import RayApp, app_name
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.serving.ray_replica import Model
from sparsight_cloud.serving.ray_serve import RayServeDispatch
from sparsight_cloud.serving.replicas import Replicas

if TYPE_CHECKING:
    from sparsight_cloud.serving.up import MakeDispatch

_APP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class RayWishes:
    """What is wanted of Ray.

    Attributes:
        address: HOST:PORT of a cluster's head, or `auto`; None starts one.
        app: The application that several gateways share; None has its own.
        replicas: `2`, or `1-8`; None is 1.
        cpus: Processors for each replica; None is one, or of a cluster of our own what there is.
        gpus: GPUs for each replica.

    Raises:
        UsageError: It can't be so.
    """

    address: str | None = None
    app: str | None = None
    replicas: str | None = None
    cpus: float | None = None
    gpus: float = 0

    def __post_init__(self) -> None:
        self.counted()
        if self.app is None:
            return
        if self.address is None:
            raise UsageError(
                "--app: gateways share an application of one cluster; say which by --address"
            )
        if not _APP.fullmatch(self.app):
            raise UsageError(
                "--app: expected up to 63 letters, digits, dots, dashes and underscores, "
                f"got {self.app!r}"
            )

    def counted(self) -> Replicas:
        """How many replicas, and what each takes."""
        count = Replicas.of(self.replicas or "1", self.cpus or 1, self.gpus)
        if self.cpus is not None or self.address is not None:
            return count
        # Our own cluster has nobody else to share this machine with.
        each = max(1, len(os.sched_getaffinity(0)) // (count.most or count.n))
        return Replicas(count.n, each, count.most, count.gpus)

    def cluster(self) -> RayCluster:
        """The cluster, not yet connected to."""
        count = self.counted()
        return RayCluster(self.address, cpus=max(1, round((count.most or count.n) * count.cpus)))

    def make(self, bundles: Sequence[Path], rule: BatchRule, out: Path) -> MakeDispatch:
        """What makes the dispatch; bundles that can't be served are found out now.

        Args:
            bundles: Folders of what is served.
            rule: When a batch is complete.
            out: The gateway's folder of results, which names replicas that nobody shares.

        Raises:
            BundleError: A bundle is missing, damaged, or has no codec.
            UsageError: There is no such cluster's address.
        """
        name, count = self.app or app_name(out), self.counted()
        model = Model.of_bundles(bundles, count.device)
        app = RayApp(name, model, count, shared=self.app is not None)
        cluster = self.cluster()
        return lambda ears: RayServeDispatch(app, cluster, rule, ears)
