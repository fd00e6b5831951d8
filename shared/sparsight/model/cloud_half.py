"""The cloud's half of a detector: coded frames of many devices in, objects out.

    CodedFrames ─ kept cells of all frames ─ synthesis ─ trunk ─ neck ─ sparse head
                                                              objects <─ merge ─┘

A pure function of what it is given: the same frame gives the same objects whatever else is in the
batch, to the rounding of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sparsight.bundle import Manifest
from sparsight.codec.payload import CodedFrame, decode, encode
from sparsight.detections import Detections
from sparsight.errors import BundleError, UsageError
from sparsight.geometry import CELL_PX, Letterbox
from sparsight.model.bottleneck import LATENT_LEVEL
from sparsight.model.coding import FrameCodec, kept_of
from sparsight.model.detector import Detector
from sparsight.model.merge import merge
from sparsight.model.passes import Kept, SplitPass
from sparsight.settings import DetectSettings
from sparsight.slicer import Patches

WARM_PX = 256
"""Side of the frame that a loaded model is warmed with."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One frame as it came from a device.

    Attributes:
        coded: Its patches.
        letterbox: How the frame lay in the network's input.
    """

    coded: CodedFrame
    letterbox: Letterbox


class CloudHalf:
    """A bundle's deep part.

    Attributes:
        manifest: Of the bundle.
        settings: How the bundle wants to be run.
        codec: Its codec.
    """

    def __init__(self, detector: Detector, codec: FrameCodec, manifest: Manifest) -> None:
        """The deep part of a loaded detector."""
        self._detector = detector
        self.codec = codec
        self.manifest = manifest
        self.settings: DetectSettings = detector.settings

    @classmethod
    def from_bundle(cls, folder: Path, device: str = "cpu") -> CloudHalf:
        """Load a bundle; every file of it is checked first.

        Args:
            folder: Of the bundle.
            device: Where torch computes, `cpu` or `cuda`.

        Raises:
            BundleError: The bundle is missing, damaged, or has no codec.
        """
        detector = Detector.from_bundle(folder)
        if detector.codec is None or detector.manifest is None:
            raise BundleError(
                f"{folder}: has no codec and can't be run in two halves; train one with "
                "`stage: bottleneck` (docs/data.md) or take another bundle"
            )
        detector.network.to(device)
        return cls(detector, detector.codec, detector.manifest)

    def warm(self) -> None:
        """Answer a made-up frame, so that the first real one does not wait for compilers."""
        grid_hw, patch_hw = (WARM_PX // CELL_PX,) * 2, self.settings.slicer.patch_hw
        origin = Patches(np.zeros((1, 2), np.int32), np.ones(1, np.float32), patch_hw, grid_hw)
        kept = Kept(origin, origin.union())
        low = torch.zeros(
            *self.codec.steps_of(0).shape, *(v >> LATENT_LEVEL for v in grid_hw), dtype=torch.int8
        )
        payload = encode(
            self.codec.code_latents(low, kept, 0), self.codec.tables, self.manifest.cloud_id
        )
        box = Letterbox.fit((WARM_PX, WARM_PX), WARM_PX)
        self.run([Arrived(decode(payload, self.codec.tables), box)])

    @torch.inference_mode()
    def run(self, frames: Sequence[Arrived]) -> list[Detections]:
        """Find the objects of some frames, all in one pass.

        Args:
            frames: Coded frames of this bundle.

        Returns:
            The objects of each frame, in order, in frame pixels.

        Raises:
            UsageError: A frame's map is not that of its letterbox, or its rate is unknown.
        """
        if not frames:
            return []
        for frame in frames:
            if frame.coded.grid_hw != frame.letterbox.cells_hw:
                raise UsageError(
                    f"letterbox: a map of {frame.letterbox.cells_hw} cells, the payload has "
                    f"{frame.coded.grid_hw}"
                )
        network = self._detector.network
        split = SplitPass(network, self._detector.cost, [kept_of(f.coded) for f in frames])
        p3 = self.codec.rows([f.coded for f in frames], split.area)
        answers = split.head(split.trunk(p3))
        return [
            merge(a.logits, a.distances, a.centres_xy, f.letterbox, self.settings)
            for a, f in zip(answers, frames, strict=True)
        ]
