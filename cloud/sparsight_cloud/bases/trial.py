"""Whether a base's device half becomes a graph and an engine: it is tried, not believed.

    Network ─ export_edge, checked in onnxruntime ─> edge.onnx ─ a process of its own:
                                       `sparsight edge try-build` ─> yes, or what TensorRT said

The cloud runs without TensorRT, so the device's own command is asked; a builder that crashes takes
nothing with it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sparsight.errors import BundleError, UsageError
from sparsight.model.export import export_edge
from sparsight.model.network import Network

TRY_S = 900.0
"""What a builder gets; the slowest base takes a minute on a core of its own."""

_TRY = "from sparsight.cli import main; main()"
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


def try_device_half(network: Network, long_side_px: int) -> tuple[Tried, Tried]:
    """Export a network's device half, and build an engine of it.

    Args:
        network: Folded, with a bottleneck.
        long_side_px: Long side of the largest input.

    Returns:
        Of ONNX, and of TensorRT.
    """
    with tempfile.TemporaryDirectory(prefix="sparsight-bases-") as folder:
        file = Path(folder) / "edge.onnx"
        exported = _exported(network, file)
        if not exported.ok:
            return exported, Tried(None, "there is no graph")
        return exported, _built(file, long_side_px)


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
    said = " ".join((done.stdout + done.stderr).replace(str(file), "edge.onnx").split())
    # 2 is a wrong usage: no TensorRT, or no extra `edge`.
    return Tried(None if done.returncode == UsageError.exit_code else False, said[-_WHY_MAX:])
