"""What lies in regions that nobody labelled and is therefore not judged.

The rule is VisDrone's: a labelled box or a detection with at least half of its area inside the
ignored regions is removed before matching, whatever its class (VisDrone2018-DET-toolkit,
`dropObjectsInIgr`). As there, the regions count as one area, so overlaps are not counted twice.
The toolkit rounds boxes to whole pixels and its regions reach one pixel further up and left, both
accidents of its summed-area table; here the areas are exact.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64

from sparsight.geometry import area

IGNORED_SHARE = 0.5
"""Share of a box's area inside ignored regions from which it is not judged."""


def in_ignored(
    xyxy: Float[np.ndarray, "n 4"], ignore_xyxy: Float[np.ndarray, "m 4"]
) -> Bool[np.ndarray, " n"]:
    """Which boxes are not judged.

    Args:
        xyxy: Boxes in pixels of the picture.
        ignore_xyxy: Ignored regions in pixels of the picture; they may overlap.
    """
    whole = area(xyxy.astype(np.float64))
    return (whole > 0) & (area_inside(xyxy, ignore_xyxy) >= IGNORED_SHARE * whole)


def area_inside(
    xyxy: Float[np.ndarray, "n 4"], regions_xyxy: Float[np.ndarray, "m 4"]
) -> Float64[np.ndarray, " n"]:
    """Area of each box that lies in the union of the regions, in square pixels, exact.

    The regions' borders cut the plane into a grid whose fields are wholly in or out; a box's area
    is the sum over the fields that are in.

    Args:
        xyxy: Boxes.
        regions_xyxy: Regions in the same frame; they may overlap.
    """
    boxes = xyxy.astype(np.float64)
    regions = regions_xyxy[area(regions_xyxy) > 0].astype(np.float64)
    if not len(boxes) or not len(regions):
        return np.zeros(len(boxes))
    xs, ys = np.unique(regions[:, 0::2]), np.unique(regions[:, 1::2])
    over_x = (regions[:, 0, None] <= xs[:-1]) & (xs[1:] <= regions[:, 2, None])
    over_y = (regions[:, 1, None] <= ys[:-1]) & (ys[1:] <= regions[:, 3, None])
    covered = (over_y.T.astype(np.float64) @ over_x.astype(np.float64)) > 0
    shared_x = _shared_length(boxes[:, 0], boxes[:, 2], xs)
    shared_y = _shared_length(boxes[:, 1], boxes[:, 3], ys)
    inside: Float64[np.ndarray, " n"] = ((shared_y @ covered) * shared_x).sum(axis=1)
    return inside


def _shared_length(
    low: Float64[np.ndarray, " n"], high: Float64[np.ndarray, " n"], cuts: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, "n fields"]:
    """Length that each interval shares with each field between two neighbouring cuts."""
    shared = np.minimum(high[:, None], cuts[1:]) - np.maximum(low[:, None], cuts[:-1])
    length: Float64[np.ndarray, "n fields"] = np.maximum(shared, 0)
    return length
