"""What a device sends of one frame.

    FrameFeatures = key, stream, capture time, letterbox, rate, payload (the codec's bytes)
                    and, if there are any: telemetry, thumbnail

The payload is opaque here: it names its bundle and holds the list of its patches, or it is a delta
(`sparsight.codec.reuse`) to that of another frame, the reference.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from sparsight.errors import WireError
from sparsight.geometry import ALIGN_CELLS, CELL_PX, Letterbox
from sparsight.wire.limits import (
    FRAME_SIDE_MAX,
    INPUT_SIDE_MAX,
    INT64_MAX,
    PAYLOAD_BYTES_MAX,
    RATE_MAX,
    THUMBNAIL_BYTES_MAX,
    require_name,
    require_range,
    require_size,
)
from sparsight.wire.results import FrameKey


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where the camera was when it took the frame; None is unknown.

    Attributes:
        lat_deg: Latitude, WGS 84.
        lon_deg: Longitude, WGS 84.
        alt_m: Height above mean sea level.
        yaw_deg: Of the view, clockwise from north, in [-360, 360].
        pitch_deg: Of the view, -90 is straight down, in [-180, 180].
        roll_deg: About the view, in [-180, 180].

    Raises:
        WireError: A number is not finite or not in its range.
    """

    lat_deg: float | None = None
    lon_deg: float | None = None
    alt_m: float | None = None
    yaw_deg: float | None = None
    pitch_deg: float | None = None
    roll_deg: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                require_range(f"telemetry.{field.name}", value, *_TELEMETRY_RANGES[field.name])

    def known(self) -> dict[str, float]:
        """What is known, by name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None}


_TELEMETRY_RANGES = {
    "lat_deg": (-90, 90),
    "lon_deg": (-180, 180),
    "alt_m": (-1_000, 100_000),
    "yaw_deg": (-360, 360),
    "pitch_deg": (-180, 180),
    "roll_deg": (-180, 180),
}


@dataclass(frozen=True, slots=True)
class FrameFeatures:
    """What a device sends of one frame.

    Attributes:
        key: The frame's name.
        stream: Which of the device's sources it came from.
        captured_unix_ns: When it was taken, in nanoseconds since 1970, UTC.
        letterbox: How it lies in the network's input.
        rate: Index of the codec's quality level.
        payload: The codec's bytes, at most `PAYLOAD_BYTES_MAX`.
        telemetry: Where the camera was, if that is known.
        thumbnail: A JPEG for people, at most `THUMBNAIL_BYTES_MAX`; empty for none.
        keep: Later frames of this stream may be told against this one.
        reference: The frame that this one is told against; None if its payload is whole.

    Raises:
        WireError: A part is out of its range, the letterbox is none, or the reference is this very
            frame or another device's.
    """

    key: FrameKey
    stream: str
    captured_unix_ns: int
    letterbox: Letterbox
    rate: int
    payload: bytes
    telemetry: Telemetry | None = None
    thumbnail: bytes = b""
    keep: bool = False
    reference: FrameKey | None = None

    def __post_init__(self) -> None:
        require_name("stream", self.stream)
        require_range("captured_unix_ns", self.captured_unix_ns, 0, INT64_MAX)
        require_range("rate", self.rate, 0, RATE_MAX)
        require_size("payload", len(self.payload), PAYLOAD_BYTES_MAX)
        require_size("thumbnail", len(self.thumbnail), THUMBNAIL_BYTES_MAX)
        _require_letterbox(self.letterbox)
        if self.reference is not None and (
            self.reference == self.key or self.reference.device != self.key.device
        ):
            raise WireError(
                f"reference: expected another frame of {self.key.device}, got {self.reference}"
            )

    @property
    def cost_bytes(self) -> int:
        """What the frame takes of a stream's credit: its payload and its thumbnail."""
        return len(self.payload) + len(self.thumbnail)


def _require_letterbox(box: Letterbox) -> None:
    """Check that the frame lies inside the input, scaled by one factor along both axes."""
    step = CELL_PX * ALIGN_CELLS
    for side, frame, scaled, whole in zip(
        "hw", box.frame_hw, box.scaled_hw, box.input_hw, strict=True
    ):
        require_range(f"letterbox.frame_{side}", frame, 1, FRAME_SIDE_MAX)
        require_range(f"letterbox.input_{side}", whole, step, INPUT_SIDE_MAX)
        require_range(f"letterbox.scaled_{side}", scaled, 1, whole)
        if whole % step:
            raise WireError(f"letterbox.input_{side}: expected a multiple of {step}, got {whole}")
    # Exactly what `Letterbox.fit` makes of the frame; the input may be larger, since an engine may
    # be built for one shape. Anything else would be boxes in the wrong places.
    fitted = Letterbox.fit(box.frame_hw, max(box.scaled_hw)).scaled_hw
    if box.scaled_hw != fitted:
        raise WireError(
            f"letterbox.scaled_hw: expected {fitted} for a frame of {box.frame_hw}, "
            f"got {box.scaled_hw}"
        )
