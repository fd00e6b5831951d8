"""The device's half of a detector that runs in one process: a frame in, P3 or latents and heat out.

    frame ─ letterbox ─┬─ edge.onnx in onnxruntime ─┬─> heat, and P3 or the latents of a rate
                       └─ stem, seeker in torch ────┘

A bundle of two halves is looked at with the very graph that its devices run, so a frame gives the
same integers here and there. On one core that graph takes 0.6 of the time of the stem in torch
(docs/LOG.md, 2026-11-25). It holds whole maps, so large frames go through torch, whose stem runs in
strips; so do bundles without a graph, and everything on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8, UInt8
from torch import Tensor

from sparsight.graph import Graph
from sparsight.model.bottleneck import quantised
from sparsight.model.coding import FrameCodec
from sparsight.model.network import Network

GRAPH_PX_MAX = 2_400_000
"""Pixels of the largest input that the graph is given; its maps take about 120 bytes a pixel."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the device half knows of one frame.

    Attributes:
        heat: The seeker's map.
        p3: The stem's map; None where latents were asked for.
        latents: P3 as integers, in the steps of each zone; None without a rate.
    """

    heat: Float32[np.ndarray, "h w"]
    p3: Float[Tensor, "1 c h w"] | None
    latents: Int8[Tensor, "z k h16 w16"] | None


class DeviceHalf:
    """Stem, seeker and analysis; owns the open graph."""

    def __init__(self, codec: FrameCodec | None, graph: Path | None) -> None:
        """Of a bundle.

        Args:
            codec: Its codec, if it has one.
            graph: Its `edge.onnx`, if it has one; opened when first needed.
        """
        self._codec = codec
        self._file = graph
        self._graph: Graph | None = None

    def look(self, network: Network, image: UInt8[np.ndarray, "h w 3"], rate: int | None) -> Look:
        """Look at one letterboxed frame.

        Args:
            network: The bundle's, folded.
            image: RGB, sides multiples of 32.
            rate: Give latents at this rate; P3 without.

        Raises:
            BundleError: The graph fails.
            UsageError: There is no such rate.
        """
        on_cpu = network.stem.normalise.mean.device.type == "cpu"
        small = image.shape[0] * image.shape[1] <= GRAPH_PX_MAX
        graph = self._opened() if on_cpu and small else None
        if graph is None:
            return self._in_torch(network, image, rate)
        assert self._codec is not None
        steps = self._codec.steps_of(rate or 0).numpy()
        heat, told = graph.run(
            ["heat", "p3" if rate is None else "latents"], {"image": image[None], "steps": steps}
        )
        if rate is None:
            p3 = torch.from_numpy(told).contiguous(memory_format=torch.channels_last)
            return Look(heat[0], p3, None)
        return Look(heat[0], None, torch.from_numpy(told[0]))

    def _opened(self) -> Graph | None:
        if self._file is None or self._codec is None:
            return None
        if self._graph is None:
            channels = self._codec.steps_of(0).shape[1]
            self._graph = Graph(self._file, channels, torch.get_num_threads())
        return self._graph if self._graph.has_p3 else None

    def _in_torch(
        self, network: Network, image: UInt8[np.ndarray, "h w 3"], rate: int | None
    ) -> Look:
        device = network.stem.normalise.mean.device
        p3 = network.stem(torch.from_numpy(image).to(device).permute(2, 0, 1)[None])
        heat = network.seeker(p3)[0].sigmoid().cpu().numpy()
        if rate is None or self._codec is None:
            return Look(heat, p3, None)
        steps = self._codec.steps_of(rate).to(device)
        return Look(heat, None, quantised(self._codec.bottleneck.analysis(p3), steps)[0])
