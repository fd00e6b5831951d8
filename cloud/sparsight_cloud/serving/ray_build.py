"""The application for whoever deploys it by its import path, such as KubeRay's RayService.

serveConfigV2: import_path, args ─> build ─> an application of replicas, which gateways join by name

Ray imports this module, in a process of the cluster. That process looks at the bundles as well, so
they lie at the same place in every image or volume of the cluster.

Annotations are no strings here: Serve looks at that of `build` to make its argument.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from sparsight_cloud.serving.ray_app import application
from sparsight_cloud.serving.ray_replica import Model
from sparsight_cloud.serving.replicas import Replicas

if TYPE_CHECKING:
    from ray.serve import Application


class BuildArgs(BaseModel):
    """What stands below `args` of the application.

    Attributes:
        bundles: Folders of the bundles, in the containers of the cluster.
        replicas: How many: `4`, or `1-8` while frames wait for them.
        cpus: Of Ray's processors for each; torch computes with as many threads.
        gpus: GPUs for each; a fraction shares one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    bundles: list[Path] = Field(min_length=1)
    replicas: str = "1"
    cpus: float = 1
    gpus: float = 0

    def counted(self) -> Replicas:
        """How many replicas, and what each takes.

        Raises:
            UsageError: There can't be so many.
        """
        return Replicas.of(self.replicas, self.cpus, self.gpus)


def build(args: BuildArgs) -> "Application":
    """Make the application.

    Raises:
        BundleError: A bundle is missing, damaged, or has no codec.
        UsageError: There can't be so many replicas.
    """
    return application(Model.of_bundles(args.bundles), args.counted(), on_loopback=False)
