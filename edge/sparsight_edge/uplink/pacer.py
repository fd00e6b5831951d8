"""`--max-kbps`: how much may be handed to the kernel now, so that no 10 s see more than promised.

    room = what 10 s may carry
         - what left the machine in the last 10 s            counted by the kernel, every header
         - what it holds unsent, twice                       it will leave, and may be lost
         - what is sent and not acknowledged                 it may have to leave again

Bytes in the kernel are out of our hands: after an outage they leave when the link comes back, and
TCP sends again what is lost. So each byte is paid for before it is handed over, and a second time
until the other side has it: a link that loses a third of its packets is within the promise too.
What is resent twice in one window is not covered; there the next bytes wait (docs/results.md).

Beside the promise, bytes are handed over evenly: after a pause at most `BURST_S` of them at once.
Else a burst would come again every 10 s for ever, as its bytes leave the window.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sparsight.errors import UsageError
from sparsight_edge.uplink.tcp_info import TcpInfo

WINDOW_S = 10.0
KBPS_MIN = 8.0
"""Below it, a handshake alone would take longer than a cloud waits."""

BURST_S = 1.0
_BURST_BYTES_MIN = 4096
_SHARE = 0.98
"""Of the promise; the rest is for what can't be held back: acknowledgements, resent handshakes."""

_BIN_S = 0.05
_FRAME_SHARE = 0.8  # headers and all that isn't frames take the rest


@dataclass(slots=True)
class _Bin:
    """Bytes that left at about one moment; they stay in the window as long as the last of them."""

    first_s: float
    last_s: float
    wire_bytes: int


class Pacer:
    """Counts what leaves and says what may; one for all connections of an agent.

    The relay's thread counts and asks; the promise may be changed from any.
    """

    def __init__(self, max_kbps: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with an empty window.

        Args:
            max_kbps: The promise, in 1000 bits a second.
            clock: Seconds from any moment.

        Raises:
            UsageError: Too little for any connection.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._left: deque[_Bin] = deque()
        self._left_bytes = 0
        # No burst at first: before us may have been another run, whose window is not known.
        self._even_bytes = float(_BURST_BYTES_MIN)
        self._even_s = clock()
        self.change(max_kbps)

    @property
    def max_kbps(self) -> float:
        """The promise."""
        return self._max_kbps

    @property
    def window_bytes(self) -> int:
        """The most bytes of any 10 s."""
        return int(self._max_kbps * 125 * WINDOW_S)

    @property
    def frame_bytes_max(self) -> int:
        """The most that a frame may have: more would be on its way longer than a cloud waits."""
        return int(_FRAME_SHARE * self.window_bytes)

    def change(self, max_kbps: float) -> None:
        """Promise something else from now on.

        Raises:
            UsageError: As at the beginning.
        """
        if not KBPS_MIN <= max_kbps < float("inf"):
            raise UsageError(f"max_kbps: expected at least {KBPS_MIN:g}, got {max_kbps:g}")
        self._max_kbps = max_kbps

    def kbps(self) -> float:
        """What left in the last 10 s, a second."""
        with self._lock:
            self._forget()
            return self._left_bytes / WINDOW_S / 125

    def left(self, wire_bytes: int) -> None:
        """So many bytes left the machine since this was last called."""
        if not wire_bytes:
            return
        with self._lock:
            now_s = self._clock()
            if self._left and now_s - self._left[-1].first_s < _BIN_S:
                self._left[-1].last_s = now_s
                self._left[-1].wire_bytes += wire_bytes
            else:
                self._left.append(_Bin(now_s, now_s, wire_bytes))
            self._left_bytes += wire_bytes

    def room(self, info: TcpInfo) -> int:
        """Data that may be handed to a connection now.

        Args:
            info: Of the connection, just read; what left on it was told.
        """
        with self._lock:
            self._forget()
            now_s = self._clock()
            per_s = self._max_kbps * 125
            self._even_bytes += (now_s - self._even_s) * per_s
            self._even_bytes = min(self._even_bytes, self._burst_bytes())
            self._even_s = now_s
            owed_bytes = info.wire_bytes(2 * info.unsent_bytes + info.unacked_bytes)
            free_bytes = _SHARE * self.window_bytes - self._left_bytes - owed_bytes
            wire_bytes = min(free_bytes / 2, self._even_bytes)
            carried = info.mss_bytes / (info.mss_bytes + info.header_bytes)
            return max(0, int(wire_bytes * carried) - info.header_bytes)

    def hand_over(self, info: TcpInfo, data_bytes: int) -> None:
        """So much of the room was used."""
        with self._lock:
            self._even_bytes -= info.wire_bytes(data_bytes)

    def _burst_bytes(self) -> float:
        return max(_BURST_BYTES_MIN, BURST_S * self._max_kbps * 125)

    def _forget(self) -> None:
        since_s = self._clock() - WINDOW_S
        while self._left and self._left[0].last_s <= since_s:
            self._left_bytes -= self._left.popleft().wire_bytes
