"""A detector that is opened where the rivals go in: pixels, given patches, rows of P3, payloads.

    picture ─ look ─> heat, P3 ─┬─ dense ──────────────────────────────> objects
                                └─ patches, its own or given ─ split ──> objects
                                                                 ^ rows of P3, from whatever codec

The parts are those of `sparsight.model.detector`, and so are the numbers: what comes out of a frame
without a codec here is what the detector says of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sparsight.bundle import EDGE, Bundle
from sparsight.detections import Detections
from sparsight.geometry import Letterbox
from sparsight.model.detector import Detector
from sparsight.model.device_half import DeviceHalf, Look
from sparsight.model.merge import merge
from sparsight.model.passes import Kept, SplitPass, dense_pass
from sparsight.pictures import letterbox
from sparsight.slicer import Patches, slice_heat
from sparsight_cloud.rates.streams import Picture


class Lab:
    """One bundle, opened.

    Attributes:
        detector: The bundle's detector.
        settings: How it is run.
    """

    def __init__(self, bundle: Bundle, long_side_px: int) -> None:
        """Load a bundle.

        Args:
            bundle: An opened one.
            long_side_px: Long side of the network's input; a comparison has one for all.
        """
        self.detector = Detector.from_bundle(bundle.folder)
        self.settings = replace(self.detector.settings, long_side_px=long_side_px)
        graph = bundle.folder / EDGE if bundle.manifest.rates else None
        self._half = DeviceHalf(self.detector.codec, graph)

    @property
    def bundle_id(self) -> str:
        """What payloads call the bundle."""
        return self.detector.bundle_id

    def box_of(self, picture: Picture) -> Letterbox:
        """How a picture lies in the network's input."""
        return Letterbox.fit((picture.shape[0], picture.shape[1]), self.settings.long_side_px)

    @torch.inference_mode()
    def look(self, picture: Picture, rate: int | None = None) -> Look:
        """The device's half: heat, and P3 or the latents of a rate."""
        image = letterbox(picture, self.box_of(picture))
        return self._half.look(self.detector.network, image, rate)

    def slice(self, look: Look) -> Patches:
        """The patches that the bundle would keep."""
        return slice_heat(look.heat, self.settings.slicer)

    def kept(self, look: Look, patches: Patches, *, bare: bool = False) -> Kept:
        """Patches, and the cells that this look marks for the head.

        Args:
            look: At a frame.
            patches: Of it.
            bare: Leave out the halo that the bundle wants.
        """
        mark = self.settings.mark if self.settings.sparse_head else 0.0
        return Kept(patches, look.heat >= mark, 0 if bare else self.settings.halo)

    @torch.inference_mode()
    def dense(self, look: Look, box: Letterbox) -> Detections:
        """The objects that the whole map gives.

        Args:
            look: With P3.
            box: The way back to frame pixels.
        """
        (answer,) = dense_pass(self.detector.network, self.detector.cost, [p3_of(look)])
        return merge(answer.logits, answer.distances, answer.centres_xy, box, self.settings)

    def lay_out(self, kept: Kept) -> SplitPass:
        """The pass of a frame's kept cells, which wants P3 as rows of them."""
        return SplitPass(self.detector.network, self.detector.cost, [kept])

    @torch.inference_mode()
    def split(self, laid: SplitPass, rows: Float[Tensor, "n c 1 1"], box: Letterbox) -> Detections:
        """The objects that the kept cells give.

        Args:
            laid: By `lay_out`.
            rows: P3 of the kept cells, from whatever codec.
            box: The way back to frame pixels.
        """
        (answer,) = laid.head(laid.trunk(rows))
        return merge(answer.logits, answer.distances, answer.centres_xy, box, self.settings)

    def split_alone(
        self, look: Look, patches: Patches, box: Letterbox, *, bare: bool = False
    ) -> Detections:
        """The objects that some patches of a look give, with their halo or bare, uncoded."""
        laid = self.lay_out(self.kept(look, patches, bare=bare))
        return self.split(laid, laid.rows_of([p3_of(look)]), box)

    def judged(self, picture: Picture, box: Letterbox) -> dict[str, Detections]:
        """What the dense and the split detector find in a picture; the stem runs once."""
        look = self.look(picture)
        split = self.split_alone(look, self.slice(look), box)
        return {"dense": self.dense(look, box), "split": split}

    def uncoded(self, frame: Picture, box: Letterbox) -> dict[str, Detections]:
        """What the detector finds without a codec: whole, on patches, and on patches with a halo.

        The last sees what the payloads tell of, before it was rounded.
        """
        look = self.look(frame)
        patches = self.slice(look)
        return {
            "dense": self.dense(look, box),
            "split": self.split_alone(look, patches, box, bare=True),
            "halo": self.split_alone(look, patches, box),
        }


def p3_of(look: Look) -> Float[Tensor, "1 c h w"]:
    """The stem's map of a look without a rate."""
    assert look.p3 is not None
    return look.p3


def everything(grid_hw: tuple[int, int]) -> Patches:
    """One patch over a whole map."""
    return Patches(np.zeros((1, 2), np.int32), np.ones(1, np.float32), grid_hw, grid_hw)
