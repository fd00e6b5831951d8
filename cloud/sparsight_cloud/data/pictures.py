"""The pictures of a data set on disk: which there are and how large they are, none decoded."""

import os
import warnings
from pathlib import Path, PurePosixPath

from PIL import Image

from sparsight.errors import DataError
from sparsight.pictures import FORMATS, SUFFIXES
from sparsight_cloud.data.reading import Reading

_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 lay the picture on its side
_SIDEWAYS = range(5, 9)


def require_folder(folder: Path, what: str) -> None:
    """Refuses what is not a folder.

    Args:
        folder: The path to look at.
        what: What it should hold, for the message.

    Raises:
        DataError: There is no folder of that name.
    """
    if not folder.is_dir():
        came = "a file" if folder.exists() else "nothing there"
        raise DataError(f"{folder}: expected the folder of the {what}, found {came}")


def list_pictures(folder: Path) -> dict[str, Path]:
    """The pictures in a folder and below it, by their name relative to it, in order of name.

    Args:
        folder: Where to look; links are followed.

    Raises:
        DataError: There is no such folder.
    """
    require_folder(folder, "pictures")
    found = {}
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(parent, name)
            if path.suffix.lower() in SUFFIXES:
                found[path.relative_to(folder).as_posix()] = path
    return dict(sorted(found.items()))


def picture_hw(path: Path, reading: Reading) -> tuple[int, int] | None:
    """Height and width of a picture as it is seen, upright, from its header.

    Args:
        path: The file.
        reading: Gets the problem if it can't be read.

    Returns:
        Pixels; None if there is a problem.
    """
    try:
        with warnings.catch_warnings():
            # Only the header is read: how many pixels there are to decode is no matter here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                sideways = _orientation(image) in _SIDEWAYS
    except FileNotFoundError:
        reading.problem(path, "expected a picture, there is no such file")
    except Exception as error:  # broken headers make decoders raise almost anything
        text = " ".join(str(error).split()) or type(error).__name__
        reading.problem(path, f"expected a picture, its header can't be read: {text}")
    else:
        return (width, height) if sideways else (height, width)
    return None


def safe_name(name: object) -> bool:
    """Whether a picture's name leads to a file inside the folder of pictures."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts


def _orientation(image: Image.Image) -> int:
    # A PNG without EXIF in front of its pixels would be decoded in search of it behind them.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged block says nothing, as in `sparsight.pictures`
        return 1
