"""The detector: frames in, objects out.

    frame ─ letterbox ─ stem ─┬─ seeker ─ heat ─ slicer ─ patches ─┐           (each frame)
                              └─ P3 ───────────────────────────────┴─ kept cells of all frames, as rows
                                                                         │
                              objects <─ merge <─ sparse head <─ neck <─ trunk       (all frames at once)

`mode="dense"` runs the same weights on whole maps. A frame without patches gives an empty result in its own place.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from sparsight.bundle import WEIGHTS, Bundle, open_bundle
from sparsight.detections import Detections
from sparsight.errors import BundleError, UsageError
from sparsight.geometry import Letterbox
from sparsight.model.cost import Cost
from sparsight.model.merge import merge
from sparsight.model.network import Network, cell_centres
from sparsight.model.sparse import LEVELS, CellArea
from sparsight.model.trunk import alone
from sparsight.pictures import letterbox
from sparsight.settings import DetectSettings
from sparsight.slicer import Patches, slice_heat


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What came of one frame.

    Attributes:
        detections: Its objects, in frame pixels.
        heat: Object probability of each cell of its P3 map.
        patches: What the slicer kept; everything in dense mode.
        letterbox: How the frame lay in the network's input.
        gflops: Operations spent on it, multiply-adds times two, in 1e9.
        times_ms: Wall time of each stage; of stages that run on a batch, the frame's equal share.
    """

    detections: Detections
    heat: Float32[np.ndarray, "gh gw"]
    patches: Patches
    letterbox: Letterbox
    gflops: float
    times_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Answer:
    """Logits and distances of the computed cells of one frame, where these lie, and how much was computed."""

    logits: Float[Tensor, "a k"]
    distances: Float[Tensor, "a 4"]
    centres_xy: Float[Tensor, "a 2"]
    gflops: float


class Detector:
    """A trained network, ready to run.

    Attributes:
        network: The folded network.
        settings: The bundle's way of running it.
        name: Name of the bundle.
        bundle_id: Id of the bundle.
    """

    def __init__(
        self, network: Network, settings: DetectSettings, *, name: str = "", bundle_id: str = ""
    ) -> None:
        """A detector of a network in evaluation mode; folds it."""
        network.fold()
        self.network = network
        self.settings = settings
        self.name = name
        self.bundle_id = bundle_id
        self.cost = Cost.of(network)

    @classmethod
    def from_bundle(cls, folder: Path) -> Detector:
        """Load a bundle; every file of it is checked first.

        Raises:
            BundleError: The bundle is missing, damaged, or its weights don't fit its model.
        """
        bundle: Bundle = open_bundle(folder)
        network = Network(bundle.model)
        network.fold()
        weights = {k: v.float() for k, v in load_file(folder / WEIGHTS).items()}
        try:
            network.load_state_dict(weights)
        except RuntimeError as e:
            raise BundleError(
                f"{folder / WEIGHTS}: does not fit model.yaml ({str(e).splitlines()[1].strip()})"
            ) from e
        manifest = bundle.manifest
        return cls(network, manifest.detect_settings(), name=manifest.name, bundle_id=manifest.id)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of labels."""
        return self.network.settings.classes

    def gflops_dense(self, box: Letterbox) -> float:
        """What a frame costs when every part sees all of it, in 1e9 operations."""
        return self.cost.dense_gflops(box.cells_hw)

    @torch.inference_mode()
    def detect(
        self, frames: Sequence[UInt8[np.ndarray, "h w 3"]], settings: DetectSettings | None = None
    ) -> list[FrameResult]:
        """Find the objects of some frames.

        Args:
            frames: RGB pictures of any sizes.
            settings: How; None is the bundle's way.

        Returns:
            One result a frame, in order.
        """
        s = settings or self.settings
        clock = _Clock()
        boxes = [Letterbox.fit((f.shape[0], f.shape[1]), s.long_side_px) for f in frames]
        p3s, heats, patches = [], [], []
        for frame, box in zip(frames, boxes, strict=True):
            p3 = self._stem(letterbox(frame, box))
            clock.lap("stem")
            heat = self.network.seeker(p3)[0].sigmoid().cpu().numpy()
            clock.lap("seeker")
            p3s.append(p3)
            heats.append(heat)
            patches.append(slice_heat(heat, s.slicer) if s.mode == "split" else _everything(box))
            clock.lap("slicer")
        run = self._split if s.mode == "split" else self._dense
        answers = run(p3s, heats, patches, s, clock)
        found = [
            merge(a.logits, a.distances, a.centres_xy, box, s)
            for a, box in zip(answers, boxes, strict=True)
        ]
        clock.lap("merge")
        times_ms = {k: v * 1e3 / max(1, len(frames)) for k, v in clock.laps_s.items()}
        return [
            FrameResult(d, h, p, b, a.gflops, times_ms)
            for d, h, p, b, a in zip(found, heats, patches, boxes, answers, strict=True)
        ]

    def _stem(self, picture: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 c h8 w8"]:
        device = self.network.mean.device
        image = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float()
        out: Tensor = self.network.stem(self.network.normalise(image))
        return out

    def _dense(
        self,
        p3s: list[Tensor],
        heats: list[Float32[np.ndarray, "gh gw"]],
        patches: list[Patches],
        settings: DetectSettings,
        clock: _Clock,
    ) -> list[_Answer]:
        answers = []
        for p3 in p3s:
            levels = self.network.neck(p3, *self.network.trunk(p3))
            clock.lap("trunk")
            logits, distances = self.network.head(levels)
            clock.lap("head")
            grid = (p3.shape[2], p3.shape[3])
            centres, _ = cell_centres(grid, p3.device)
            answers.append(_Answer(logits[0], distances[0], centres, self.cost.dense_gflops(grid)))
        return answers

    def _split(
        self,
        p3s: list[Tensor],
        heats: list[Float32[np.ndarray, "gh gw"]],
        patches: list[Patches],
        settings: DetectSettings,
        clock: _Clock,
    ) -> list[_Answer]:
        net, device = self.network, self.network.mean.device
        if not p3s:
            return []
        grids = [(p.shape[2], p.shape[3]) for p in p3s]
        # Frames of different sizes share one area: what lies beyond a frame is not kept, which is what padding is.
        shape = (len(grids), max(h for h, _ in grids), max(w for _, w in grids))
        keep, marks = np.zeros(shape, bool), np.zeros(shape, bool)
        for i, ((h, w), heat, found) in enumerate(zip(grids, heats, patches, strict=True)):
            keep[i, :h, :w] = found.union()
            marks[i, :h, :w] = heat >= settings.mark if settings.sparse_head else True
        area = CellArea.of(torch.from_numpy(keep).to(device))
        if len(area.rows[0]) == 0:
            return [self._nothing(grid) for grid in grids]
        p3 = torch.cat(
            [
                _kept_rows(p, torch.from_numpy(keep[i, :h, :w]))
                for i, (p, (h, w)) in enumerate(zip(p3s, grids, strict=True))
            ]
        )
        with net.holder.keeping(area):
            if net.trunk.joined:
                p4, p5 = net.trunk(p3)
            else:
                p4, p5 = alone(net.trunk, p3s, patches, area)
            levels = net.neck(p3, p4, p5)
            clock.lap("trunk")
            answers = self._head(levels, area, torch.from_numpy(marks).to(device), settings)
        clock.lap("head")
        return answers

    def _head(
        self,
        levels: tuple[Tensor, Tensor, Tensor],
        area: CellArea,
        marks: Bool[Tensor, "b h w"],
        settings: DetectSettings,
    ) -> list[_Answer]:
        frames = area.shapes[0][0]
        parts: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in range(frames)]
        spent = torch.zeros(frames, 2, dtype=torch.long)
        for i in range(LEVELS):
            _, h, w = area.shapes[i]
            marked = _spread(marks, i).reshape(-1)[area.rows[i]].nonzero()[:, 0]
            logits, distances, near = self.network.head.sparse(levels[i], i, area, marked)
            flat = area.rows[i][marked]
            frame, y, x = flat // (h * w), flat // w % h, flat % w
            centres = (torch.stack([x, y], 1) + 0.5) * (8 << i)
            counts = torch.bincount(frame, minlength=frames)
            spent[:, 0] += torch.bincount(area.rows[i][near] // (h * w), minlength=frames).cpu()
            spent[:, 1] += counts.cpu()
            pieces = zip(
                *(t.split(counts.tolist()) for t in (logits, distances, centres)), strict=True
            )
            for part, piece in zip(parts, pieces, strict=True):
                part.append(piece)
        _, h, w = area.shapes[0]
        kept = torch.bincount(area.rows[0] // (h * w), minlength=frames)
        return [
            _Answer(
                *(torch.cat(column) for column in zip(*part, strict=True)),
                gflops=self.cost.gflops(h * w, int(kept[i]), int(spent[i, 0]), int(spent[i, 1])),
            )
            for i, part in enumerate(parts)
        ]

    def _nothing(self, grid: tuple[int, int]) -> _Answer:
        empty = torch.zeros(0, 4)
        return _Answer(
            torch.zeros(0, len(self.classes)),
            empty,
            empty[:, :2],
            self.cost.gflops(grid[0] * grid[1], 0, 0, 0),
        )


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


def _kept_rows(p3: Float[Tensor, "1 c h w"], keep: Bool[Tensor, "h w"]) -> Float[Tensor, "n c 1 1"]:
    return p3[0].permute(1, 2, 0)[keep.to(p3.device)][:, :, None, None]


def _spread(marks: Bool[Tensor, "b h w"], level: int) -> Bool[Tensor, "b h w"]:
    """Marked cells of a level: pooled from P3, then grown by one cell, since boxes are answered for around their centres too."""
    m = marks[:, None].float()
    if level:
        m = F.max_pool2d(m, 1 << level)
    return F.max_pool2d(m, 3, 1, 1)[:, 0] > 0
