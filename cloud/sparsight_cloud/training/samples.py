"""Training samples: random crops at native resolution.

    picture ── scale x flip x place ── one resampling ──> crop [S, S, 3] + boxes + ignore regions
               4 smaller crops ── mosaic ──┘                   └── colour ─ codec

Every sample is a pure function of (seed, step, process), so a run that is killed and goes on draws
what it would have drawn. Pictures with many boxes and boxes of rare classes come more often. Pixels
are resampled once: crop and scale are one step.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from sparsight.errors import DataError, PictureError, TrainingError
from sparsight.pictures import read_picture
from sparsight_cloud.data.dataset import Dataset, LabelledImage
from sparsight_cloud.training.compress import compressed
from sparsight_cloud.training.config import CropConfig

GREY = 114
KEEP_SHARE = 0.35
KEEP_PX = 2.5
BOXED, MASKED = 1, 2
"""A pixel lies in the box of an object that has a mask; under the mask of one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One crop, in input pixels.

    Attributes:
        image: RGB.
        xyxy: Boxes of which enough is visible.
        labels: Their classes.
        ignore_xyxy: Regions to learn nothing from.
        shapes: Bits `BOXED` and `MASKED` of each pixel; None where the set has no masks.
    """

    image: UInt8[np.ndarray, "h w 3"]
    xyxy: Float32[np.ndarray, "n 4"]
    labels: Int64[np.ndarray, " n"]
    ignore_xyxy: Float32[np.ndarray, "m 4"]
    shapes: UInt8[np.ndarray, "h w"] | None = None


class Sampler:
    """Draws samples from a data set; owns the decoded pictures."""

    def __init__(self, dataset: Dataset, config: CropConfig, cache_bytes: int) -> None:
        """A sampler.

        Args:
            dataset: Pictures with boxes.
            config: How to crop.
            cache_bytes: Decoded pictures kept in memory; the rest is decoded when drawn.

        Raises:
            TrainingError: There is nothing to learn.
        """
        if dataset.boxes == 0:
            raise TrainingError(
                f"expected labelled boxes, got none in {len(dataset.images)} pictures; a seeker "
                "must never be trained on silence"
            )
        self.dataset = dataset
        self.config = config
        self._pictures: dict[int, UInt8[np.ndarray, "h w 3"]] = {}
        self._room = cache_bytes
        counts = np.array([len(i.labels) for i in dataset.images], np.float64)
        self._image_p = np.sqrt(counts + 10) / np.sqrt(counts + 10).sum()
        labels = np.concatenate([i.labels for i in dataset.images])
        seen = np.bincount(labels, minlength=len(dataset.classes))
        self._shaped = any(image.outlines for image in dataset.images)
        self._rarity = (seen.max() / np.maximum(seen, 1)) ** 0.3

    def preload(self, index: int) -> bool:
        """Decode one picture now if there is room (before processes fork, so that they share it).

        Args:
            index: Which of the data set's pictures.

        Returns:
            Whether there was room.

        Raises:
            PictureError: The picture can't be read.
            DataError: It has another size than its annotations say.
        """
        if index in self._pictures:
            return True
        h, w = self.dataset.images[index].frame_hw
        if 3 * h * w > self._room:
            return False
        self._pictures[index] = self._read(index)
        self._room -= 3 * h * w
        return True

    def draw(self, rng: np.random.Generator) -> Sample:
        """One sample."""
        side = self.config.side_px
        if rng.random() >= self.config.mosaic:
            sample = self._crop(rng, side, side)
        else:
            sample = self._mosaic(rng)
        image = _recolour(sample.image, self.config.colour, rng)
        if self.config.compress and rng.random() < self.config.compress:
            image = compressed(image, rng)
        return Sample(
            image,
            sample.xyxy,
            sample.labels,
            sample.ignore_xyxy,
            sample.shapes,
        )

    def _picture(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        if index in self._pictures:
            return self._pictures[index]
        try:
            return self._read(index)
        except PictureError as e:
            raise TrainingError(
                f"{e}; it was there when the run began: put it back and start again to go on from "
                "the last checkpoint"
            ) from e

    def _read(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        item = self.dataset.images[index]
        picture = read_picture(item.path)
        if picture.shape[:2] != item.frame_hw:
            expected, got = (f"{w}x{h}" for h, w in (item.frame_hw, picture.shape[:2]))
            raise DataError(
                f"{item.path}: expected {expected} as annotated, the picture has {got}; its boxes "
                "would lie elsewhere"
            )
        return picture

    def _mosaic(self, rng: np.random.Generator) -> Sample:
        side = self.config.side_px
        cut_x, cut_y = (int(v) for v in rng.integers(side // 4, side * 3 // 4, 2))
        canvas = np.empty((side, side, 3), np.uint8)
        shapes = np.zeros((side, side), np.uint8) if self._shaped else None
        boxes, labels, ignored = [], [], []
        for x0, x1 in ((0, cut_x), (cut_x, side)):
            for y0, y1 in ((0, cut_y), (cut_y, side)):
                part = self._crop(rng, y1 - y0, x1 - x0)
                canvas[y0:y1, x0:x1] = part.image
                if shapes is not None and part.shapes is not None:
                    shapes[y0:y1, x0:x1] = part.shapes
                shift = np.array([x0, y0, x0, y0], np.float32)
                boxes.append(part.xyxy + shift)
                labels.append(part.labels)
                ignored.append(part.ignore_xyxy + shift)
        return Sample(
            canvas, np.concatenate(boxes), np.concatenate(labels), np.concatenate(ignored), shapes
        )

    def _crop(self, rng: np.random.Generator, height: int, width: int) -> Sample:
        index = int(rng.choice(len(self.dataset.images), p=self._image_p))
        item = self.dataset.images[index]
        picture = self._picture(index)
        h, w = picture.shape[:2]
        low, high = np.log(self.config.scale)
        scale = self.config.long_side_px / max(h, w) * float(np.exp(rng.uniform(low, high)))
        cx, cy = rng.uniform(0, w), rng.uniform(0, h)
        if len(item.labels) and rng.random() < self.config.on_object:
            weight = self._rarity[item.labels]
            box = item.xyxy[int(rng.choice(len(weight), p=weight / weight.sum()))]
            offset = rng.uniform(-0.4, 0.4, 2) * (width, height) / scale
            cx, cy = (box[0] + box[2]) / 2 + offset[0], (box[1] + box[3]) / 2 + offset[1]
        # The crop stays inside the picture where the picture is large enough.
        left = _place(cx - width / scale / 2, width / scale, w)
        top = _place(cy - height / scale / 2, height / scale, h)
        image = _resample(picture, left, top, scale, height, width)
        shift = np.array([left, top, left, top], np.float32)
        xyxy, labels = _clip((item.xyxy - shift) * np.float32(scale), item.labels, height, width)
        ignored = (item.ignore_xyxy - shift) * np.float32(scale)
        shapes = _draw_shapes(item, left, top, scale, (height, width)) if self._shaped else None
        if rng.random() < self.config.flip:
            image = np.ascontiguousarray(image[:, ::-1])
            shapes = None if shapes is None else shapes[:, ::-1]
            xyxy = _mirror(xyxy, width)
            ignored = _mirror(ignored, width)
        return Sample(image, xyxy, labels, ignored, shapes)


def _place(start: float, length: float, limit: int) -> float:
    return (limit - length) / 2 if length >= limit else min(max(start, 0.0), limit - length)


def _mirror(xyxy: Float32[np.ndarray, "n 4"], width: int) -> Float32[np.ndarray, "n 4"]:
    return np.stack([width - xyxy[:, 2], xyxy[:, 1], width - xyxy[:, 0], xyxy[:, 3]], 1)


def _resample(
    picture: UInt8[np.ndarray, "h w 3"],
    left: float,
    top: float,
    scale: float,
    height: int,
    width: int,
) -> UInt8[np.ndarray, "oh ow 3"]:
    if scale < 0.6:
        # Bilinear taps would skip pixels: shrink by areas first, then place.
        x0, y0 = max(0, int(left)), max(0, int(top))
        x1 = min(picture.shape[1], int(np.ceil(left + width / scale)))
        y1 = min(picture.shape[0], int(np.ceil(top + height / scale)))
        small_wh = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
        picture = cv2.resize(picture[y0:y1, x0:x1], small_wh, interpolation=cv2.INTER_AREA)
        # Whole pixels make the factor another one than `scale`, by a trifle and for each axis.
        sx, sy = small_wh[0] / (x1 - x0), small_wh[1] / (y1 - y0)
        left, top = (left - x0) * sx, (top - y0) * sy
    else:
        sx = sy = 1.0
    # Pixel centres: input (i + 0.5) lies at frame (i + 0.5) / scale + left.
    fx, fy = sx / scale, sy / scale
    to_frame = np.array([[fx, 0, left + 0.5 * fx - 0.5], [0, fy, top + 0.5 * fy - 0.5]])
    out: UInt8[np.ndarray, "oh ow 3"] = cv2.warpAffine(
        picture,
        to_frame,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GREY, GREY, GREY),
    )
    return out


def _clip(
    xyxy: Float32[np.ndarray, "n 4"], labels: Int64[np.ndarray, " n"], height: int, width: int
) -> tuple[Float32[np.ndarray, "k 4"], Int64[np.ndarray, " k"]]:
    limit = np.array([width, height, width, height], np.float32)
    inside = np.clip(xyxy, 0, limit)
    wh, whole = inside[:, 2:] - inside[:, :2], xyxy[:, 2:] - xyxy[:, :2]
    keep = (wh.prod(1) >= KEEP_SHARE * np.maximum(whole.prod(1), 1e-6)) & (
        wh.min(1, initial=np.inf) >= KEEP_PX
    )
    return inside[keep], labels[keep]


def _draw_shapes(
    item: LabelledImage, left: float, top: float, scale: float, hw: tuple[int, int]
) -> UInt8[np.ndarray, "h w"]:
    canvas = np.zeros(hw, np.uint8)
    corner = np.array([left, top], np.float32)
    for outline in item.outlines:
        box = (outline.xyxy.reshape(2, 2) - corner) * np.float32(scale)
        x0, y0, x1, y1 = np.clip(box, 0, hw[::-1]).round().astype(int).ravel().tolist()
        if x0 >= x1 or y0 >= y1:
            continue
        canvas[y0:y1, x0:x1] |= BOXED
        # OpenCV counts from the centre of a pixel; one call fills by the rule of odd and even.
        rings = [((r - corner) * scale - 0.5).round().astype(np.int32) for r in outline.rings]
        inside = np.zeros(hw, np.uint8)
        cv2.fillPoly(inside, rings, MASKED)
        canvas |= inside
    return canvas


def _recolour(
    image: UInt8[np.ndarray, "h w 3"], strength: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """One affine map of the colours.

    Saturation 0.6 to 1.4, contrast 0.75 to 1.25, brightness +-20, channels +-6 %, grey 3 %.
    """
    if strength == 0:
        return image
    saturation = 0.0 if rng.random() < 0.03 * strength else 1 + strength * rng.uniform(-0.4, 0.4)
    contrast = 1 + strength * rng.uniform(-0.25, 0.25)
    gains = 1 + strength * rng.uniform(-0.06, 0.06, 3)
    luma = np.array([0.299, 0.587, 0.114])
    mix = saturation * np.eye(3) + (1 - saturation) * luma
    matrix = contrast * gains[:, None] * mix
    shift = 128 * (1 - contrast) + strength * rng.uniform(-20, 20)
    out: UInt8[np.ndarray, "h w 3"] = cv2.transform(
        image, np.c_[matrix, np.full(3, shift)].astype(np.float32)
    )
    return out
