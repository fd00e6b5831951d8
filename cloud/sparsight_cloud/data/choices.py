"""What a person chooses between; nothing is imported, so that the command line can ask at once."""

from enum import Enum


class Format(str, Enum):
    """How a data set is annotated."""

    COCO = "coco"
    YOLO = "yolo"
    VISDRONE = "visdrone"
    UAVDT = "uavdt"
    TINYPERSON = "tinyperson"


class Target(str, Enum):
    """Formats that are written."""

    COCO = "coco"
    YOLO = "yolo"


class Split(str, Enum):
    """Part of a data set that comes in one piece (UAVDT)."""

    ALL = "all"
    TRAIN = "train"
    TEST = "test"


class Placing(str, Enum):
    """How pictures come into a new YOLO set: linked, copied, or not at all."""

    LINK = "link"
    COPY = "copy"
    NONE = "none"
