"""Whether a base's device half becomes a graph and an engine: it is tried, not believed.

    Network ─ export_edge, checked in onnxruntime ─> edge.onnx ─┬─ run a few times ─> CPU time
                                                                └─ a process of its own:
                                       `sparsight edge try-build` ─> yes, or what TensorRT said

The cloud runs without TensorRT, so the device's own command is asked; a builder that crashes takes
nothing with it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparsight.codec.zones import ZONES
from sparsight.errors import BundleError, UsageError
from sparsight.graph import Graph
from sparsight.model.export import export_edge
from sparsight.model.network import Network

TRY_S = 900.0
"""What a builder gets; the slowest base takes a minute on a core of its own."""

RUNS = 4
"""Of the graph; the quickest counts, as the first sets it up and a busy machine slows others."""

_TRY = "from sparsight.cli import main; main()"
_WHEN = re.compile(r"\[\d\d/\d\d/\d{4}-[\d:]+\] ")
_WHY_MAX = 300


@dataclass(frozen=True, slots=True)
class Tried:
    """How a trial ended.

    Attributes:
        ok: Whether it went well; None if it could not be tried.
        why: What was said if not.
    """

    ok: bool | None
    why: str = ""

    @property
    def word(self) -> str:
        """For people."""
        return "not tried" if self.ok is None else "yes" if self.ok else "no"


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a base's device half.

    Attributes:
        onnx: Whether it exports.
        tensorrt: Whether an engine was built of it.
        cpu_ms: CPU time of a frame in onnxruntime, one thread; None without a graph.
    """

    onnx: Tried
    tensorrt: Tried
    cpu_ms: float | None


def try_device_half(network: Network, size_wh: tuple[int, int]) -> Trial:
    """Export a network's device half, run it, and build an engine of it.

    Args:
        network: Folded, with a bottleneck.
        size_wh: Width and height of the frame to run, in pixels.
    """
    assert network.bottleneck is not None
    channels = network.bottleneck.analysis.linear.out_channels
    with tempfile.TemporaryDirectory(prefix="sparsight-bases-") as folder:
        file = Path(folder) / "edge.onnx"
        exported = _exported(network, file)
        if not exported.ok:
            return Trial(exported, Tried(None, "there is no graph"), None)
        cpu_ms = _cpu_ms(Graph(file, channels), channels, size_wh)
        return Trial(exported, _built(file, max(size_wh)), cpu_ms)


def _cpu_ms(graph: Graph, channels: int, size_wh: tuple[int, int]) -> float:
    image = np.random.default_rng(0).integers(0, 256, (1, size_wh[1], size_wh[0], 3), np.uint8)
    inputs = {"image": image, "steps": np.ones((ZONES, channels), np.float32)}
    took_s = []
    for _ in range(RUNS):
        start_s = time.process_time()
        graph.run(["heat", "latents"], inputs)
        took_s.append(time.process_time() - start_s)
    return min(took_s) * 1e3


def _exported(network: Network, file: Path) -> Tried:
    # torch's exporter fails in any way on modules of other people.
    try:
        export_edge(network, file)
    except ModuleNotFoundError as e:
        raise UsageError("--check needs more packages: pip install 'sparsight[train]'") from e
    except BundleError as e:
        return Tried(False, str(e))
    except Exception as e:
        return Tried(False, " ".join(f"{type(e).__name__}: {e}".split())[:_WHY_MAX])
    return Tried(True)


def _built(file: Path, long_side_px: int) -> Tried:
    arguments = ["edge", "try-build", str(file), "--long-side", str(long_side_px)]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRY, *arguments],
            capture_output=True,
            text=True,
            timeout=TRY_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Tried(False, f"TensorRT had not built it after {TRY_S:g} s")
    if done.returncode == 0:
        return Tried(True)
    said = _WHEN.sub("", (done.stdout + done.stderr).replace(str(file), "edge.onnx"))
    said = " ".join(said.split())
    # 2 is a wrong usage: no TensorRT, or no extra `edge`.
    return Tried(None if done.returncode == UsageError.exit_code else False, said[-_WHY_MAX:])
