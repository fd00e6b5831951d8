"""Two network namespaces with a shaped link between them: a real IP path for real programs.

    namespace device ─ TUN ─> [pipe up] ─> TUN ─ namespace cloud
     10.77.0.1            <─ [pipe down] <─            10.77.0.2

`tc netem` would do the same, but many kernels are built without it, this project's machines' among
them, and what it does in each is another question. So packets pass through this process, which
lets them through at the rate, delay and loss of the moment (`bench.pipe`). Needs root.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.pipe import Pipe, Shape

from sparsight.errors import UsageError

DEVICE_IP, CLOUD_IP = "10.77.0.1", "10.77.0.2"
_TUNSETIFF, _TUN, _BARE = 0x400454CA, 0x0001, 0x1000
WIRE = "wire"
"""Name of the interface in each of them."""

_MTU = 1500
_IDLE_S = 0.2


class Link:
    """The two namespaces and what is between them, for as long as the context is open.

    Attributes:
        device: Name of the device's namespace.
        cloud: Name of the cloud's.
    """

    def __init__(self, shape: Shape, seed: int = 0, tun: Path = Path("/dev/net/tun")) -> None:
        """Make them.

        Args:
            shape: What the link is like at first.
            seed: Of what gets lost.
            tun: The kernel's device for interfaces of programs.

        Raises:
            UsageError: This needs Linux, root, TUN and the program `ip`.
        """
        self._up, self._down = Pipe(shape, seed), Pipe(shape.back, seed + 1)
        self._lock = threading.Lock()
        name = f"sparsight{os.getpid()}"
        self.device, self.cloud = f"{name}d", f"{name}c"
        self._ended = threading.Event()
        self._ends: list[int] = []
        self._wake = os.eventfd(0)
        try:
            for space, ip, peer in (
                (self.device, DEVICE_IP, CLOUD_IP),
                (self.cloud, CLOUD_IP, DEVICE_IP),
            ):
                self._ends.append(_end_in(space, ip, peer, tun))
        except BaseException:  # Ctrl-C as well
            self._remove()
            raise
        self._thread = threading.Thread(target=self._carry, name="link", daemon=True)

    def __enter__(self) -> Link:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._remove()

    def become(self, shape: Shape) -> None:
        """The link is another from now on."""
        with self._lock:
            self._up.shape, self._down.shape = shape, shape.back
        os.eventfd_write(self._wake, 1)

    def run_in(self, space: str, command: Sequence[str], **how: Any) -> subprocess.Popen[str]:
        """Start a program in a namespace; it is in there when this returns."""
        program = subprocess.Popen(["ip", "netns", "exec", space, *command], text=True, **how)
        ours = Path("/proc/self/ns/net").readlink()
        theirs = Path(f"/proc/{program.pid}/ns/net")
        while program.poll() is None and theirs.readlink() == ours:
            time.sleep(0.005)
        return program

    def _carry(self) -> None:
        near, far = self._ends
        poll = select.poll()
        for fd in (near, far, self._wake):
            poll.register(fd, select.POLLIN)
        while not self._ended.is_set():
            with self._lock:
                wait_s = min(self._up.next_s(), self._down.next_s()) - time.monotonic()
            ready = {fd for fd, _ in poll.poll(max(0.0, min(wait_s, _IDLE_S)) * 1e3)}
            if self._wake in ready:
                os.eventfd_read(self._wake)
            with self._lock:
                for fd, pipe, to in ((near, self._up, far), (far, self._down, near)):
                    if fd in ready:
                        _read_all(fd, pipe)
                    for packet in pipe.take(time.monotonic()):
                        with contextlib.suppress(OSError):  # its queue is full: lost, as on a wire
                            os.write(to, packet)

    def _remove(self) -> None:
        for fd in (*self._ends, self._wake):
            os.close(fd)
        for space in (self.device, self.cloud):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def sent_bytes(pid: int) -> int:
    """What has left through the link's interface in the namespace of a process, by its counter."""
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == WIRE:
            return int(figures.split()[8])
    raise UsageError(f"process {pid} is not in a namespace of a link")


def _read_all(fd: int, pipe: Pipe) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            pipe.put(os.read(fd, _MTU + 100), time.monotonic())


def _end_in(space: str, ip: str, peer: str, tun: Path) -> int:
    """A new namespace with one end of the link; a descriptor of what is sent into it."""
    try:
        fd = os.open(tun, os.O_RDWR | os.O_NONBLOCK)
        try:
            name = f"ss{os.getpid()}{space[-1]}"[:15]
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN | _BARE))
            for command in (
                f"netns add {space}",
                f"link set {name} netns {space} name {WIRE}",
                f"-n {space} addr add {ip} peer {peer} dev {WIRE}",
                f"-n {space} link set {WIRE} mtu {_MTU} up",
                f"-n {space} link set lo up",
            ):
                subprocess.run(["ip", *command.split()], check=True, capture_output=True)
        except BaseException:
            os.close(fd)
            raise
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise UsageError(
            "a link between two network namespaces needs Linux, root, /dev/net/tun and the "
            f"program ip (iproute2): {said.decode().strip()}"
        ) from error
    return fd
