"""Real files of every format and every fault, written by Pillow and OpenCV."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from sparsight.errors import PictureError
from sparsight.geometry import Letterbox
from sparsight.pictures import PAD_VALUE, letterbox, read_picture

HEIGHT, WIDTH = 48, 64
SUFFIXES = ("png", "jpg", "webp", "tif", "bmp")
LOSSLESS: dict[str, dict[str, Any]] = {"png": {}, "tif": {}, "bmp": {}, "webp": {"lossless": True}}
ORIENTATION = 274  # EXIF tag


def smooth() -> UInt8[np.ndarray, "h w 3"]:
    """A picture that JPEG keeps to a few levels; no two of its corners are alike."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack((x * 3, y * 4, 255 - x * 2 - y), axis=-1).astype(np.uint8)


def noise(dtype: type = np.uint8, channels: tuple[int, ...] = (3,)) -> np.ndarray:
    top = np.iinfo(dtype).max
    shape = (HEIGHT, WIDTH, *channels)
    return np.random.default_rng(0).integers(0, top, shape, dtype, endpoint=True)


def as_grey_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_keep_every_value(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise()).save(path, **LOSSLESS[suffix])
    np.testing.assert_array_equal(read_picture(path), noise())


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_jpeg(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.JPG"
    Image.fromarray(smooth()).convert(mode).save(path, format="JPEG", quality=95, subsampling=0)
    want = np.asarray(Image.fromarray(smooth()).convert(mode).convert("RGB")).astype(int)
    assert np.abs(read_picture(path) - want).max() <= 8


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_bilevel_and_palette(mode: str, suffix: str, tmp_path: Path) -> None:
    picture = Image.fromarray(smooth()).convert(mode)
    picture.save(tmp_path / f"a.{suffix}")
    want = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(read_picture(tmp_path / f"a.{suffix}"), want)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_transparent_pixels_are_the_letterboxs_grey(suffix: str, tmp_path: Path) -> None:
    rgba = np.concatenate((smooth(), np.full((HEIGHT, WIDTH, 1), 255, np.uint8)), axis=2)
    rgba[:, : WIDTH // 2, 3] = 0
    rgba[0, -1] = (200, 100, 0, 128)
    Image.fromarray(rgba).save(tmp_path / f"a.{suffix}", **LOSSLESS[suffix])
    frame = read_picture(tmp_path / f"a.{suffix}")
    assert (frame[:, : WIDTH // 2] == PAD_VALUE).all()
    np.testing.assert_array_equal(frame[1:, WIDTH // 2 :], smooth()[1:, WIDTH // 2 :])
    np.testing.assert_allclose(frame[0, -1], (157, 107, 57), atol=1)


def test_grey_with_alpha_and_a_transparent_palette_colour(tmp_path: Path) -> None:
    grey = Image.new("LA", (4, 3), (50, 255))
    grey.putpixel((0, 0), (50, 0))
    grey.save(tmp_path / "la.png")
    palette = Image.new("P", (4, 3), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((0, 0), 1)
    palette.save(tmp_path / "p.png", transparency=1)
    for name, colour in (("la.png", (50, 50, 50)), ("p.png", (10, 20, 30))):
        frame = read_picture(tmp_path / name)
        assert frame[0, 0].tolist() == [PAD_VALUE] * 3
        assert frame[2, 3].tolist() == list(colour)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_keeps_the_high_byte(suffix: str, tmp_path: Path) -> None:
    grey, colour = noise(np.uint16, ()), noise(np.uint16)
    cv2.imwrite(str(tmp_path / f"grey.{suffix}"), grey)
    cv2.imwrite(str(tmp_path / f"rgb.{suffix}"), colour[..., ::-1])
    np.testing.assert_array_equal(read_picture(tmp_path / f"grey.{suffix}"), as_grey_rgb(grey >> 8))
    np.testing.assert_array_equal(read_picture(tmp_path / f"rgb.{suffix}"), colour >> 8)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bit_tiff_of_either_byte_order(dtype: str, tmp_path: Path) -> None:
    grey = noise(np.uint16, ())
    Image.fromarray(grey.astype(dtype)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), as_grey_rgb(grey >> 8))


def test_16_bit_tiff_where_white_is_zero(tmp_path: Path) -> None:
    grey = noise(np.uint16, ())
    Image.fromarray(grey).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), as_grey_rgb(255 - (grey >> 8)))


def test_12_bit_tiff_fills_the_8_bit_range(tmp_path: Path) -> None:
    """Pillow hands 12-bit samples over unscaled, in a 16-bit mode. It can't write them: by hand."""
    samples = [0, 0x100, 0x800, 0xFFF]
    pixels = bytes.fromhex("".join(f"{sample:03x}" for sample in samples))
    entries = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 200), (277, 1), (278, 1)]
    entries.append((279, len(pixels)))
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    (tmp_path / "a.tif").write_bytes(head.ljust(200, b"\0") + pixels)
    assert read_picture(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 0x10, 0x80, 0xFF]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_exif_orientation_is_applied_once(suffix: str, orientation: int, tmp_path: Path) -> None:
    upright = smooth()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)
    frame = read_picture(path)
    assert frame.shape == upright.shape
    assert np.abs(frame.astype(int) - upright).mean() < 3


def test_16_bit_with_orientation(tmp_path: Path) -> None:
    grey = noise(np.uint16, ())
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(grey).save(tmp_path / "a.tif", exif=exif)
    want = as_grey_rgb(np.rot90(grey >> 8, -1))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), want)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "mpo"])
def test_of_many_pictures_the_first(suffix: str, tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second], duration=100)
    np.testing.assert_allclose(read_picture(tmp_path / f"a.{suffix}")[0, 0], (255, 0, 0), atol=3)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_absurd_sizes_work_up_to_the_networks_input(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, (200, 10, 20)).save(tmp_path / "a.png")
    frame = read_picture(tmp_path / "a.png")
    assert frame.shape == (size[1], size[0], 3)
    place = Letterbox.fit(frame.shape[:2], 256)
    fed = letterbox(frame, place)
    assert fed.shape == (*place.input_hw, 3)
    assert fed[0, 0].tolist() == [200, 10, 20]


def test_the_array_is_the_callers_own(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.png")
    frame = read_picture(tmp_path / "a.png")
    assert frame.flags.writeable
    assert frame.flags.c_contiguous


def refusal(path: Path, **limits: int) -> str:
    """The message, which is one line and begins with the file's path."""
    with pytest.raises(PictureError) as caught:
        read_picture(path, **limits)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def frame_or_none(path: Path) -> UInt8[np.ndarray, "h w 3"] | None:
    """The picture, or None for an error that names the file; any other error fails the test."""
    message = ""
    try:
        return read_picture(path, max_pixels=10**7)
    except PictureError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    return None


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated(suffix: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise()).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "truncated or damaged" in refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_short_anywhere_it_is_refused_or_whole(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise()).save(path)
    whole, data = read_picture(path), path.read_bytes()
    for length in {*range(1, 80), *np.linspace(80, len(data) - 1, 40).astype(int).tolist()}:
        path.write_bytes(data[:length])
        frame = frame_or_none(path)
        if frame is not None:
            np.testing.assert_array_equal(frame, whole)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_broken_bytes_give_a_picture_or_an_error_of_ours(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise()).save(path)
    data, random = path.read_bytes(), np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(data)
        for place in random.integers(0, min(len(data), 300), 4):
            broken[place] = random.integers(0, 256)
        path.write_bytes(broken)
        frame_or_none(path)


def write_text(path: Path) -> None:
    path.write_text("no picture at all\n" * 100)


def write_gif(path: Path) -> None:
    Image.new("L", (4, 4)).save(path, format="GIF")


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (write_text, "not a picture, whatever its name says"),
        (write_gif, "expected PNG, JPEG, WebP, TIFF or BMP"),
        (Path.touch, "empty (zero bytes)"),
        (Path.mkdir, "directory"),
        (lambda path: None, "No such file"),
    ],
)
def test_what_is_no_picture(write: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    write(path)
    assert says in refusal(path)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_without_a_range_are_refused(dtype: type, tmp_path: Path) -> None:
    Image.fromarray(noise(np.uint16, ()).astype(dtype)).save(tmp_path / "a.tif")
    assert "32-bit values without a known range" in refusal(tmp_path / "a.tif")


def test_the_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    """The file ends behind its header: whoever decodes first speaks of a truncated file."""
    path = tmp_path / "a.bmp"
    Image.fromarray(noise()).save(path)
    path.write_bytes(path.read_bytes()[:54])
    assert "truncated" in refusal(path)
    says = refusal(path, max_pixels=HEIGHT * WIDTH - 1)
    assert says.startswith(f"{WIDTH}x{HEIGHT} is 0.0 Mpx, over the limit of 0.003071 Mpx")
    assert "--max-pixels" in says


def test_our_limit_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow refuses pictures over twice a limit of its own, which is lower than ours."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.fromarray(noise()).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").shape == (HEIGHT, WIDTH, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_letterbox_pads_right_and_bottom() -> None:
    frame = np.full((90, 160, 3), (10, 20, 30), np.uint8)
    place = Letterbox.fit((90, 160), 320)
    fed = letterbox(frame, place)
    assert fed.shape == (192, 320, 3)
    assert (fed[:180] == (10, 20, 30)).all()
    assert (fed[180:] == PAD_VALUE).all()


@pytest.mark.parametrize("long_side_px", [100, 300, 640])
def test_letterbox_keeps_places(long_side_px: int) -> None:
    """A bright square lies where `Letterbox.to_input` says, whichever way it was scaled."""
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[80:160, 40:200] = 255
    place = Letterbox.fit((240, 320), long_side_px)
    inside = letterbox(frame, place)[: place.scaled_hw[0], : place.scaled_hw[1], 0] > 127
    y, x = np.nonzero(inside)
    found = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]])
    want = place.to_input(np.array([[40.0, 80.0, 200.0, 160.0]]))
    np.testing.assert_allclose(found, want, atol=0.51)


def test_letterbox_averages_when_much_smaller() -> None:
    """A chequerboard becomes even grey; bilinear sampling would leave a moire of it."""
    frame = np.indices((400, 600)).sum(axis=0) % 2 * 255
    frame = as_grey_rgb(frame.astype(np.uint8))
    small = letterbox(frame, Letterbox.fit((400, 600), 130))[:87, :130]
    assert np.abs(small.astype(int) - 127).max() < 40


def test_letterbox_at_scale_one_copies() -> None:
    frame = noise()
    fed = letterbox(frame, Letterbox.fit(frame.shape[:2], WIDTH))
    np.testing.assert_array_equal(fed[:HEIGHT], frame)
    fed[:] = 0
    np.testing.assert_array_equal(frame, noise())


def test_letterbox_of_another_frame_is_refused() -> None:
    with pytest.raises(ValueError, match=r"for a frame of \(10, 20\), got \(48, 64\)"):
        letterbox(noise(), Letterbox.fit((10, 20), 64))
