"""A labelled set of pictures, whatever format it came in.

Readers (`coco`, `yolo`, `visdrone`, `uavdt`, `tinyperson`) turn files into these values; training,
evaluation and converters know nothing else. Pixels are not read here.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64


@dataclass(frozen=True, slots=True)
class Outline:
    """The shape of one object, where a set has instance masks.

    Attributes:
        xyxy: Its box, in pixels of the picture.
        rings: Lines around its parts and holes, x and y in pixels of the picture; what an odd
            number of them enclose is the object.
    """

    xyxy: Float32[np.ndarray, " 4"]
    rings: tuple[Float32[np.ndarray, "_ 2"], ...]


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One picture with its boxes.

    Attributes:
        path: Where the picture lies.
        file_name: The name by which annotations and results speak of it, relative to the folder of
            pictures, with `/` between its parts.
        image_id: Id of the picture in COCO files.
        frame_hw: Height and width of the upright picture, in pixels.
        xyxy: Boxes in pixels of the picture; inside it and larger than nothing.
        labels: Index into the data set's classes, from 0.
        ignore_xyxy: Regions that were not labelled: neither trained on nor judged.
        outlines: Shapes of those objects that have one, in no order.
    """

    path: Path
    file_name: str
    image_id: int
    frame_hw: tuple[int, int]
    xyxy: Float32[np.ndarray, "n 4"]
    labels: Int64[np.ndarray, " n"]
    ignore_xyxy: Float32[np.ndarray, "m 4"]
    outlines: tuple[Outline, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures and the names of their classes.

    Attributes:
        images: In the order of the annotation file, or by name where each picture has its own file.
        classes: Name of each class.
        category_ids: Id of each class in COCO files, which need not start at 0.
    """

    images: tuple[LabelledImage, ...]
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]

    @property
    def boxes(self) -> int:
        """Number of labelled boxes."""
        return sum(len(image.labels) for image in self.images)
