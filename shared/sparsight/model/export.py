"""The device's half as one ONNX graph.

    image uint8 [1, H, W, 3] ─ normalise ─ stem ─ P3 ─┬─ seeker ─ sigmoid ─> heat [1, H/8, W/8]
    steps float32 [4, K] ─────────────────────────────┴─ analysis ─ / steps ─ round ─ clip
                                                          └─> latents int8 [1, 4, K, H/16, W/16]

The latents come in the steps of each zone (`codec.zones`), as zones are known only when the slicer
has chosen the patches. P3 is an output as well, for a detector that runs in one process; a device
leaves it. H and W are free, multiples of 32. The graph is written from the bundle's half-precision
weights, so that the device and the cloud's torch run the same numbers, and it is checked in
onnxruntime before it is kept. It holds only operators that TensorRT has too, and nothing of the
machine that it was written on; precision is the graph's (design runtimes.md §1).
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from google.protobuf.message import Message
from jaxtyping import Float, Int8, UInt8
from torch import Tensor, nn

from sparsight.codec.zones import ZONES
from sparsight.errors import BundleError
from sparsight.model.bottleneck import quantised
from sparsight.model.network import Network

OPSET = 18
PROBES_HW = ((96, 160), (64, 64))
"""Inputs that the written graph must agree on, height and width in pixels."""

HEAT_ATOL = 1e-4


class EdgeHalf(nn.Module):
    """What the graph computes."""

    def __init__(self, network: Network) -> None:
        """Of a folded network with a bottleneck.

        Raises:
            BundleError: It has none.
        """
        super().__init__()
        if network.bottleneck is None:
            raise BundleError("the network has no bottleneck, so it has no device half to export")
        self.normalise, self.units = network.stem.normalise, network.stem.units
        self.nhwc = network.stem.nhwc
        self.seeker = network.seeker
        self.analysis = network.bottleneck.analysis

    def forward(
        self, image: UInt8[Tensor, "1 h w 3"], steps: Float[Tensor, "z k"]
    ) -> tuple[Float[Tensor, "1 h8 w8"], Int8[Tensor, "1 z k h16 w16"], Float[Tensor, "1 c h8 w8"]]:
        """One letterboxed frame, and the step sizes of each zone at the wanted rate."""
        # Floats first: TensorRT takes bytes at its door and turns no axes of them.
        p3 = self.units(self.normalise(image.float().permute(0, 3, 1, 2)))
        if self.nhwc:
            p3 = p3.permute(0, 3, 1, 2)
        return self.seeker(p3).sigmoid(), quantised(self.analysis(p3), steps), p3


def export_edge(network: Network, file: Path) -> None:
    """Write and check the graph.

    Args:
        network: Folded, with a bottleneck, its weights as they will be shipped.
        file: Where to.

    Raises:
        BundleError: The graph does not say what the network says.
    """
    half = EdgeHalf(network).eval()
    steps = torch.ones(ZONES, half.analysis.linear.out_channels)
    height, width = torch.export.Dim("h", min=2, max=512), torch.export.Dim("w", min=2, max=512)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.enable_grad():  # `CellConv2d` as it is written
            warnings.simplefilter("ignore")  # torch's own, about its own passes
            program = torch.onnx.export(
                half,
                (torch.zeros(1, *PROBES_HW[0], 3, dtype=torch.uint8), steps),
                input_names=["image", "steps"],
                output_names=["heat", "latents", "p3"],
                opset_version=OPSET,
                dynamic_shapes=({1: 32 * height, 2: 32 * width}, None),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    graph = program.model_proto
    _strip(graph)
    file.write_bytes(graph.SerializeToString())
    check_edge(half, file)


def check_edge(half: EdgeHalf, file: Path) -> None:
    """Run the graph and the network on the same pictures.

    Raises:
        BundleError: They disagree.
    """
    # Or it tells its makers of this machine and this model (see the device's engine).
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime as ort  # noqa: PLC0415 (for those who export only)

    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    steps = np.full((ZONES, half.analysis.linear.out_channels), 0.5, np.float32)
    steps *= 2.0 ** np.arange(ZONES, dtype=np.float32)[:, None]  # a zone mixed up would show
    for hw in PROBES_HW:
        image = rng.integers(0, 256, (1, *hw, 3), np.uint8)
        heat, latents = session.run(["heat", "latents"], {"image": image, "steps": steps})
        with torch.no_grad():
            want_heat, want, _ = half(torch.from_numpy(image), torch.from_numpy(steps))
        off = float(np.abs(heat - want_heat.numpy()).max())
        # A latent on the edge between two integers may fall to either side.
        apart = np.abs(latents.astype(int) - want.numpy().astype(int))
        if off > HEAT_ATOL or apart.max() > 1 or (apart > 0).mean() > 1e-3:
            raise BundleError(
                f"{file}: the graph and the network disagree (heat by {off:.1e}, "
                f"{(apart > 0).mean():.2%} of the latents); the bundle was not written"
            )


def _strip(message: Message) -> None:
    """Take the notes of torch's exporter out: stack traces, and paths of this machine in them."""
    for note in ("metadata_props", "doc_string"):
        if note in message.DESCRIPTOR.fields_by_name:
            message.ClearField(note)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                _strip(part)
