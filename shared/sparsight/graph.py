"""`edge.onnx` opened in onnxruntime: what a device and a detector on a CPU share of it.

    image uint8   [1, h, w, 3] ─┐            ┌─> heat    float32 [1, h/8, w/8]
    steps float32 [4, k] ───────┴─ the graph ┼─> latents int8    [1, 4, k, h/16, w/16]
                                             └─> p3      float32 [1, c, h/8, w/8]

The latents come four times, in the steps of each zone (`codec.zones`): the zone of a cell depends
on the patches, which are chosen when the graph has run. Normalisation, rounding and clipping are in
the graph. All of it is computed whatever is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparsight.codec.zones import ZONES
from sparsight.errors import BundleError

# From 1.29 on it tells its makers of every start and every model, over the network, unless this is
# set when it is imported; nothing else turns all of it off.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

_ERRORS_ONLY = 3

# Name, element type and number of axes.
_INPUTS = {"image": ("tensor(uint8)", 4), "steps": ("tensor(float)", 2)}
_OUTPUTS = {"heat": ("tensor(float)", 3), "latents": ("tensor(int8)", 5)}
_MORE = {"p3": ("tensor(float)", 4)}  # only a detector in one process asks for it


class Graph:
    """A bundle's `edge.onnx`, on the CPU.

    Attributes:
        file: Where it is.
        has_p3: Whether it can be asked for P3.
    """

    def __init__(self, file: Path, channels: int, threads: int = 1) -> None:
        """Load a graph.

        Args:
            file: The bundle's `edge.onnx`.
            channels: How many step sizes of each zone it is to take.
            threads: Threads inside an operator.

        Raises:
            BundleError: The file is missing, no graph, or not one with this contract.
        """
        self.file = file
        self._session = _load(file, threads)
        _check(file, self._session, channels)
        self.has_p3 = any(one.name == "p3" for one in self._session.get_outputs())
        self._planned: set[tuple[int, ...]] = set()

    def run(self, outputs: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Look at one frame.

        Args:
            outputs: Names of what is wanted.
            inputs: `image` and `steps`.

        Raises:
            BundleError: onnxruntime fails.
        """
        try:
            found: list[Any] = self._session.run(list(outputs), dict(inputs), self._options(inputs))
        except Exception as error:  # onnxruntime's own have no common base
            height, width = inputs["image"].shape[1:3]
            raise BundleError(
                f"{self.file}: failed on an input of {width}x{height} px: {_one_line(error)}"
            ) from error
        return found

    def _options(self, inputs: Mapping[str, np.ndarray]) -> ort.RunOptions | None:
        """Give back what the first run of a size took.

        In that run onnxruntime takes memory piece by piece and learns how much it is; from the next
        on it takes one piece, and would hold the others for ever: 210 MB at 1536x864.
        """
        if (size := inputs["image"].shape) in self._planned:
            return None
        self._planned.add(size)
        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options


def _load(file: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Idle threads would spin: total CPU time grew by 12 to 27 % with two of them (runtimes.md §2).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not file.is_file():
        raise BundleError(f"{file}: missing; this bundle has no device half, or copy it again")
    try:
        return ort.InferenceSession(
            str(file),
            options,
            # The arena's default of doubling holds up to twice what one frame needs.
            providers=[("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})],
        )
    except Exception as error:  # as above
        raise BundleError(
            f"{file}: not a graph that onnxruntime {ort.__version__} can load "
            f"({_one_line(error)}); copy the bundle again"
        ) from error


def _check(file: Path, session: ort.InferenceSession, channels: int) -> None:
    for what, found, wanted, more in (
        ("inputs", session.get_inputs(), _INPUTS, {}),
        ("outputs", session.get_outputs(), _OUTPUTS, _MORE),
    ):
        got = {one.name: (one.type, len(one.shape)) for one in found}
        if got not in (wanted, wanted | more):
            raise BundleError(
                f"{file}: not the device half of a detector: expected {what} {_say(wanted)}, "
                f"got {_say(got)}"
            )
    axes = {one.name: one.shape for one in [*session.get_inputs(), *session.get_outputs()]}
    for what, at, wanted_size in (("zones", 0, ZONES), ("channels", 1, channels)):
        for name, first in (("steps", 0), ("latents", 1)):
            size = axes[name][first + at]
            if isinstance(size, int) and size != wanted_size:
                raise BundleError(
                    f"{file}: has {size} {what} of latents, the bundle's rate has {wanted_size}; "
                    "its files are of different models"
                )


def _say(tensors: Mapping[str, tuple[str, int]]) -> str:
    return ", ".join(f"{name} {kind} of {axes} axes" for name, (kind, axes) in tensors.items())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
