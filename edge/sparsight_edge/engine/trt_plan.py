"""TensorRT engines on disk: built once for this graph, these settings, this TensorRT, this GPU.

    edge.onnx ─ parse ─ P3 taken off ─ shapes from one cell row to the whole square ─ build ─> plan
    hash of (graph, settings, TensorRT, GPU) ─> FOLDER/HASH.plan, and HASH.json that vouches for it

A plan is only ever found under the hash of what it was made from, so a new bundle, another JetPack
or another board means building anew, never running what is stale. Two builds of the same graph
differ in bytes; the hash is of what goes in, not of what comes out. Loading a plan runs code that
is in it: the folder is the user's own.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparsight.errors import BundleError
from sparsight_edge.engine.engine import INPUT_STEP_PX
from sparsight_edge.engine.trt_api import TensorRt

UNWANTED = "p3"
"""An output that a device does not ask for; left in, it would be computed and kept."""


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How an engine is built.

    Attributes:
        long_side_px: Long side of the inputs, the bundle's.
        usual_hw: Height and width of the input that it is tuned for.
        workspace_mb: Memory that a layer may use.
        level: TensorRT's effort, 0 to 5.
    """

    long_side_px: int
    usual_hw: tuple[int, int]
    workspace_mb: int = 1024
    level: int = 3

    @property
    def most_px(self) -> int:
        """Sides of the largest input."""
        return -(-self.long_side_px // INPUT_STEP_PX) * INPUT_STEP_PX


def build_plan(file: Path, trt: TensorRt, settings: PlanSettings) -> bytes:
    """Build an engine; takes seconds to minutes.

    Args:
        file: The graph.
        trt: TensorRT.
        settings: How.

    Raises:
        BundleError: TensorRT does not take the graph, or builds nothing of it.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    # The graph's own types, and no others: what 11 always does and 10 does when told.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    try:
        graph = file.read_bytes()
    except OSError as error:
        raise BundleError(f"{file}: can't be read ({error.strerror}); copy it again") from error
    if not parser.parse(graph):
        told = "; ".join(
            " ".join(str(parser.get_error(i).desc()).split()) for i in range(parser.num_errors)
        )
        raise BundleError(
            f"{file}: TensorRT {trt.__version__} does not take this graph: {told[:300]}. Export it "
            "with `sparsight bundle export --precision fp16` or int8-trt"
        )
    for i in reversed(range(network.num_outputs)):
        if network.get_output(i).name == UNWANTED:
            network.unmark_output(network.get_output(i))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mb << 20)
    config.builder_optimization_level = settings.level
    profile = builder.create_optimization_profile()
    least, most = INPUT_STEP_PX, settings.most_px
    profile.set_shape("image", (1, least, least, 3), (1, *settings.usual_hw, 3), (1, most, most, 3))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BundleError(
            f"{file}: TensorRT {trt.__version__} built no engine of it; its log above says why. "
            "Less free memory than it may use for a layer is a common reason"
        )
    return bytes(plan)


class PlanStore:
    """Built engines in a folder."""

    def __init__(self, folder: Path, trt: TensorRt, gpu: str) -> None:
        """For one TensorRT and one GPU.

        Args:
            folder: Where they are kept; made when the first is.
            trt: TensorRT.
            gpu: `Cuda.gpu`.
        """
        self._folder = folder
        self._trt = trt
        self._gpu = gpu

    def place(self, graph: Path, settings: PlanSettings) -> Path:
        """Where the engine of a graph is, if it was built.

        Raises:
            BundleError: The graph can't be read.
        """
        return self._folder / f"{_hash(self._made_from(graph, settings))[:32]}.plan"

    def find(self, graph: Path, settings: PlanSettings) -> bytes | None:
        """The engine of a graph; None if it was not built.

        Raises:
            BundleError: It is damaged, or the graph can't be read.
        """
        file = self.place(graph, settings)
        try:
            plan = file.read_bytes()
            told = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            sound = told["sha256"] == hashlib.sha256(plan).hexdigest()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(file) from error
        if not sound:
            raise _damaged(file)
        return plan

    def keep(self, graph: Path, settings: PlanSettings, plan: bytes) -> Path:
        """Write an engine down; whole or not at all.

        Raises:
            BundleError: The folder can't be written.
        """
        file = self.place(graph, settings)
        about = {
            **self._made_from(graph, settings),
            "sha256": hashlib.sha256(plan).hexdigest(),
        }
        text = json.dumps(about, indent=2) + "\n"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # The plan last: without it there is nothing to vouch for.
            for target, data in ((file.with_suffix(".json"), text.encode()), (file, plan)):
                part = target.with_name(target.name + ".part")
                part.write_bytes(data)
                part.replace(target)
        except OSError as error:
            raise BundleError(
                f"{self._folder}: the engine can't be kept there ({error.strerror}); name another "
                "folder with --plans"
            ) from error
        return file

    def _made_from(self, graph: Path, settings: PlanSettings) -> dict[str, Any]:
        try:
            digest = hashlib.sha256(graph.read_bytes()).hexdigest()
        except OSError as error:
            raise BundleError(
                f"{graph}: can't be read ({error.strerror}); copy it again"
            ) from error
        return {
            "graph": digest,
            "settings": asdict(settings),
            "tensorrt": f"{self._trt.__name__} {self._trt.__version__}",
            "gpu": self._gpu,
        }


def default_plans() -> Path:
    """Where engines are kept unless told otherwise: the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sparsight" / "tensorrt"


def _hash(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _damaged(file: Path) -> BundleError:
    return BundleError(f"{file}: this engine is damaged; remove it and run `sparsight edge build`")
