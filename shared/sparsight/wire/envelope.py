"""A message's kind and length, read before the message is parsed.

    tag (1 byte) │ length (varint) │ body (length bytes), and nothing after it

That is protobuf's own encoding of a oneof of messages. It is looked at by hand since a parser makes
objects first and lets one count them afterwards: eight megabytes, fine for a frame, would become
four million empty keys of an acknowledgement.
"""

from collections.abc import Mapping
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from sparsight.errors import WireError
from sparsight.wire.limits import require_size

M = TypeVar("M", bound=Message)

_LENGTH_DELIMITED = 2  # protobuf's wire type of messages, strings and bytes
_LENGTH_BYTES_MAX = 5  # a varint of 32 bits


def open_envelope(
    what: str, data: bytes, limits_bytes: Mapping[int, int]
) -> tuple[int, memoryview]:
    """Find out what a message is.

    Args:
        what: For the error.
        data: The whole message.
        limits_bytes: The largest body of each kind there is, by field number, 1 to 15.

    Returns:
        The kind's field number, and its body.

    Raises:
        WireError: An unknown kind, a body over its limit, or not exactly one kind.
    """
    if not data:
        raise WireError(
            f"{what}: expected one of kinds {sorted(limits_bytes)}, got an empty message"
        )
    kind, wire_type = data[0] >> 3, data[0] & 7
    if wire_type != _LENGTH_DELIMITED or kind not in limits_bytes:
        raise WireError(
            f"{what}: expected one of kinds {sorted(limits_bytes)}, got one that starts with "
            f"byte {data[0]:#04x}; one side may be newer than the other"
        )
    length, start = _length(what, data)
    require_size(f"{what} of kind {kind}", length, limits_bytes[kind])
    if len(data) - start != length:
        raise WireError(
            f"{what} of kind {kind}: expected {length} bytes after its length, "
            f"got {len(data) - start}"
        )
    return kind, memoryview(data)[start:]


def parse(kind: type[M], data: bytes | memoryview) -> M:
    """Parse a body whose length was checked.

    Raises:
        WireError: The bytes are no such message.
    """
    try:
        return kind.FromString(bytes(data))
    except DecodeError as error:
        raise WireError(f"{len(data)} bytes are no {kind.DESCRIPTOR.name}") from error


def _length(what: str, data: bytes) -> tuple[int, int]:
    """The body's length, and where the body starts."""
    length = 0
    for i, byte in enumerate(data[1 : 1 + _LENGTH_BYTES_MAX]):
        length |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return length, i + 2
    raise WireError(f"{what}: expected a length of at most 32 bits, got none")
