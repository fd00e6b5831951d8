"""From a picture file to an upright RGB array, and from there to the network's input.

    file ──header──> size checked ──decode──> upright ──> 8-bit RGB (h, w, 3) ──letterbox──> input

Pillow decodes, OpenCV resizes. What the files may be: PNG, JPEG (MPO too, which DJI writes), WebP,
TIFF and BMP; of animations and many-page files the first picture. Everything that can be wrong with
a file is a `PictureError` of one line that begins with the file's path.

Decisions:
- Transparent pixels become the letterbox's grey, not white: transparent means "no picture here",
  as in the border of an orthophoto, and `PAD_VALUE` is how the network was taught that.
- 16-bit values lose their low byte: the full range is kept, so a frame's brightness does not depend
  on its content and two frames of one stream stay comparable.
- 32-bit and float pictures are refused: nothing in the file says which values are black and white.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol, cast, runtime_checkable

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from sparsight.errors import PictureError
from sparsight.geometry import Letterbox

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
"""Pillow's decoders that may see a file; the others (EPS starts a process) stay out of reach."""

SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".mpo", ".webp", ".tif", ".tiff", ".bmp"}
)
"""Endings, in lower case, of the files that are taken from a folder."""

MAX_PIXELS = 200_000_000
"""Default limit of a picture's size, in pixels: 600 MB once decoded."""

PAD_VALUE = 114
"""Grey level, in [0, 255], around the picture in the network's input and under transparency."""

_AREA_BELOW = 0.6  # below this scale bilinear sampling skips source pixels and small objects alias

_TIFF_BITS = 258  # tag BitsPerSample: 12-bit samples come unscaled in a 16-bit mode
_TIFF_PHOTOMETRIC = 262  # tag PhotometricInterpretation
_WHITE_IS_ZERO = 0

_open_lock = threading.Lock()


@runtime_checkable
class BinaryFile(Protocol):
    """What is read of an open file, wherever it lies."""

    def read(self, size: int = -1, /) -> bytes: ...  # noqa: D102
    def seek(self, offset: int, whence: int = 0, /) -> int: ...  # noqa: D102
    def tell(self) -> int: ...  # noqa: D102


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Reads a picture as 8-bit RGB, turned upright by its EXIF orientation.

    Args:
        path: A PNG, JPEG, WebP, TIFF or BMP file; its content decides, not its name.
        max_pixels: The most pixels a picture may have; checked in the header, before decoding.

    Returns:
        RGB, in [0, 255], writable and contiguous.

    Raises:
        PictureError: The file is missing, empty, no picture, damaged, too large or of a pixel
            format without a known range. One line, beginning with the path.
    """
    try:
        with path.open("rb") as file:
            return decode_picture(file, str(path), max_pixels)
    except OSError as error:
        raise PictureError(f"{path}: can't be opened: {error.strerror or error}") from error


def decode_picture(
    file: BinaryFile, name: str, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads a picture from an open file, wherever that lies; otherwise as `read_picture`.

    Args:
        file: Open at its beginning, seekable.
        name: What errors call it.
        max_pixels: As there.

    Raises:
        PictureError: As there; reading errors of the file itself pass through.
    """
    if not file.read(1):
        raise PictureError(f"{name}: the file is empty (zero bytes); fetch it again")
    file.seek(0)
    return _decode(file, name, max_pixels)


def letterbox(
    frame: UInt8[np.ndarray, "h w 3"], place: Letterbox
) -> UInt8[np.ndarray, "input_h input_w 3"]:
    """Scales a frame and pads it on the right and at the bottom to the network's input.

    Args:
        frame: Any three channels; its height and width are `place.frame_hw`.
        place: Where the frame lies in the input.

    Returns:
        A new array of height and width `place.input_hw`, `PAD_VALUE` outside the picture.

    Raises:
        ValueError: The frame is not of the size the letterbox was made for.
    """
    if frame.shape[:2] != place.frame_hw:
        raise ValueError(f"the letterbox is for a frame of {place.frame_hw}, got {frame.shape[:2]}")
    height, width = place.scaled_hw
    if place.scaled_hw != place.frame_hw:
        smaller = min(place.scale_xy) < _AREA_BELOW
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        frame = cv2.resize(frame, (width, height), interpolation=how)
    out = np.full((*place.input_hw, 3), PAD_VALUE, np.uint8)
    out[:height, :width] = frame
    return out


def _decode(file: BinaryFile, path: str, max_pixels: int) -> UInt8[np.ndarray, "h w 3"]:
    try:
        with no_size_guard():
            image = Image.open(cast("IO[bytes]", file), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{path}: not a picture, whatever its name says; expected PNG, JPEG, WebP, TIFF or BMP"
        ) from error
    except Exception as error:  # over broken bytes a decoder raises almost anything
        raise _damaged(path, error) from error
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise PictureError(
                f"{path}: {width}x{height} is {width * height / 1e6:.1f} Mpx, over the limit of "
                f"{max_pixels / 1e6:g} Mpx; raise the limit (--max-pixels) or cut it into tiles"
            )
        try:
            image.load()
        except Exception as error:  # as above
            raise _damaged(path, error) from error
        try:
            return _to_rgb(image)
        except Exception as error:  # as above, and what Pillow can't convert
            raise PictureError(
                f"{path}: pixels of mode {image.mode} can't be read as RGB ({_one_line(error)}); "
                "convert it to 8 or 16 bit grey or RGB"
            ) from error


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    tags = getattr(image, "tag_v2", {})  # a turned copy has lost them
    image = _upright(image)
    if image.mode.startswith("I;16"):
        bits = tags.get(_TIFF_BITS, (16,))[0]
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
        if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
            grey = 255 - grey  # Pillow turns 8-bit grey over, but not 16-bit
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError("32-bit values without a known range")
    if image.has_transparency_data:
        flat = Image.new("RGBA", image.size, (PAD_VALUE, PAD_VALUE, PAD_VALUE, 255))
        image = Image.alpha_composite(flat, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing about the pixels: take them as they lie
        return image


@contextmanager
def no_size_guard() -> Iterator[None]:
    """Pillow's own size limit is a global and lower than ours: off while a header is read."""
    with _open_lock:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _damaged(path: str, error: Exception) -> PictureError:
    return PictureError(f"{path}: truncated or damaged: {_one_line(error)}; fetch it again")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
