"""What every camera gives, from one connection to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8


class CameraLostError(Exception):
    """A camera can't be opened, or gives nothing any more; it may come back. One line says why."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One decoded frame, not made RGB yet: most are never looked at.

    Attributes:
        rgb: Makes upright 8-bit RGB of it, in the thread of whoever takes the frame.
        captured_unix_ns: When it was taken, in nanoseconds since 1970.
        passed: Frames that were passed over undecoded since the last shot.
    """

    rgb: Callable[[], UInt8[np.ndarray, "h w 3"]]
    captured_unix_ns: int
    passed: int = 0


@runtime_checkable
class Camera(Protocol):
    """Something that can be opened again and again.

    Attributes:
        name: For people; without a password.
        returns: Whether there is use in opening it anew after its end.
    """

    name: str
    returns: bool

    def shots(self, ended: Callable[[], bool]) -> Iterator[Shot]:
        """Open it, and give what comes until it ends.

        Args:
            ended: Whether nobody wants any more; asked while waiting.

        Raises:
            CameraLostError: It can't be opened, or gives nothing any more.
            PictureError: Its frames can't be used.
            UsageError: It can never be opened.
        """
        ...


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """How patient one is with a camera.

    Attributes:
        silent_s: Without an answer or a frame for so long, it is lost.
        wait_s: The first and the longest wait before it is opened again.
    """

    silent_s: float = 10.0
    wait_s: tuple[float, float] = (0.5, 15.0)
