"""What the kernel has really done with a connection: its own counts, `TCP_INFO` of Linux.

written ─> [unsent] ─> left the machine, again if lost ─> [unacknowledged] ─> acknowledged
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from sparsight.errors import UsageError

LINK_BYTES = 14
"""Of an Ethernet frame, around each packet; its checksum is in no interface's counter."""

_IP_BYTES = {socket.AF_INET: 20, socket.AF_INET6: 40}
_TCP_BYTES = 32  # with the timestamps that Linux sends
# linux/tcp.h, struct tcp_info: what is read of it has stood where it stands since Linux 4.19.
_MSS, _SEGMENTS, _UNSENT = 16, 136, 144  # 32 bits each
_ACKED, _SENT, _AGAIN = 120, 200, 208  # 64
_SIZE = 216


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """A connection so far.

    Attributes:
        left_bytes: All that left the machine: data, data again, acknowledgements, every header.
        unsent_bytes: Data that the kernel has not sent yet.
        unacked_bytes: Data that it has sent, and may have to send again.
        mss_bytes: Data that a packet carries at most.
        header_bytes: Of each packet.
    """

    left_bytes: int
    unsent_bytes: int
    unacked_bytes: int
    mss_bytes: int
    header_bytes: int

    def wire_bytes(self, data_bytes: int) -> int:
        """Data with the headers of the packets that it takes."""
        return data_bytes + -(-data_bytes // self.mss_bytes) * self.header_bytes


def read_tcp_info(sock: socket.socket) -> TcpInfo:
    """Ask the kernel.

    Raises:
        UsageError: It does not count, as no system but Linux from 4.19 on does.
    """
    option = getattr(socket, "TCP_INFO", None)
    raw = b"" if option is None else sock.getsockopt(socket.IPPROTO_TCP, option, 256)
    if len(raw) < _SIZE:
        raise UsageError("--max-kbps needs Linux 4.19 or newer, which counts what leaves a socket")
    mss, segments, unsent = (
        struct.unpack_from("=I", raw, at)[0] for at in (_MSS, _SEGMENTS, _UNSENT)
    )
    acked, sent, again = (struct.unpack_from("=Q", raw, at)[0] for at in (_ACKED, _SENT, _AGAIN))
    header = LINK_BYTES + _IP_BYTES[socket.AddressFamily(sock.family)] + _TCP_BYTES
    return TcpInfo(
        left_bytes=sent + segments * header,
        unsent_bytes=unsent,
        # `acked` counts the handshake as well.
        unacked_bytes=max(0, sent - again - acked),
        mss_bytes=max(1, mss),
        header_bytes=header,
    )
