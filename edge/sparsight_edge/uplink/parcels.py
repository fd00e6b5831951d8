"""What goes out next: frames of the spool, each as it is to be sent on this stream.

spool ─ take ─ readable? small enough? ─ tell by what changed (`reuse`) ─> Parcel
                    └─ no: refused here, with the reason
"""

from __future__ import annotations

from dataclasses import dataclass

from sparsight.codec.tables import Tables
from sparsight.wire import (
    FrameFeatures,
    FrameResult,
    Welcome,
    WireError,
    pack_device_message,
    unpack_device_message,
)
from sparsight_edge.spool.spool import Spool, Spooled
from sparsight_edge.uplink.ledger import Ledger
from sparsight_edge.uplink.pacer import Pacer
from sparsight_edge.uplink.reuse import Reuse


@dataclass(frozen=True, slots=True)
class Parcel:
    """A frame that was taken from the spool.

    Attributes:
        key: Its epoch and number.
        frame: It, as it is to be sent.
        message: The same as bytes.
        saved_bytes: What the message as it was spooled has more.
    """

    key: tuple[int, int]
    frame: FrameFeatures
    message: bytes
    saved_bytes: int


class Parcels:
    """Of one stream, for its thread."""

    def __init__(
        self,
        spool: Spool,
        ledger: Ledger,
        welcome: Welcome,
        bundle_id: str,
        tables: Tables | None,
        pacer: Pacer | None = None,
    ) -> None:
        """From a stream that is open.

        Args:
            spool: Where frames come from.
            ledger: Told of those that are refused here.
            welcome: What the cloud takes.
            bundle_id: The bundle of this boot.
            tables: Of that bundle, to tell frames by what changed; None sends all of them whole.
            pacer: Says what is too large for its promise: held, not refused, for that may change.
        """
        self._pacer = pacer
        self._spool = spool
        self._ledger = ledger
        self._limit_bytes = welcome.payload_bytes_max
        self._reuse = Reuse(bundle_id, tables, welcome.reference_bytes_max)

    def next(self) -> Parcel | None:
        """The next frame that the cloud may take, or None if there is none.

        Raises:
            SpoolError: From the spool.
        """
        while (spooled := self._spool.take()) is not None:
            frame = self._frame(spooled)
            if frame is not None:
                told = self._reuse.tell(frame)
                message = spooled.body if told is frame else pack_device_message(told)
                saved_bytes = len(spooled.body) - len(message)
                return Parcel((spooled.epoch, spooled.seq), told, message, saved_bytes)
        return None

    def give_back(self, parcel: Parcel) -> None:
        """It was not sent after all."""
        self._spool.give_back(*parcel.key)
        self._reuse.unsent(parcel.frame.key)

    def answered(self, result: FrameResult) -> None:
        """The cloud answered a frame of this stream."""
        self._reuse.answered(result.key, result.status)

    def _frame(self, spooled: Spooled) -> FrameFeatures | None:
        """A frame as it was spooled; None if the cloud can't have it."""
        try:
            frame = unpack_device_message(spooled.body)
        except WireError as error:
            self._spool.refuse(spooled.epoch, spooled.seq, f"can't be read back: {error}")
            return None
        if not isinstance(frame, FrameFeatures):
            self._spool.refuse(spooled.epoch, spooled.seq, "is no frame")
            return None
        if len(frame.payload) > self._limit_bytes:
            said = f"a payload of {len(frame.payload)} bytes, the cloud takes {self._limit_bytes}"
            self._ledger.complain(f"frame {spooled.epoch}/{spooled.seq} was refused: {said}")
            self._spool.refuse(spooled.epoch, spooled.seq, said)
            return None
        if self._pacer is not None and len(spooled.body) > self._pacer.frame_bytes_max:
            said = f"has {len(spooled.body)} bytes, too many for {self._pacer.max_kbps:g} kbit/s"
            self._ledger.complain(
                f"frame {spooled.epoch}/{spooled.seq} is held: {said}; raise --max-kbps"
            )
            self._spool.hold(spooled.epoch, spooled.seq)
            return None
        return frame
