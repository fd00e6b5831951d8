import numpy as np
import pytest
from jaxtyping import Float32, UInt8

from sparsight.detections import Detections
from sparsight.drawing import GLOW, PALETTE, add_legend, colour, draw_heat, draw_objects
from sparsight.geometry import Letterbox
from sparsight.slicer import Patches

CLASSES = ("pedestrian", "car", "bus")
GREY = 100

Frame = UInt8[np.ndarray, "h w 3"]


def grey(height: int = 300, width: int = 400) -> Frame:
    return np.full((height, width, 3), GREY, np.uint8)


def found(*boxes: tuple[float, float, float, float], label: int = 1) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes)).astype(np.float32),
        np.full(len(boxes), label, np.int64),
    )


def grid_of_boxes(count: int, side: int, step: int) -> Detections:
    return found(
        *(
            (x, y, x + side, y + side)
            for y, x in ((step * (i // 15) + 20, step * (i % 15) + 20) for i in range(count))
        )
    )


def untouched(picture: Frame) -> np.ndarray:
    out: np.ndarray = (picture == GREY).all(axis=2)
    return out


def assert_colour(pixel: UInt8[np.ndarray, "3"], rgb: tuple[int, int, int]) -> None:
    """Antialiasing mixes a tenth of the ground into a line of one pixel."""
    np.testing.assert_allclose(pixel, rgb, atol=25)


def test_a_box_is_drawn_on_its_own_border_pixels() -> None:
    frame = grey()
    picture = draw_objects(frame, found((100.0, 120.0, 150.0, 160.0)), CLASSES)
    for y, x in ((120, 110), (159, 110), (130, 100), (130, 149)):
        assert_colour(picture[y, x], colour(1))
    assert untouched(picture)[122:158, 102:148].all()
    assert untouched(picture)[165:].all()
    assert (frame == GREY).all()


def test_a_class_keeps_its_colour_whatever_else_is_there() -> None:
    both = Detections(
        np.array([[10, 10, 60, 60], [100, 100, 150, 150]], np.float32),
        np.array([0.9, 0.8], np.float32),
        np.array([2, 0], np.int64),
    )
    picture = draw_objects(grey(), both, CLASSES)
    assert_colour(picture[30, 10], PALETTE[2])
    assert_colour(picture[130, 100], PALETTE[0])
    assert colour(len(PALETTE) + 2) == PALETTE[2]


def test_few_objects_have_names_a_crowd_of_small_ones_has_not() -> None:
    few, crowd = grid_of_boxes(15, 12, 60), grid_of_boxes(60, 12, 60)
    for boxes, named in ((few, True), (crowd, False)):
        changed = ~untouched(draw_objects(grey(400, 1000), boxes, CLASSES))
        outlines = len(boxes) * (14**2 - 10**2)
        assert (changed.sum() > 3 * outlines) == named
        assert changed.sum() >= 0.9 * outlines


def test_a_large_object_has_its_name_in_a_crowd() -> None:
    crowd = grid_of_boxes(45, 12, 60)
    large = found((500.0, 300.0, 700.0, 390.0))
    both = Detections(
        np.concatenate((crowd.xyxy, large.xyxy)),
        np.concatenate((crowd.scores, large.scores)),
        np.concatenate((crowd.labels, large.labels)),
    )
    picture = draw_objects(grey(400, 1000), both, CLASSES)
    assert not untouched(picture)[289:297, 505:530].any()


def test_names_cover_no_object() -> None:
    """Boxes so near to each other that a name fits above the first row and below the last only."""
    boxes = grid_of_boxes(30, 30, 34)
    picture = draw_objects(grey(400, 1000), boxes, CLASSES)
    for x0, y0, x1, y1 in boxes.xyxy.astype(int):
        assert untouched(picture)[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].all()
    assert not untouched(picture)[8:16, 22:40].any()


@pytest.mark.parametrize("hw", [(1, 1), (1, 500), (500, 1)])
def test_slivers_of_pictures(hw: tuple[int, int]) -> None:
    box = found((0.0, 0.0, float(hw[1]), float(hw[0])))
    picture = add_legend(draw_objects(grey(*hw), box, CLASSES), box, CLASSES)
    assert picture.shape[0] > hw[0]


def test_the_legend_stands_below_and_shows_what_was_found() -> None:
    frame, boxes = grey(), found((10.0, 10.0, 50.0, 50.0), (60.0, 60.0, 90.0, 90.0), label=2)
    picture = add_legend(frame, boxes, CLASSES)
    np.testing.assert_array_equal(picture[:300, :400], frame)
    strip = picture[300:].reshape(-1, 3).tolist()
    assert list(colour(2)) in strip
    assert list(colour(0)) not in strip
    assert list(colour(1)) not in strip


def test_the_legend_breaks_lines_like_words() -> None:
    many = tuple(f"class number {i}" for i in range(10))
    boxes = Detections(
        np.tile(np.array([[1, 1, 9, 9]], np.float32), (10, 1)),
        np.ones(10, np.float32),
        np.arange(10, dtype=np.int64),
    )
    narrow = add_legend(grey(10, 300), boxes, many, note="a note")
    assert narrow.shape[1] == 300
    assert 5 * 20 < narrow.shape[0] - 10 < 11 * 25
    strip = narrow[10:].reshape(-1, 3).tolist()
    assert all(list(colour(i)) in strip for i in range(10))


def patches_at(place: Letterbox, *origins_yx: tuple[int, int]) -> Patches:
    return Patches(
        np.array(origins_yx, np.int32).reshape(-1, 2),
        np.ones(len(origins_yx), np.float32),
        (4, 4),
        place.cells_hw,
    )


def blank_heat(place: Letterbox) -> Float32[np.ndarray, "gh gw"]:
    return np.zeros(place.cells_hw, np.float32)


def test_what_no_patch_holds_is_dimmed() -> None:
    """Cells (4, 8) to (7, 11) of an input of half the size: rows 64 to 127, columns 128 to 191."""
    place = Letterbox.fit((300, 400), 200)
    picture = draw_heat(grey(), blank_heat(place), patches_at(place, (4, 8)), place)
    assert untouched(picture)[66:126, 130:190].all()
    for dimmed in (picture[:62], picture[130:], picture[:, :126], picture[:, 194:]):
        assert (dimmed == 55).all()


def test_heat_glows_where_it_is() -> None:
    place = Letterbox.fit((300, 400), 200)
    heat = blank_heat(place)
    heat[9:12, 19:22] = 1
    picture = draw_heat(grey(), heat, patches_at(place), place)
    glow = picture[..., 0].astype(int) - picture[..., 1]
    y, x = np.unravel_index(glow.argmax(), glow.shape)
    assert (y, x) == (pytest.approx(168, abs=16), pytest.approx(328, abs=16))
    assert picture[y, x] == pytest.approx(np.multiply(GLOW, 0.7) + GREY * 0.3 * 0.55, abs=6)
    assert glow[:120].max() == 0


def test_no_two_colours_look_alike_to_anyone() -> None:
    """CIELAB distance of at least 17 for normal, protan and deutan sight (Machado et al. 2009)."""
    sights = {
        "normal": np.eye(3),
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    }
    srgb = np.array(PALETTE) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.434, 0.376, 0.190], [0.213, 0.715, 0.072], [0.018, 0.109, 0.873]])
    for name, sight in sights.items():
        root = np.cbrt(np.clip(linear @ np.array(sight).T, 1e-3, 1) @ to_xyz.T)
        x, y, z = root.T
        lab = np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=1)
        apart = np.linalg.norm(lab[:, None] - lab, axis=2) + 1e3 * np.eye(len(lab))
        assert apart.min() >= 16.9, (name, np.unravel_index(apart.argmin(), apart.shape))
