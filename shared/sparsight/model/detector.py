"""The detector: frames in, objects out.

    frame ─ letterbox ─ stem ─┬─ seeker ─ heat ─ slicer ─ patches ─┐          (each frame)
                              └─ P3 ───────────────────────────────┴─ kept cells of all frames
                                                                           │
                      objects <─ merge <─ sparse head <─ neck <─ trunk ────┘  (all frames at once)

`mode="dense"` runs the same weights on whole maps. A frame without patches gives an empty result
in its own place.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparsight.bundle import WEIGHTS, Manifest, open_bundle
from sparsight.codec.payload import encode
from sparsight.detections import Detections
from sparsight.errors import BundleError, UsageError
from sparsight.geometry import Letterbox
from sparsight.model.coding import FrameCodec
from sparsight.model.cost import Cost
from sparsight.model.merge import merge
from sparsight.model.network import Network
from sparsight.model.passes import Kept, SplitPass, dense_pass
from sparsight.pictures import letterbox
from sparsight.settings import DetectSettings
from sparsight.slicer import Patches, slice_heat

NOBODY = "0" * 64
"""The id of a network that is not of a bundle."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the device half knows of one frame.

    Attributes:
        p3: The stem's map.
        heat: The seeker's map.
        patches: What the slicer kept.
    """

    p3: Float[Tensor, "1 c h w"]
    heat: Float32[np.ndarray, "h w"]
    patches: Patches


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What came of one frame.

    Attributes:
        detections: Its objects, in frame pixels.
        heat: Object probability of each cell of its P3 map.
        patches: What the slicer kept; everything in dense mode.
        letterbox: How the frame lay in the network's input.
        gflops: Operations spent on it, multiply-adds times two, in 1e9.
        times_ms: Wall time of each stage; of a batch, the frame's equal share.
        payload_bytes: What a device would have sent; None without a rate.
    """

    detections: Detections
    heat: Float32[np.ndarray, "gh gw"]
    patches: Patches
    letterbox: Letterbox
    gflops: float
    times_ms: dict[str, float]
    payload_bytes: int | None = None


class Detector:
    """A trained network, ready to run.

    Attributes:
        network: The folded network.
        settings: The bundle's way of running it.
        manifest: Of the bundle; None of a network that was not loaded from one.
        codec: The bundle's codec, if it has one.
        cost: What a cell of each part costs.
    """

    def __init__(
        self,
        network: Network,
        settings: DetectSettings,
        *,
        manifest: Manifest | None = None,
        codec: FrameCodec | None = None,
    ) -> None:
        """A detector of a trained network; folds it."""
        network.fold()
        self.network = network
        self.settings = settings
        self.manifest = manifest
        self.codec = codec
        self.cost = Cost.of(network)

    @classmethod
    def from_bundle(cls, folder: Path) -> Detector:
        """Load a bundle; every file of it is checked first.

        Raises:
            BundleError: The bundle is missing, damaged, or its weights don't fit its model.
        """
        bundle = open_bundle(folder)
        network = Network(bundle.model)
        network.fold()
        try:
            weights = {k: v.float() for k, v in load_file(folder / WEIGHTS).items()}
            network.load_state_dict(weights)
        except (OSError, RuntimeError, SafetensorError) as e:
            why = " ".join(str(e).split())[:200]
            raise BundleError(f"{folder / WEIGHTS}: does not fit model.yaml ({why})") from e
        manifest = bundle.manifest
        codec = None
        if manifest.rates and network.bottleneck is not None:
            codec = FrameCodec.of(bundle, network.bottleneck)
        return cls(network, manifest.detect_settings(), manifest=manifest, codec=codec)

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.manifest.name if self.manifest else ""

    @property
    def bundle_id(self) -> str:
        """Id of the bundle."""
        return self.manifest.id if self.manifest else ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of labels."""
        return self.network.settings.classes

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.stem.normalise.mean.device

    def gflops_dense(self, box: Letterbox) -> float:
        """What a frame costs when every part sees all of it, in 1e9 operations."""
        return self.cost.dense_gflops(box.cells_hw)

    @torch.inference_mode()
    def detect(
        self, frames: Sequence[UInt8[np.ndarray, "_ _ 3"]], settings: DetectSettings | None = None
    ) -> list[FrameResult]:
        """Find the objects of some frames.

        Args:
            frames: RGB pictures of any sizes.
            settings: How; None is the bundle's way.

        Returns:
            One result a frame, in order.
        """
        s = settings or self.settings
        if not frames:
            return []
        clock = _Clock()
        sizes_bytes: list[int | None] = [None] * len(frames)
        boxes = [Letterbox.fit((f.shape[0], f.shape[1]), s.long_side_px) for f in frames]
        seen = [self._see(f, b, s, clock) for f, b in zip(frames, boxes, strict=True)]
        if s.mode == "split":
            mark = s.mark if s.sparse_head else 0.0
            split = SplitPass(
                self.network, self.cost, [Kept(v.patches, v.heat >= mark) for v in seen]
            )
            p3 = split.rows_of([v.p3 for v in seen])
            if s.rate is not None:
                p3, sizes_bytes = self._through_codec(split, [v.p3 for v in seen], s.rate)
                clock.lap("codec")
            levels = split.trunk(p3)
            clock.lap("trunk")
            answers = split.head(levels)
            clock.lap("head")
        else:
            answers = dense_pass(self.network, self.cost, [v.p3 for v in seen])
            clock.lap("trunk")
            clock.lap("head")
        found = [
            merge(a.logits, a.distances, a.centres_xy, b, s)
            for a, b in zip(answers, boxes, strict=True)
        ]
        clock.lap("merge")
        times_ms = {k: v * 1e3 / len(frames) for k, v in clock.laps_s.items()}
        return [
            FrameResult(d, v.heat, v.patches, b, a.gflops, times_ms, size)
            for d, v, b, a, size in zip(found, seen, boxes, answers, sizes_bytes, strict=True)
        ]

    def _through_codec(
        self, split: SplitPass, p3s: Sequence[Float[Tensor, "1 c _ _"]], rate: int
    ) -> tuple[Float[Tensor, "n c 1 1"], list[int | None]]:
        """P3 as the cloud would see it, and the bytes that would take it there."""
        if self.codec is None:
            raise UsageError("rate: this bundle has no codec; leave the rate out")
        coded = [self.codec.code(p, k, rate) for p, k in zip(p3s, split.kept, strict=True)]
        sizes = [len(encode(c, self.codec.tables, self.bundle_id or NOBODY)) for c in coded]
        return self.codec.rows(coded, split.area), list(sizes)

    def _see(
        self,
        frame: UInt8[np.ndarray, "h w 3"],
        box: Letterbox,
        settings: DetectSettings,
        clock: _Clock,
    ) -> Seen:
        """The device half of one frame."""
        image = torch.from_numpy(letterbox(frame, box)).to(self.device).permute(2, 0, 1)[None]
        p3: Float[Tensor, "1 c h w"] = self.network.stem(image)
        clock.lap("stem")
        heat = self.network.seeker(p3)[0].sigmoid().cpu().numpy()
        clock.lap("seeker")
        split = settings.mode == "split"
        patches = slice_heat(heat, settings.slicer) if split else _everything(box)
        clock.lap("slicer")
        return Seen(p3, heat, patches)


class _Clock:
    """Adds up the wall time of stages."""

    def __init__(self) -> None:
        self.laps_s: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last call went into this stage."""
        now = time.perf_counter()
        self.laps_s[stage] = self.laps_s.get(stage, 0.0) + now - self._last
        self._last = now


def save_weights(network: Network, file: Path) -> None:
    """Write a folded network's weights in half precision."""
    save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, file)


def _everything(box: Letterbox) -> Patches:
    """One patch over the whole frame."""
    return Patches(np.zeros((1, 2), np.int32), np.ones(1, np.float32), box.cells_hw, box.cells_hw)
