"""Boxes of overlapping windows, put back together as boxes of the whole picture.

TinyPerson's corner files list each picture many times, once for each window of 640x512 px, with the
boxes cut at its border. An object near a border is then there more than once:

    window A          window B           two boxes are views of one object if both, cut to the zone
    +-------+---+     +---+-------+      that the windows share, are the same box there; the object
    |       |##-|- - -|-##|       |      is what the views cover together
    +-------+---+     +---+-------+
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64

_SAME_PX = 0.5  # the cuts are exact; this leaves room for rounded coordinates


def join_views(
    xyxy: Float64[np.ndarray, "n 4"],
    windows_xyxy: Float64[np.ndarray, "n 4"],
    kinds: Int64[np.ndarray, " n"],
) -> tuple[Float64[np.ndarray, "m 4"], Int64[np.ndarray, " m"]]:
    """Joins the boxes of one picture that show the same object.

    Args:
        xyxy: Boxes in pixels of the whole picture.
        windows_xyxy: Window that each box was cut from, in the same pixels.
        kinds: Only boxes of one kind are joined.

    Returns:
        The objects, and the index of a box of each.
    """
    same = _same(xyxy, windows_xyxy) & (kinds[:, None] == kinds[None, :])
    # Every box takes the lowest index among those it is the same as, until none changes.
    group = np.arange(len(xyxy))
    while len(group):
        lower = np.where(same, group[None, :], len(group)).min(axis=1)
        if (lower == group).all():
            break
        group = lower
    first, member = np.unique(group, return_inverse=True)
    out = xyxy[first].copy()
    np.minimum.at(out[:, :2], member, xyxy[:, :2])
    np.maximum.at(out[:, 2:], member, xyxy[:, 2:])
    return out, first.astype(np.int64)


def _same(
    xyxy: Float64[np.ndarray, "n 4"], windows_xyxy: Float64[np.ndarray, "n 4"]
) -> Bool[np.ndarray, "n n"]:
    """Which boxes are views of one object; each is one of itself."""
    low = np.maximum(xyxy[:, None, :2], windows_xyxy[None, :, :2])
    high = np.minimum(xyxy[:, None, 2:], windows_xyxy[None, :, 2:])
    in_other = np.concatenate([low, high], axis=2)  # [i, j]: box i cut to the window of box j
    there = (high > low).all(axis=2)
    agree = (np.abs(in_other - in_other.transpose(1, 0, 2)) <= _SAME_PX).all(axis=2)
    elsewhere = (windows_xyxy[:, None] != windows_xyxy[None, :]).any(axis=2)
    same: Bool[np.ndarray, "n n"] = agree & there & there.T & elsewhere
    np.fill_diagonal(same, val=True)
    return same
