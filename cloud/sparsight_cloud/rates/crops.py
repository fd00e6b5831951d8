"""Patches as pixels: three layouts of the same crops, and the frame that a cloud makes of them.

    patches, halo ─ rects in pixels ─┬─ alone    each rect a picture
                                     ├─ merged   rects joined where that adds no area
                                     └─ masked   one picture, grey outside the rects
    decoded pictures ─ pasted on grey ─> frame

The list of patches travels with the pictures. Everything else follows from it on both ends: the
rects, and which of them are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Int64

from sparsight.geometry import ALIGN_CELLS, CELL_PX, Letterbox
from sparsight.pictures import PAD_VALUE
from sparsight.slicer import Patches
from sparsight_cloud.rates.streams import Picture

LayoutName: TypeAlias = Literal["alone", "merged", "masked"]

LAYOUTS: tuple[LayoutName, ...] = ("alone", "merged", "masked")

HEAD_BYTES = 6
"""Layout, halo, a patch's height and width, and a 16-bit count of the patches."""

LENGTH_BYTES = 3
"""Size of each picture."""

JOIN_PX = 1024
"""Pixels that joining two rects may add: about what the header of a picture costs."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the pixels of a frame's patches are.

    Attributes:
        name: Which layout it is.
        rects_xyxy: What is sent, in pixels of the picture.
        pictures_xyxy: The pictures that are coded: the same, joined ones, or the whole.
        picture_hw: Height and width of the frame's picture.
        patches: How many patches the list on the wire has.
        wide: Whether places of patches need more than a byte a side.
    """

    name: LayoutName
    rects_xyxy: Int64[np.ndarray, "n 4"]
    pictures_xyxy: Int64[np.ndarray, "m 4"]
    picture_hw: tuple[int, int]
    patches: int
    wide: bool

    @property
    def overhead_bytes(self) -> int:
        """What goes over the wire beside the pictures."""
        side_bytes = 2 if self.wide else 1
        return HEAD_BYTES + 2 * side_bytes * self.patches + LENGTH_BYTES * len(self.pictures_xyxy)

    def cut(self, picture: Picture) -> list[Picture]:
        """The pictures that are coded."""
        if self.name == "masked":
            picture = on_grey(picture, self.rects_xyxy)
        return [
            np.ascontiguousarray(picture[y0:y1, x0:x1]) for x0, y0, x1, y1 in self.pictures_xyxy
        ]

    def decoded(
        self, datas: Sequence[bytes], decode: Callable[[bytes, tuple[int, int]], Picture]
    ) -> list[Picture]:
        """The pictures behind their bytes; their sizes follow from the layout."""
        sizes = [(int(y1 - y0), int(x1 - x0)) for x0, y0, x1, y1 in self.pictures_xyxy]
        return [decode(data, hw) for data, hw in zip(datas, sizes, strict=True)]

    def assemble(self, pictures: Sequence[Picture]) -> Picture:
        """The frame's picture from the decoded ones, grey where nothing was sent."""
        out = np.full((*self.picture_hw, 3), PAD_VALUE, np.uint8)
        for (x0, y0, x1, y1), one in zip(self.pictures_xyxy, pictures, strict=True):
            out[y0:y1, x0:x1] = one
        return on_grey(out, self.rects_xyxy) if self.name == "masked" else out


def lay_out(
    name: LayoutName,
    patches: Patches,
    box: Letterbox,
    picture_hw: tuple[int, int],
    halo_px: int,
) -> Layout:
    """Lay the patches of a frame out.

    Args:
        name: How.
        patches: What the slicer chose.
        box: How the frame lies in the network's input.
        picture_hw: Height and width of the frame's picture as it is coded.
        halo_px: Pixels of the input round each patch that are sent as well.
    """
    rects = pixel_rects(patches, box, picture_hw, halo_px)
    if name == "merged":
        pictures = joined(rects)
    elif name == "masked" and len(rects):
        pictures = np.array([[0, 0, picture_hw[1], picture_hw[0]]], np.int64)
    else:
        pictures = rects
    wide = max(patches.grid_hw) > 256 * ALIGN_CELLS
    return Layout(name, rects, pictures, picture_hw, len(patches), wide)


def worth_a_try(layouts: Sequence[Layout]) -> list[Layout]:
    """Those that may be the cheapest.

    Rects that could be joined hold fewer pixels in fewer pictures than each patch alone, so what
    has more pictures than another without a mask is not tried: of sixty patches an encoder makes
    sixty files, slowly.

    Args:
        layouts: Of the same rects.
    """
    plain = [len(one.pictures_xyxy) for one in layouts if one.name != "masked"]
    fewest = min(plain, default=0)
    return [one for one in layouts if one.name == "masked" or len(one.pictures_xyxy) == fewest]


def pixel_rects(
    patches: Patches, box: Letterbox, picture_hw: tuple[int, int], halo_px: int
) -> Int64[np.ndarray, "n 4"]:
    """The patches in pixels of the picture, grown to whole ones; none of those in the padding.

    Args:
        patches: What the slicer chose.
        box: How the frame lies in the network's input.
        picture_hw: Height and width of the picture.
        halo_px: Pixels of the input round each patch.
    """
    grown = patches.xyxy_cells().astype(np.float64) * CELL_PX + np.array([-1, -1, 1, 1]) * halo_px
    scale = np.tile(np.array(picture_hw[::-1]) / np.array(box.scaled_hw[::-1]), 2)
    places = grown * scale
    low = np.floor(places[:, :2] + 1e-6)
    high = np.ceil(places[:, 2:] - 1e-6)
    limit = np.array(picture_hw[::-1])
    rects = np.concatenate((np.clip(low, 0, limit), np.clip(high, 0, limit)), 1).astype(np.int64)
    return rects[(rects[:, 2:] > rects[:, :2]).all(1)]


def joined(rects_xyxy: Int64[np.ndarray, "n 4"]) -> Int64[np.ndarray, "m 4"]:
    """Join two rects for as long as the one around both is hardly larger than they are together.

    Args:
        rects_xyxy: Rects of at least a pixel; they may overlap.
    """
    rects = rects_xyxy.copy()
    while len(rects) > 1:
        low = np.minimum(rects[:, None, :2], rects[None, :, :2])
        high = np.maximum(rects[:, None, 2:], rects[None, :, 2:])
        areas = np.prod(rects[:, 2:] - rects[:, :2], axis=1)
        added = np.prod(high - low, axis=2) - areas[:, None] - areas[None]
        np.fill_diagonal(added, np.iinfo(np.int64).max)
        i, j = np.unravel_index(int(added.argmin()), added.shape)
        if added[i, j] > JOIN_PX:
            break
        one = np.concatenate((low[i, j], high[i, j]))
        rects = np.concatenate((np.delete(rects, [i, j], axis=0), one[None]))
    return rects


def on_grey(picture: Picture, rects_xyxy: Int64[np.ndarray, "n 4"]) -> Picture:
    """A picture with grey outside some rects."""
    out = np.full_like(picture, PAD_VALUE)
    for x0, y0, x1, y1 in rects_xyxy:
        out[y0:y1, x0:x1] = picture[y0:y1, x0:x1]
    return out
