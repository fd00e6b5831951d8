"""Items to pixels: each picture, or why there is none, in the order of the items.

Files are opened through fsspec, wherever they lie. Frames of one film that follow one another are
read in one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from sparsight.errors import PictureError
from sparsight.pictures import decode_picture
from sparsight_cloud.batch.films import read_frames
from sparsight_cloud.batch.items import Item
from sparsight_cloud.batch.store import one_line, open_uri

Frame: TypeAlias = UInt8[np.ndarray, "h w 3"]


def read_items(items: Sequence[Item], max_pixels: int) -> Iterator[Frame | PictureError]:
    """Read some items.

    Args:
        items: In their order.
        max_pixels: The most pixels a picture may have.

    Yields:
        One each: 8-bit RGB, upright, or the error that names it.
    """
    for (path, is_frame), group in groupby(items, lambda one: (one.path, one.frame is not None)):
        some = list(group)
        given = 0
        try:
            fs, place = open_uri(path)
            with fs.open(place, "rb") as file:
                if is_frame:
                    wanted = [(one.frame or 0, one.stamp) for one in some]
                    for frame in read_frames(file, path, wanted, max_pixels):
                        given += 1
                        yield frame
                else:
                    picture = decode_picture(file, path, max_pixels)
                    given += 1
                    yield picture
        except Exception as error:  # a store in the network fails with errors of its own
            yield from (_problem(path, error) for _ in some[given:])


def _problem(path: str, error: Exception) -> PictureError:
    if isinstance(error, PictureError):
        return error
    if isinstance(error, FileNotFoundError):
        return PictureError(f"{path}: is not there (any more); fetch it again")
    return PictureError(f"{path}: can't be read: {one_line(error)}")
