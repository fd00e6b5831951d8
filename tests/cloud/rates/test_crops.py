"""Layouts of patches: with a lossless codec the pixels under the patches come back exactly."""

import numpy as np
import pytest
from tests.split import scene

from sparsight.geometry import Letterbox
from sparsight.pictures import PAD_VALUE
from sparsight.slicer import Patches
from sparsight_cloud.rates.crops import (
    HEAD_BYTES,
    LAYOUTS,
    LENGTH_BYTES,
    LayoutName,
    joined,
    lay_out,
    pixel_rects,
    worth_a_try,
)
from sparsight_cloud.rates.regions import fine_and_coarse, near_marks


def patches_at(*origins_yx: tuple[int, int], grid_hw: tuple[int, int] = (20, 32)) -> Patches:
    origins = np.array(origins_yx, np.int32).reshape(-1, 2)
    return Patches(origins, np.ones(len(origins), np.float32), (8, 8), grid_hw)


def encode(picture: np.ndarray) -> bytes:
    return picture.tobytes()


def decode(data: bytes, hw: tuple[int, int]) -> np.ndarray:
    return np.frombuffer(data, np.uint8).reshape(*hw, 3)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("halo_px", [0, 32])
@pytest.mark.parametrize("picture_hw", [(144, 256), (72, 128), (101, 180)])
def test_pixels_under_patches_come_back_exactly(
    name: LayoutName, halo_px: int, picture_hw: tuple[int, int]
) -> None:
    box = Letterbox.fit(picture_hw, 256)
    patches = patches_at((0, 0), (4, 4), (8, 20), (12, 28))
    assert box.cells_hw == patches.grid_hw
    picture = scene(5, picture_hw)
    layout = lay_out(name, patches, box, picture_hw, halo_px)
    datas = [encode(one) for one in layout.cut(picture)]
    out = layout.assemble(layout.decoded(datas, decode))
    ys = ((np.arange(picture_hw[0]) + 0.5) * box.scaled_hw[0] / picture_hw[0] / 8).astype(int)
    xs = ((np.arange(picture_hw[1]) + 0.5) * box.scaled_hw[1] / picture_hw[1] / 8).astype(int)
    inside = patches.union()[ys[:, None], xs[None]]
    assert 0.2 < inside.mean() < 0.6
    np.testing.assert_array_equal(out[inside], picture[inside])
    sent = (out == picture).all(2)
    assert (out[~sent] == PAD_VALUE).all()
    assert sent.mean() > inside.mean() + (0.1 if halo_px else -1e-9)
    assert layout.overhead_bytes == HEAD_BYTES + 2 * 4 + LENGTH_BYTES * len(datas)
    assert len(datas) == (4 if name == "alone" else 1 if name == "masked" else len(datas))


def test_single_files_are_tried_only_where_no_rects_can_be_joined() -> None:
    hw = (160, 256)
    box = Letterbox.fit(hw, 256)

    def tried(*origins_yx: tuple[int, int]) -> list[str]:
        patches = patches_at(*origins_yx)
        layouts = [lay_out(name, patches, box, hw, 0) for name in LAYOUTS]
        return [one.name for one in worth_a_try(layouts)]

    assert tried((0, 0), (12, 24)) == ["alone", "merged", "masked"]
    assert tried((0, 0), (0, 8)) == ["merged", "masked"]
    assert tried() == ["alone", "merged", "masked"]


def test_without_patches_nothing_is_sent() -> None:
    box = Letterbox.fit((144, 256), 256)
    for name in LAYOUTS:
        layout = lay_out(name, patches_at(), box, (144, 256), 32)
        assert layout.cut(scene(0)) == []
        assert (layout.assemble([]) == PAD_VALUE).all()
        assert layout.overhead_bytes == HEAD_BYTES


def test_rects_are_whole_pixels_outward_and_inside() -> None:
    box = Letterbox.fit((101, 180), 256)
    rects = pixel_rects(patches_at((0, 0), (8, 24), (16, 28)), box, (101, 180), 0)
    # 64 px of the input are 45 of the picture; the last row of fields ends in the padding.
    np.testing.assert_array_equal(rects, [[0, 0, 45, 45], [135, 44, 180, 90], [157, 89, 180, 101]])


def test_rects_are_joined_where_that_adds_next_to_nothing() -> None:
    side_by_side = np.array([[0, 0, 64, 64], [64, 0, 128, 64], [300, 300, 364, 364]])
    np.testing.assert_array_equal(
        sorted(joined(side_by_side).tolist()), [[0, 0, 128, 64], [300, 300, 364, 364]]
    )
    crossing = np.array([[0, 0, 64, 64], [32, 32, 96, 96]])
    assert joined(crossing).tolist() == [[0, 0, 96, 96]]  # 96**2 is about 2 * 64**2
    corners = np.array([[0, 0, 64, 64], [64, 64, 128, 128]])
    assert joined(corners).tolist() == corners.tolist()


def test_regions_are_fine_where_told_and_smooth_elsewhere() -> None:
    picture, box = scene(3), Letterbox.fit((144, 256), 256)
    marks = np.zeros(box.cells_hw, np.bool_)
    marks[9, 16] = True
    fine = near_marks(marks)
    assert fine.sum() == 7 * 7
    out = fine_and_coarse(picture, fine, box)
    area = np.zeros((144, 256), bool)
    area[6 * 8 : 13 * 8, 13 * 8 : 20 * 8] = True
    np.testing.assert_array_equal(out[area], picture[area])
    assert (
        np.diff(out[:40].astype(int), axis=0).std()
        < 0.2 * np.diff(picture[:40].astype(int), axis=0).std()
    )
