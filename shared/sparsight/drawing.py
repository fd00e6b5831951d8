"""Annotated pictures: boxes in the colour of their class, what the seeker saw, a legend below.

    frame ──draw_heat──> heat glowing, what no patch holds dimmed ──draw_objects──> boxes, labels
          ──add_legend──> the same with a strip of class counts below, so that it hides no object

Made to stay readable with hundreds of objects of a dozen pixels: lines are thin, names stand only
at boxes that are large or few, and no name covers an object or another name. A class has the same
colour in every picture. The palette is Okabe and Ito's ("Color Universal Design", 2008) without
black and with three light colours; the closest two of the ten are 17 apart in CIELAB for normal,
protan and deutan sight (Machado et al. 2009), which is the distance within Okabe and Ito's own.
"""

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from sparsight.detections import Detections
from sparsight.geometry import CELL_PX, Letterbox, area, intersection
from sparsight.slicer import Patches

PALETTE = (
    (240, 228, 66),
    (230, 159, 0),
    (0, 158, 115),
    (86, 180, 233),
    (204, 121, 167),
    (213, 94, 0),
    (255, 170, 187),
    (153, 221, 255),
    (0, 114, 178),
    (255, 255, 255),
)
"""RGB colour of each class, in the order of the bundle's; more classes begin anew."""

GLOW = (255, 40, 160)
"""RGB colour of heat: none of the palette, and rare in landscapes."""

_FEW = 40  # objects up to which every one gets its name, where there is room for it
_BIG_LINES = 3.0  # short side from which a box gets its name in any crowd, in heights of a line
_MAX_LABELS = 80
_DIMMED = 0.55  # brightness left of what no patch holds
_STRIP = (24, 26, 30)
_STRIP_TEXT = (235, 235, 235)


def draw_heat(
    frame: UInt8[np.ndarray, "h w 3"],
    heat: Float32[np.ndarray, "gh gw"],
    patches: Patches,
    place: Letterbox,
) -> UInt8[np.ndarray, "h w 3"]:
    """Let the seeker's heat glow, dim what no patch holds and outline the patches.

    Args:
        frame: The source frame.
        heat: Object probability of each cell, in [0, 1].
        patches: What was kept.
        place: How the frame lay in the network's input.

    Returns:
        A new picture.
    """
    glow = _over_frame(heat, place, cv2.INTER_LINEAR)
    kept = _over_frame(patches.union().astype(np.float32), place, cv2.INTER_NEAREST)
    alpha = 0.7 * np.clip(glow, 0, 1)
    # Channel by channel: a float copy of a 200 Mpx frame would be 2.4 GB.
    own = (_DIMMED + (1 - _DIMMED) * kept) * (1 - alpha)
    out = np.empty_like(frame)
    for channel, value in enumerate(GLOW):
        out[..., channel] = frame[..., channel] * own + value * alpha
    if len(patches):
        corners = place.to_frame(patches.xyxy_cells().astype(np.float64) * CELL_PX)
        _outline(out, corners, (255, 255, 255), 1)
    return out


def draw_objects(
    frame: UInt8[np.ndarray, "h w 3"], found: Detections, classes: tuple[str, ...]
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the boxes and, where there is room, their classes and scores.

    Args:
        frame: The picture to draw on; it stays as it is.
        found: Objects in pixels of the frame, best first.
        classes: Names of the classes.

    Returns:
        A new picture.
    """
    if not len(found):
        return frame.copy()
    width_px = _line_width(frame, found)
    shade = frame.copy()
    _outline(shade, found.xyxy, (0, 0, 0), width_px + 1, cv2.LINE_8)
    out = cv2.addWeighted(frame, 0.5, shade, 0.5, 0)
    # Common classes first, so that a rare one is not drawn over.
    for label in np.argsort(-np.bincount(found.labels), kind="stable"):
        of_class = found.xyxy[found.labels == label]
        if len(of_class):
            _outline(out, of_class, colour(int(label)), width_px)
    return _write_labels(out, found, classes)


def add_legend(
    frame: UInt8[np.ndarray, "h w 3"], found: Detections, classes: tuple[str, ...], note: str = ""
) -> UInt8[np.ndarray, "legend_h legend_w 3"]:
    """Add a strip below with the number of objects of each class, and a note.

    Args:
        frame: The annotated picture.
        found: What is counted.
        classes: Names of the classes.
        note: Stands at the right end, where there is room.

    Returns:
        The picture with the strip; at least wide enough for the longest entry.
    """
    height_px = max(13, min(44, round(frame.shape[1] / 95)))
    font, gap = _font(height_px), height_px
    counts = np.bincount(found.labels, minlength=len(classes))
    entries = [
        (f"{classes[i]} {counts[i]}", colour(int(i)))
        for i in np.argsort(-counts, kind="stable")
        if counts[i]
    ] or [("no objects", _STRIP)]
    width = max(frame.shape[1], *(round(font.getlength(text)) + 4 * gap for text, _ in entries))
    # Entries flow into lines like words.
    places, x, line = [], gap, 0
    for text, _ in entries:
        needed = round(font.getlength(text)) + round(1.5 * gap)
        if x > gap and x + needed > width - gap:
            x, line = gap, line + 1
        places.append((x, line))
        x += needed + gap
    note_px = round(font.getlength(note))
    if note and x + note_px + gap > width:
        line, note = (line + 1, note) if note_px + 2 * gap <= width else (line, "")
    step = round(1.7 * height_px)
    strip = Image.new("RGB", (width, (line + 1) * step + height_px // 2), _STRIP)
    draw = ImageDraw.Draw(strip)
    for (text, rgb), (x, row) in zip(entries, places, strict=True):
        middle = row * step + step // 2 + height_px // 4
        half = height_px // 2
        draw.rectangle((x, middle - half, x + height_px, middle + half), fill=rgb)
        draw.text((x + round(1.5 * gap), middle), text, _STRIP_TEXT, font, anchor="lm")
    if note:
        middle = line * step + step // 2 + height_px // 4
        draw.text((width - gap, middle), note, (160, 165, 172), font, anchor="rm")
    out = np.full((frame.shape[0] + strip.height, width, 3), _STRIP, np.uint8)
    out[: frame.shape[0], : frame.shape[1]] = frame
    out[frame.shape[0] :] = np.asarray(strip)
    return out


def colour(label: int) -> tuple[int, int, int]:
    """RGB colour of a class."""
    return PALETTE[label % len(PALETTE)]


def _over_frame(
    cells: Float32[np.ndarray, "gh gw"], place: Letterbox, how: int
) -> Float32[np.ndarray, "h w"]:
    """A map over the input, cell by cell -> a map over the frame, pixel by pixel."""
    (height, width), (frame_h, frame_w) = place.scaled_hw, place.frame_hw
    whole = cv2.resize(cells, (place.input_hw[1], place.input_hw[0]), interpolation=how)
    out: Float32[np.ndarray, "h w"] = cv2.resize(
        whole[:height, :width], (frame_w, frame_h), interpolation=how
    )
    return out


def _outline(
    picture: UInt8[np.ndarray, "h w 3"],
    xyxy: Float[np.ndarray, "n 4"],
    rgb: tuple[int, int, int],
    width_px: int,
    how: int = cv2.LINE_AA,
) -> None:
    # On whole pixels: between them, antialiasing spreads a thin line over two and it fades.
    x0, y0 = np.floor(xyxy[:, :2]).astype(np.int32).T
    x1, y1 = np.ceil(xyxy[:, 2:] - 1).astype(np.int32).T
    corners = np.stack((x0, y0, x1, y0, x1, y1, x0, y1), axis=1).reshape(-1, 4, 2)
    cv2.polylines(picture, list(corners), True, rgb, width_px, how)


def _line_width(frame: UInt8[np.ndarray, "h w 3"], found: Detections) -> int:
    """One pixel for each 1500 of the frame, unless that would fill the objects."""
    typical = float(np.median(np.sqrt(area(found.xyxy))))
    return int(max(1, min(round(max(frame.shape) / 1500), round(typical / 10))))


def _write_labels(
    picture: UInt8[np.ndarray, "h w 3"], found: Detections, classes: tuple[str, ...]
) -> UInt8[np.ndarray, "h w 3"]:
    height_px = max(10, min(40, round(max(picture.shape) / 130)))
    line_px = round(1.25 * height_px)
    short = np.min(found.xyxy[:, 2:] - found.xyxy[:, :2], axis=1)
    wanted = np.flatnonzero((short >= _BIG_LINES * line_px) | (len(found) <= _FEW))
    texts = [(int(i), f"{classes[found.labels[i]]} {found.scores[i]:.2f}") for i in wanted]
    if not texts:
        return picture
    font = _font(height_px)
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    taken = found.xyxy
    for i, text in texts[:_MAX_LABELS]:
        width = round(font.getlength(text)) + height_px // 2
        spot = _spot(found.xyxy[i], width, line_px, picture.shape[:2], taken)
        if spot is None:
            continue
        taken = np.concatenate((taken, spot))
        x0, y0, x1, y1 = (float(v) for v in spot[0])
        rgb = colour(int(found.labels[i]))
        ink = (0, 0, 0) if np.dot(rgb, (0.299, 0.587, 0.114)) > 110 else (255, 255, 255)
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=rgb)
        draw.text((x0 + height_px // 4, (y0 + y1) / 2), text, ink, font, anchor="lm")
    return np.array(image)


def _spot(
    box_xyxy: Float32[np.ndarray, "4"],
    width: int,
    height: int,
    frame_hw: tuple[int, ...],
    taken: Float32[np.ndarray, "n 4"],
) -> Float32[np.ndarray, "1 4"] | None:
    """Room for a label above or below a box; None without."""
    x = min(max(0.0, np.floor(box_xyxy[0])), frame_hw[1] - width)
    above, below = np.floor(box_xyxy[1]) - height, np.ceil(box_xyxy[3])
    spots = np.array([[x, y, x + width, y + height] for y in (above, below)], np.float32)
    inside = (spots[:, :2] >= 0).all(1) & (spots[:, 2:] <= frame_hw[1::-1]).all(1)
    free = intersection(spots, taken).sum(axis=1) == 0
    room = np.flatnonzero(inside & free)
    return spots[room[:1]] if len(room) else None


@lru_cache(maxsize=8)
def _font(height_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(height_px)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
