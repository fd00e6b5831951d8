"""What is computed of a picture, as plain functions of a process; knows nothing of Ray.

    items ─ read ─ letterbox ─> Boxed                                             `reading.Read`
    Boxed ─ device half ─ slicer ─ rows of the kept cells ─> Looked                         `Look`
    Looked of a shard ─ packed to a budget of cells ─ trunk, neck, head ─ merge ─> rows     `Deep`

Behind the second goes on what a device would keep: the cells of the patches and their P3, a
megabyte a picture. The deep part computes kept cells of many pictures as rows of one matrix, so a
batch is filled to its budget by pictures of any size without padding one to another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from sparsight.bundle import EDGE
from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.model.detector import Detector
from sparsight.model.device_half import DeviceHalf
from sparsight.model.merge import merge
from sparsight.model.passes import Kept, SplitPass
from sparsight.settings import DetectSettings
from sparsight.slicer import slice_heat
from sparsight.wire import FrameKey
from sparsight_cloud.batch.reading import Boxed, Lost, ms_since, said_of
from sparsight_cloud.batch.rows import Row


@dataclass(frozen=True, slots=True)
class Looked:
    """A picture after the device half.

    Attributes:
        letterbox: How it lay in the network's input.
        kept: What the slicer kept, and which cells are worth the head.
        p3: P3 of the kept cells, row by row of the map.
        read_ms: Time of opening and decoding, in milliseconds.
        look_ms: Of letterbox, device half and slicer; of decoding, where payloads come instead.
        key: Name of the frame, if a device gave it one.
    """

    letterbox: Letterbox
    kept: Kept
    p3: Float32[np.ndarray, "n c"]
    read_ms: float
    look_ms: float
    key: FrameKey | None = None


@dataclass(frozen=True, slots=True)
class Passes:
    """What went through the deep part.

    Attributes:
        batches: How often.
        kept_cells: Cells of the patches.
        computed_cells: Cells that were computed for them.
    """

    batches: int = 0
    kept_cells: int = 0
    computed_cells: int = 0


class Look:
    """Looks at pictures; owns the device half."""

    def __init__(self, bundle: Path, settings: DetectSettings, device: str = "cpu") -> None:
        """Load the bundle.

        Args:
            bundle: Its folder.
            settings: How the detector is run.
            device: Torch's name of what computes.

        Raises:
            BundleError: It can't be loaded.
        """
        detector = Detector.from_bundle(bundle)
        self._network = detector.network.to(device)
        self._half = DeviceHalf(detector.codec, None if detector.codec is None else bundle / EDGE)
        self._settings = settings

    def run(self, boxed: Iterable[Boxed | Lost]) -> Iterator[Looked | Lost]:
        """Look at some pictures, one after the other."""
        for one in boxed:
            yield one if isinstance(one, Lost) else self._try(one)

    def _try(self, one: Boxed) -> Looked | Lost:
        try:
            return self._look(one)
        except Exception as error:  # as above
            return Lost(said_of(error), one.read_ms)

    @torch.inference_mode()
    def _look(self, one: Boxed) -> Looked:
        begin_s = time.perf_counter()
        s = self._settings
        look = self._half.look(self._network, one.image, None)
        marks = look.heat >= (s.mark if s.sparse_head else 0.0)
        kept = Kept(slice_heat(look.heat, s.slicer), marks)
        assert look.p3 is not None
        area = torch.from_numpy(kept.area()).to(look.p3.device)
        p3 = look.p3[0].permute(1, 2, 0)[area].cpu().numpy()
        look_ms = one.box_ms + ms_since(begin_s)
        return Looked(one.letterbox, kept, p3, one.read_ms, look_ms)


class Deep:
    """Finds what is on them; owns what is behind P3."""

    def __init__(
        self, bundle: Path, settings: DetectSettings, budget_cells: int, device: str = "cpu"
    ) -> None:
        """Load the bundle.

        Args:
            bundle: Its folder.
            settings: How the detector is run.
            budget_cells: Kept cells in one pass at most; a picture with more goes alone.
            device: Torch's name of what computes.

        Raises:
            BundleError: It can't be loaded.
        """
        self._detector = Detector.from_bundle(bundle)
        self._detector.network.to(device)
        self._settings, self._budget_cells = settings, budget_cells

    def run(self, pictures: Iterable[Looked | Lost]) -> tuple[list[Row], Passes]:
        """Find the objects of a shard's pictures.

        Returns:
            A row a picture, in order, and what it took.
        """
        looked = list(pictures)
        rows: list[Row | None] = [
            _lost(one.why, one.read_ms) if isinstance(one, Lost) else None for one in looked
        ]
        passes = Passes()
        cells = [len(one.p3) if isinstance(one, Looked) else None for one in looked]
        for batch in packed(cells, self._budget_cells):
            some = [one for i in batch if isinstance(one := looked[i], Looked)]
            for i, row in zip(batch, self._answers(some), strict=True):
                rows[i] = row
            kept = sum(len(one.p3) for one in some)
            computed = sum(self._computed(one) for one in some)
            passes = Passes(
                passes.batches + (kept > 0),
                passes.kept_cells + kept,
                passes.computed_cells + computed,
            )
        return [row for row in rows if row is not None], passes

    def _answers(self, some: Sequence[Looked]) -> list[Row]:
        """Rows of a batch; one that fails is tried picture by picture."""
        try:
            return self._pass(some)
        except Exception as error:
            if len(some) > 1:
                return [row for one in some for row in self._answers([one])]
            return [_lost(said_of(error), some[0].read_ms)]

    @torch.inference_mode()
    def _pass(self, some: Sequence[Looked]) -> list[Row]:
        begin_s = time.perf_counter()
        kept = [one.kept for one in some]
        split = SplitPass(self._detector.network, self._detector.cost, kept)
        p3 = torch.from_numpy(np.concatenate([one.p3 for one in some]))
        p3 = p3.to(self._detector.device)[:, :, None, None]
        answers = split.head(split.trunk(p3))
        found = [
            merge(a.logits, a.distances, a.centres_xy, one.letterbox, self._settings)
            for a, one in zip(answers, some, strict=True)
        ]
        ms = ms_since(begin_s)
        cells = max(1, len(p3))
        return [
            Row(
                frame_hw=one.letterbox.frame_hw,
                found=objects,
                patches=len(one.kept.patches),
                kept_area=one.kept.patches.kept_area,
                read_ms=one.read_ms,
                look_ms=one.look_ms,
                deep_ms=ms * len(one.p3) / cells,
                error=None,
                key=one.key,
            )
            for one, objects in zip(some, found, strict=True)
        ]

    def _computed(self, one: Looked) -> int:
        """Cells that the trunk computes for a picture: no more than it keeps, if it can do rows."""
        if self._detector.network.trunk.joined:
            return len(one.p3)
        patches = one.kept.patches
        return len(patches) * patches.size_hw[0] * patches.size_hw[1]


def packed(cells: Sequence[int | None], budget: int) -> list[list[int]]:
    """Places of the pictures that go through together, in their order.

    Args:
        cells: Kept cells of each; None of one that does not go.
        budget: Cells in a batch at most; a picture with more goes alone.
    """
    batches: list[list[int]] = []
    room = 0
    for place, count in enumerate(cells):
        if count is None:
            continue
        if not batches or count > room:
            batches.append([])
            room = budget
        batches[-1].append(place)
        room -= count
    return batches


def _lost(why: str, read_ms: float) -> Row:
    return Row(None, Detections.empty(), 0, 0.0, read_ms, 0.0, 0.0, why)
