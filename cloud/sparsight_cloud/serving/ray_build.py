"""The application for whoever deploys it by its import path, such as KubeRay's RayService.

serveConfigV2: import_path, args ─> build ─> an application of replicas, which gateways join by name

Ray imports this module, in a process of the cluster. That process looks at the bundles as well, so
they lie at the same place in every image or volume of the cluster.

Annotations are no strings here: Serve looks at that of `build` to make its argument.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from sparsight_cloud.serving.ray_app import Replicas, application
from sparsight_cloud.serving.ray_replica import Model

if TYPE_CHECKING:
    from ray.serve import Application


class BuildArgs(BaseModel):
    """What stands below `args` of the application.

    Attributes:
        bundles: Folders of the bundles, in the containers of the cluster.
        replicas: How many.
        cpus: Of Ray's processors for each; torch computes with as many threads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundles: list[Path] = Field(min_length=1)
    replicas: int = Field(1, ge=1, le=1024)
    cpus: int = Field(1, ge=1, le=1024)


def build(args: BuildArgs) -> "Application":
    """Make the application.

    Raises:
        BundleError: A bundle is missing, damaged, or has no codec.
    """
    replicas = Replicas(args.replicas, args.cpus)
    return application(Model.of_bundles(args.bundles), replicas, on_loopback=False)
