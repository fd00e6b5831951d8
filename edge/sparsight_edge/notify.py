"""Tells systemd how the agent is: ready, alive, reloading, stopping (sd_notify(3), Type=notify).

One datagram a message to the socket that $NOTIFY_SOCKET names; without it nobody is told.
"""

from __future__ import annotations

import os
import socket
import time

from sparsight_edge.progress import Progress

_USEC = 1_000_000


class Supervisor:
    """Whoever started us and wants to know.

    Attributes:
        watchdog_s: How long we may be silent before we are killed; None for ever.
    """

    def __init__(self) -> None:
        """As the environment says."""
        address = os.environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is in the abstract namespace, whose names begin with a zero.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = os.environ.get("WATCHDOG_PID") in (None, str(os.getpid()))
        usec = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / _USEC if address and ours and usec.isdecimal() else None
        self._pinged_s = -1e9

    def ready(self) -> None:
        """Frames are on their way, or settings were read again."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Settings are read again; `ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """What is left is drained."""
        self._tell("STOPPING=1")

    def alive(self, now: Progress, status: str) -> None:
        """To be called often: passes it on twice a watchdog's time, unless a stage is stuck.

        Args:
            now: How the agent stands.
            status: In one line, for `systemctl status`.
        """
        if self.watchdog_s is None:
            return
        if now.stuck_s > self.watchdog_s or time.monotonic() - self._pinged_s < self.watchdog_s / 3:
            return
        self._pinged_s = time.monotonic()
        self._tell(f"WATCHDOG=1\nSTATUS={status}")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            try:
                line.sendto(message.encode(), self._address)
            except OSError:  # it is not there any more; that is no reason to lose frames
                return
