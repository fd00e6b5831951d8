"""A still camera made from one aerial frame: what never moves, what does, and what a sensor adds.

    frame, boxes ─┬─ boxes of those that drive: cut out, the gap filled ─> ground
                  └─ their pixels, moved along their longer side ────────> drivers
    ground + drivers ─ light that drifts ─ a mast that sways ─ noise ─> frame of the film

No public sequence of a still camera over small objects has a licence that this project could ship,
so one is made of Munich's: its cars are real, so are their labels, and how they move is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

_FEATHER_PX = 2.0


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """What a scene is like.

    Attributes:
        drivers: Share of the objects that drive.
        speed_px: How far one drives between two frames, in pixels of the frame.
        noise: Deviation of the noise of a mid grey, in levels of 255.
        sway_px: Deviation of the camera's place from frame to frame, in pixels.
        drift: How much the light changes, up and down, over a period.
        period_frames: That period.
    """

    drivers: float = 0.2
    speed_px: float = 12.0
    noise: float = 2.0
    sway_px: float = 0.03
    drift: float = 0.02
    period_frames: int = 200


def film(
    frame: UInt8[np.ndarray, "h w 3"],
    xyxy: Float32[np.ndarray, "n 4"],
    count: int,
    settings: SceneSettings,
    seed: int = 0,
) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, "n 4"]]]:
    """Frames of a still camera, each with its boxes, in the order of those given.

    Args:
        frame: What the camera looks at.
        xyxy: Boxes of the objects in it.
        count: Frames to make.
        settings: What the scene is like.
        seed: Of all that is random.
    """
    rng = np.random.default_rng(seed)
    height, width = frame.shape[:2]
    drive = rng.permutation(len(xyxy))[: round(settings.drivers * len(xyxy))]
    sides = xyxy[:, 2:] - xyxy[:, :2]
    step = np.where(sides[:, :1] >= sides[:, 1:], (1.0, 0.0), (0.0, 1.0)) * settings.speed_px
    step *= rng.choice((-1.0, 1.0), (len(xyxy), 1))
    corners = np.clip(np.round(xyxy).astype(int), 0, (width, height, width, height))
    gap = np.zeros((height, width), np.uint8)
    for i in drive:
        x0, y0, x1, y1 = corners[i]
        gap[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2] = 255
    ground = cv2.inpaint(frame, gap, 5, cv2.INPAINT_TELEA)
    for index in range(count):
        picture, boxes = ground.astype(np.float32), xyxy.copy()
        for i in drive:
            x0, y0, x1, y1 = corners[i]
            w, h = x1 - x0, y1 - y0
            at = (np.array((x0, y0)) + index * step[i]) % (width - w, height - h)
            _paste(picture, frame[y0:y1, x0:x1], at)
            boxes[i] = np.concatenate((at, at + np.array((w, h))))
        picture *= 1 + settings.drift * np.sin(2 * np.pi * index / settings.period_frames)
        dx, dy = rng.normal(0, settings.sway_px, 2)
        swayed = cv2.warpAffine(
            picture,
            np.array(((1, 0, dx), (0, 1, dy)), np.float32),
            (width, height),
            borderMode=cv2.BORDER_REPLICATE,
        )
        # Half of the variance is the sensor's own, half grows with the light.
        deviation = settings.noise * np.sqrt(0.5 + swayed / 255)
        noisy = swayed + deviation * rng.standard_normal(swayed.shape, np.float32)
        yield np.clip(noisy, 0, 255).astype(np.uint8), boxes


def _paste(
    picture: Float32[np.ndarray, "h w 3"],
    cut: UInt8[np.ndarray, "ph pw 3"],
    at_xy: Float32[np.ndarray, " 2"],
) -> None:
    """Lay a cut-out over a picture at a place between pixels, with soft edges."""
    h, w = cut.shape[:2]
    x, y = np.floor(at_xy).astype(int)
    shift = np.array(((1, 0, at_xy[0] - x), (0, 1, at_xy[1] - y)), np.float32)
    size = (w + 1, h + 1)
    moved = cv2.warpAffine(cut.astype(np.float32), shift, size, borderMode=cv2.BORDER_REPLICATE)
    inner = np.zeros((h + 1, w + 1), np.float32)
    inner[1:-1, 1:-1] = 1
    soft = cv2.GaussianBlur(inner, (0, 0), _FEATHER_PX / 2)[..., None]
    under = picture[y : y + h + 1, x : x + w + 1]
    soft, moved = (
        soft[: under.shape[0], : under.shape[1]],
        moved[: under.shape[0], : under.shape[1]],
    )
    under += soft * (moved - under)
