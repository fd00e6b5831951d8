"""What the parts of `edge.onnx` take on a device: one thread of onnxruntime, CPU time.

    edge.onnx ─ cut at P3 ─┬─ image -> P3          the stem
                           ├─ P3 -> heat           the seeker
                           └─ P3, steps -> latents the analysis

The graph is one file and runs as one, so its parts are cut out to be timed.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from sparsight.bundle import EDGE, Bundle

ROUNDS = 3
"""Runs of a part on a frame; the quickest counts."""

_PARTS = {
    "stem": (("image",), "p3"),
    "seeker": (("p3",), "heat"),
    "analysis": (("p3", "steps"), "latents"),
}


class DeviceParts:
    """The parts of a bundle's graph, each in a session of its own."""

    def __init__(self, bundle: Bundle, steps: Float32[np.ndarray, "*zones_channels"]) -> None:
        """Cut the graph.

        Args:
            bundle: With a device half.
            steps: Step sizes of a rate, as the graph takes them.

        Raises:
            ImportError: The package `onnx` is not there (extras train and dev bring it).
        """
        # Heavy, and the cloud does without onnx.
        import onnx  # noqa: PLC0415

        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as `sparsight.graph` has it
        import onnxruntime as ort  # noqa: PLC0415

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._steps = steps
        self._sessions: dict[str, Any] = {}
        with tempfile.TemporaryDirectory(prefix="sparsight-parts-") as folder:
            for name, (given, told) in _PARTS.items():
                file = str(Path(folder) / f"{name}.onnx")
                onnx.utils.extract_model(str(bundle.folder / EDGE), file, list(given), [told])
                self._sessions[name] = ort.InferenceSession(
                    file, options, providers=["CPUExecutionProvider"]
                )

    def times_ms(self, image: UInt8[np.ndarray, "h w 3"]) -> Mapping[str, float]:
        """CPU milliseconds of each part on a letterboxed frame: `stem_ms` and so on."""
        values: dict[str, np.ndarray] = {"image": image[None], "steps": self._steps}
        spent = {}
        for name, (given, told) in _PARTS.items():
            inputs = {one: values[one] for one in given}
            times_s = []
            for _ in range(ROUNDS):
                start_s = time.process_time()
                (values[told],) = self._sessions[name].run([told], inputs)
                times_s.append(time.process_time() - start_s)
            spent[f"{name}_ms"] = min(times_s) * 1e3
        return spent


def no_times(parts: Sequence[str] = tuple(_PARTS)) -> Mapping[str, float]:
    """What stands for the times where the graph can't be cut."""
    return {f"{name}_ms": float("nan") for name in parts}
