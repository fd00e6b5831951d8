"""Who is connected: one stream a device, and each one's share of the room."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from sparsight.wire import Refusal, RefusalStatus
from sparsight_cloud.serving.credit import Window, fair_window
from sparsight_cloud.serving.dispatch import Dispatch
from sparsight_cloud.serving.metrics import GatewayMetrics
from sparsight_cloud.serving.settings import GatewayLimits

COME_BACK_MS = 1000
"""When a device that finds no room, or a cloud that is going, is to try again."""


class RefusedError(Exception):
    """A stream that is not taken, or not any more.

    Attributes:
        refusal: What the device is told.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


@runtime_checkable
class Endable(Protocol):
    """A stream, as the roster sees it."""

    def end(self, refusal: Refusal) -> None:
        """End soon, and say why."""
        ...


class Roster:
    """Owns the list of connected devices."""

    def __init__(self, limits: GatewayLimits, dispatch: Dispatch, metrics: GatewayMetrics) -> None:
        """An empty list.

        Args:
            limits: How many devices, and how much of the room each.
            dispatch: Says what it holds.
            metrics: Counts.
        """
        self._limits = limits
        self._dispatch = dispatch
        self._metrics = metrics
        self._streams: dict[str, Endable] = {}
        self._closing = False

    def join(self, device: str, stream: Endable) -> None:
        """A device said Hello; a stream that it had before ends.

        Raises:
            RefusedError: There is no room, or the cloud is going.
        """
        if self._closing:
            raise RefusedError(_going_away())
        before = self._streams.get(device)
        if before is None and len(self._streams) >= self._limits.streams_max:
            detail = f"{len(self._streams)} devices are connected, which is all there is room for"
            raise RefusedError(Refusal(RefusalStatus.FULL, detail, COME_BACK_MS))
        self._streams[device] = stream
        self._metrics.streams.set(len(self._streams))
        if before is not None:
            before.end(Refusal(RefusalStatus.REPLACED, "a newer stream of this device took over"))

    def leave(self, device: str, stream: Endable) -> None:
        """A stream is over."""
        if self._streams.get(device) is stream:
            del self._streams[device]
            self._metrics.streams.set(len(self._streams))

    def window(self) -> Window:
        """Each device's share as things are."""
        capacity_frames = self._dispatch.capacity_frames
        return fair_window(self._limits, capacity_frames, max(1, len(self._streams)))

    def close(self) -> None:
        """Take no more devices, and send those away who are there."""
        self._closing = True
        for stream in list(self._streams.values()):
            stream.end(_going_away())


def _going_away() -> Refusal:
    return Refusal(RefusalStatus.GOING_AWAY, "the cloud is shutting down", COME_BACK_MS)
