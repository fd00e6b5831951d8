"""A connection to the cloud whose socket is ours, so that what it sends can be counted and held.

    gRPC ── TLS, HTTP/2 ──> socket in a private folder ─> Relay ─> TCP ─> cloud
                                                           │ ^
                                            TCP_INFO ─> Pacer: room

gRPC shows nobody its sockets. It speaks to a local one instead, end to end encrypted as before; the
relay carries the bytes on, as many as the pacer has room for. So all that leaves is paced: frames,
acknowledgements, handshakes, pings. gRPC feels a slow link, and takes no more frames.

It serves one connection: each stream of the uplink has a relay of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import tempfile
import threading
import time
from pathlib import Path

from sparsight.errors import SparsightError
from sparsight_edge.uplink.pacer import Pacer
from sparsight_edge.uplink.tcp_info import TcpInfo, read_tcp_info

_CONNECT_S = 6.0  # for all addresses together: a stream waits 10 s for its welcome
_MEMORY = "/dev/shm"
_LOOK_S = 0.25  # how often it looks whether to end
_TICK_S = 0.02  # how often for room, while something waits for it
_CHUNK_BYTES = 16 << 10
_OPTIONS = {
    "TCP_NODELAY": 1,
    # In the kernel at most, so that frames wait in the spool.
    "TCP_NOTSENT_LOWAT": 16 << 10,
    # TCP doubles its waits in an outage and stays away for minutes after it; a new connection does
    # not. Measured after 20 s without a link: back in 3 to 8 s, before in up to 40.
    "TCP_USER_TIMEOUT": 20_000,
}
_LEAST_BYTES = 1200  # rather wait than send crumbs with a header each
_ABORT = struct.pack("ii", 1, 0)
_GONE = select.POLLHUP | select.POLLERR


class Relay:
    """Carries one connection.

    Attributes:
        path: Where gRPC is to connect.
        problem: Why the cloud can't be reached; empty if it could.
    """

    def __init__(self, host: str, port: int, pacer: Pacer) -> None:
        """Listen, and connect to the cloud.

        Args:
            host: The cloud's name or address.
            port: Its port.
            pacer: Says how much may leave.

        Raises:
            OSError: There is no room for a socket.
        """
        self.problem = ""
        self._host, self._port, self._pacer = host, port, pacer
        self._counted_bytes = 0
        self._closing = threading.Event()
        # Nobody else's to enter; in memory, so that no full disk keeps frames from leaving.
        memory = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="sparsight-", dir=memory)
        self.path = Path(self._folder.name) / "cloud"
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(self.path))
        self._door.listen(1)
        self._thread = threading.Thread(target=self._run, name="uplink-relay", daemon=True)
        self._thread.start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        """End; what was not sent yet never is."""
        self._closing.set()
        self._thread.join(2 * _LOOK_S)  # longer only if it looks a name up, which ends by itself

    def _run(self) -> None:
        try:
            with self._door, contextlib.closing(self._connect()) as far, self._accept() as near:
                try:
                    self._carry(near, far)
                finally:
                    # What the kernel still holds must not leave behind our back.
                    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        except (OSError, UnicodeError, SparsightError) as error:  # Unicode: a name that is none
            self.problem = f"{self._host}:{self._port}: {_why(error)}"
        finally:
            self._folder.cleanup()

    def _connect(self) -> socket.socket:
        """The cloud's first address that answers."""
        problem: OSError = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        for family, kind, _, _, address in found:
            far = socket.socket(family, kind)
            try:
                far.setblocking(False)
                for name, value in _OPTIONS.items():
                    if (option := getattr(socket, name, None)) is not None:
                        far.setsockopt(socket.IPPROTO_TCP, option, value)
                self._counted_bytes = 0
                self._reach(far, address, _CONNECT_S / len(found))
            except OSError as error:
                far.close()
                problem = error
            else:
                return far
        raise problem

    def _reach(self, far: socket.socket, address: tuple[object, ...], patience_s: float) -> None:
        code = far.connect_ex(address)
        end_s = time.monotonic() + patience_s
        waits = select.poll()
        waits.register(far, select.POLLOUT)
        while code == errno.EINPROGRESS:
            if self._closing.is_set() or time.monotonic() > end_s:
                code = errno.ETIMEDOUT
            elif waits.poll(_LOOK_S * 1e3):
                code = far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._count(far)
        if code:
            raise OSError(code, os.strerror(code))

    def _accept(self) -> socket.socket:
        self._door.settimeout(_LOOK_S)
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                near, _ = self._door.accept()
                near.setblocking(False)
                return near
        raise ConnectionAbortedError(errno.ECONNABORTED, "ended")

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Both ways, until either side or we end it."""
        up, down = b"", b""
        waits = select.poll()
        while not self._closing.is_set():
            info = self._count(far)
            room = min(self._pacer.room(info), _CHUNK_BYTES)
            may_send = bool(up) and room >= min(len(up), _LEAST_BYTES)
            waits.register(near, _events(read=not up, write=bool(down)))
            waits.register(far, _events(read=not down, write=may_send))
            tick_s = _TICK_S if up or info.unacked_bytes else _LOOK_S
            ready = dict(waits.poll(tick_s * 1e3))
            at_far, at_near = ready.get(far.fileno(), 0), ready.get(near.fileno(), 0)
            if at_far & select.POLLIN and not (down := far.recv(_CHUNK_BYTES)):
                return
            if at_near & select.POLLOUT:
                down = down[near.send(down) :]
            if at_near & select.POLLIN and not (up := near.recv(_CHUNK_BYTES)):
                return
            if at_far & select.POLLOUT:
                sent = far.send(up[:room])
                self._pacer.hand_over(info, sent)
                up = up[sent:]
            if any(at & _GONE and not at & select.POLLIN for at in (at_far, at_near)):
                return

    def _count(self, far: socket.socket) -> TcpInfo:
        """Tell the pacer what has left since."""
        info = read_tcp_info(far)
        self._pacer.left(info.left_bytes - self._counted_bytes)
        self._counted_bytes = info.left_bytes
        return info


def _events(*, read: bool, write: bool) -> int:
    return (select.POLLIN if read else 0) | (select.POLLOUT if write else 0)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
