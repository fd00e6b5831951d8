"""The detector: frames in, objects out.

    frame ─ letterbox ─ stem ─┬─ seeker ─ heat ─ slicer ─ patches ─┐          (`device_half`)
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

from sparsight.bundle import EDGE, WEIGHTS, Manifest, open_bundle
from sparsight.codec.payload import encode
from sparsight.detections import Detections
from sparsight.errors import BundleError, UsageError
from sparsight.geometry import Letterbox
from sparsight.model.coding import FrameCodec
from sparsight.model.cost import Cost
from sparsight.model.device_half import DeviceHalf, Look
from sparsight.model.merge import merge
from sparsight.model.network import Network
from sparsight.model.passes import Kept, SplitPass, dense_pass
from sparsight.pictures import letterbox
from sparsight.settings import DetectSettings
from sparsight.slicer import Patches, slice_heat

NOBODY = "0" * 64
"""The id of a network that is not of a bundle."""


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
        graph: Path | None = None,
    ) -> None:
        """A detector of a trained network; folds it.

        Args:
            network: The network.
            settings: How to run it.
            manifest: Of its bundle.
            codec: The bundle's codec.
            graph: The bundle's `edge.onnx`.
        """
        network.fold()
        self.network = network
        self.settings = settings
        self.manifest = manifest
        self.codec = codec
        self.cost = Cost.of(network)
        self._device_half = DeviceHalf(codec, graph)

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
        settings = manifest.detect_settings()
        if not manifest.rates or network.bottleneck is None:
            return cls(network, settings, manifest=manifest)
        codec = FrameCodec.of(bundle, network.bottleneck)
        return cls(network, settings, manifest=manifest, codec=codec, graph=folder / EDGE)

    def with_graph(self, graph: Path) -> Detector:
        """The same detector, looking at frames with another graph of its device half.

        Args:
            graph: An `edge.onnx` of the same weights, at any precision.
        """
        return Detector(
            self.network, self.settings, manifest=self.manifest, codec=self.codec, graph=graph
        )

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
        if s.rate is not None and self.codec is None:
            raise UsageError("rate: this bundle has no codec; leave the rate out")
        clock = _Clock()
        sizes_bytes: list[int | None] = [None] * len(frames)
        boxes = [Letterbox.fit((f.shape[0], f.shape[1]), s.long_side_px) for f in frames]
        looks, chosen = [], []
        for frame, box in zip(frames, boxes, strict=True):
            looks.append(self._device_half.look(self.network, letterbox(frame, box), s.rate))
            clock.lap("device")
            split = s.mode == "split"
            chosen.append(slice_heat(looks[-1].heat, s.slicer) if split else _everything(box))
            clock.lap("slicer")
        if s.mode == "split":
            mark = s.mark if s.sparse_head else 0.0
            halo = 0 if s.rate is None else s.halo
            kept = [Kept(p, v.heat >= mark, halo) for p, v in zip(chosen, looks, strict=True)]
            passed = SplitPass(self.network, self.cost, kept)
            if s.rate is None:
                p3 = passed.rows_of([_p3(v) for v in looks])
            else:
                p3, sizes_bytes = self._through_codec(passed, looks, s.rate)
                clock.lap("codec")
            levels = passed.trunk(p3)
            clock.lap("trunk")
            answers = passed.head(levels)
            clock.lap("head")
        else:
            answers = dense_pass(self.network, self.cost, [_p3(v) for v in looks])
            clock.lap("trunk")
            clock.lap("head")
        found = [
            merge(a.logits, a.distances, a.centres_xy, b, s)
            for a, b in zip(answers, boxes, strict=True)
        ]
        clock.lap("merge")
        times_ms = {k: v * 1e3 / len(frames) for k, v in clock.laps_s.items()}
        return [
            FrameResult(d, v.heat, p, b, a.gflops, times_ms, size)
            for d, v, p, b, a, size in zip(
                found, looks, chosen, boxes, answers, sizes_bytes, strict=True
            )
        ]

    def _through_codec(
        self, split: SplitPass, looks: Sequence[Look], rate: int
    ) -> tuple[Float[Tensor, "n c 1 1"], list[int | None]]:
        """P3 as the cloud would see it, and the bytes that would take it there."""
        assert self.codec is not None
        coded = []
        for look, kept in zip(looks, split.kept, strict=True):
            assert look.latents is not None
            coded.append(self.codec.code_latents(look.latents, kept, rate))
        sizes = [len(encode(c, self.codec.tables, self.bundle_id or NOBODY)) for c in coded]
        return self.codec.rows(coded, split.area), list(sizes)


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


def _p3(look: Look) -> Float[Tensor, "1 c h w"]:
    assert look.p3 is not None
    return look.p3


def _everything(box: Letterbox) -> Patches:
    """One patch over the whole frame."""
    return Patches(np.zeros((1, 2), np.int32), np.ones(1, np.float32), box.cells_hw, box.cells_hw)
