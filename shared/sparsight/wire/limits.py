"""How large anything on the wire may be, and the checks that say so.

Sizes are known to both halves and checked on both: a device never sends what the cloud refuses, and
the cloud looks at a length before it makes room for anything.
"""

import math

from sparsight.errors import WireError

WIRE_VERSION = 1
"""Version of the contract. A cloud takes streams of its own version and of older ones."""

NAME_MAX = 128
"""Longest name of a device or stream, in characters."""

DETAIL_MAX = 1000
"""Longest line for people, in characters."""

DETECTIONS_MAX = 10_000
"""Most objects in one frame; more is damage or malice, and is refused before anything is built."""

STREAMS_MAX = 64
"""Most streams of one device."""

ACK_SEQS_MAX = 4096
"""Most frames in one acknowledgement."""

PAYLOAD_BYTES_MAX = 8 << 20
"""Largest payload of a frame; a cloud may want them smaller and says so in its Welcome."""

THUMBNAIL_BYTES_MAX = 256 << 10
"""Largest thumbnail of a frame."""

CONTROL_BYTES_MAX = 64 << 10
"""Largest message that is neither a frame nor a result."""

FRAME_BYTES_MAX = PAYLOAD_BYTES_MAX + THUMBNAIL_BYTES_MAX + CONTROL_BYTES_MAX
"""Largest message with a frame in it."""

RESULT_BYTES_MAX = 1 << 20
"""Largest message with a result in it; `DETECTIONS_MAX` objects take 0.3 MB."""

FRAME_SIDE_MAX = 65_535
"""Longest side of a frame, in pixels."""

INPUT_SIDE_MAX = 16_384
"""Longest side of the network's input, in pixels."""

RATE_MAX = 255
"""Highest index of a quality level."""

UINT32_MAX = 2**32 - 1
INT64_MAX = 2**63 - 1
UINT64_MAX = 2**64 - 1


def require_name(what: str, name: str) -> None:
    """Check the name of a device or stream.

    Names end up in files, metrics and terminals, so they hold nothing that moves a cursor.

    Raises:
        WireError: Not 1 to `NAME_MAX` printable characters.
    """
    if not 1 <= len(name) <= NAME_MAX:
        raise WireError(f"{what}: expected 1 to {NAME_MAX} characters, got {len(name)}")
    if not name.isprintable():
        raise WireError(f"{what}: expected printable characters only, got {name!a}")


def require_detail(what: str, detail: str) -> None:
    """Check a line for people.

    Raises:
        WireError: It is longer than `DETAIL_MAX` characters.
    """
    if len(detail) > DETAIL_MAX:
        raise WireError(f"{what}: expected at most {DETAIL_MAX} characters, got {len(detail)}")


def require_range(what: str, value: float, low: float, high: float) -> None:
    """Check a number.

    Raises:
        WireError: It is NaN, or not from `low` to `high`, both included.
    """
    if math.isnan(value) or not low <= value <= high:
        raise WireError(f"{what}: expected {low} to {high}, got {value}")


def require_size(what: str, size_bytes: int, limit_bytes: int) -> None:
    """Check a length before anything is made of it.

    Raises:
        WireError: It is over the limit.
    """
    if size_bytes > limit_bytes:
        raise WireError(f"{what}: expected at most {limit_bytes} bytes, got {size_bytes}")
