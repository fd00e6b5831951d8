"""One stream, from Hello to its end: frames out within the credit, answers in.

    spool ─ parcels ─> within the credit? ─> sent ─┬─ done ──> on_result ─> finish or refuse ─> Ack
      ^                                            ├─ held ──> hold
      └────────── give back, pause ────────────────┴─ again

One thread runs all of it. Of frames it holds one that waits for credit and one that waits for gRPC;
of those on their way it holds the keys.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from sparsight.codec.tables import Tables
from sparsight.wire import (
    RETRY_AFTER_METADATA,
    CloudMessage,
    Credit,
    FrameResult,
    FrameStatus,
    Hello,
    Refusal,
    RefusalStatus,
    Welcome,
    WireError,
    pack_device_message,
    unpack_cloud_message,
)
from sparsight_edge.backoff import Backoff
from sparsight_edge.spool.spool import Spool
from sparsight_edge.uplink.acks import Acks
from sparsight_edge.uplink.ledger import Ledger
from sparsight_edge.uplink.pacer import Pacer
from sparsight_edge.uplink.parcels import Parcel, Parcels
from sparsight_edge.uplink.wires import CallEnd, Wires

_TICK_S = 0.25
_GOODBYE_S = 1.0
_LOST_TIMES = 10

# What gRPC's status says can't be mended by trying again.
_TURNED_AWAY = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How patient a stream is.

    Attributes:
        welcome_s: How long a cloud may take to say welcome.
        answer_s: How long it may be silent while a frame waits for its answer; then the stream is
            taken for dead. One frame may wait ten times as long while others are answered.
        ack_every: Results that are acknowledged together.
        ack_s: How long a result waits for others to be acknowledged with.
        in_flight_max: Frames on their way, whatever the credit.
        pause_s: First and longest wait after an answer to send later, unless it says how long.
    """

    welcome_s: float = 10.0
    answer_s: float = 60.0
    ack_every: int = 32
    ack_s: float = 1.0
    in_flight_max: int = 256
    pause_s: tuple[float, float] = (0.2, 10.0)


@dataclass(frozen=True, slots=True)
class Answered:
    """A frame and its answer.

    Attributes:
        result: The answer.
        stream: Which source the frame came from.
        captured_unix_ns: When it was taken.
        sent_unix_ns: When it was sent last.
        answered_unix_ns: When the answer came.
    """

    result: FrameResult
    stream: str
    captured_unix_ns: int
    sent_unix_ns: int
    answered_unix_ns: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a stream ended.

    Attributes:
        reason: One line; empty if we ended it.
        retry_after_s: Not to come back before; 0 says nothing.
        turned_away: Trying again mends nothing.
        useful: It answered a frame.
    """

    reason: str
    retry_after_s: float = 0.0
    turned_away: bool = False
    useful: bool = False


@dataclass(frozen=True, slots=True)
class _Sent:
    """A frame on its way; `number` counts those of this stream from 1."""

    number: int
    stream: str
    captured_unix_ns: int
    sent_unix_ns: int
    sent_s: float
    delta: bool
    spooled_bytes: int


class Stream:
    """Runs one stream; not to be used twice."""

    def __init__(
        self,
        wires: Wires,
        hello: Hello,
        spool: Spool,
        ledger: Ledger,
        acks: Acks,
        on_result: Callable[[Answered], None],
        housekeep: Callable[[], None],
        settings: StreamSettings,
        tables: Tables | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        """A stream on wires that were just connected.

        Args:
            wires: The call; closed at the end.
            hello: What to say first.
            spool: Where frames come from. What is taken of it when the stream ends, stays taken.
            ledger: Where everything is counted.
            acks: Results to be acknowledged, those of the streams before among them.
            on_result: Stores the answer of a frame that is done, before that is acknowledged.
            housekeep: Called several times a second.
            settings: How patient to be.
            tables: Of the bundle, to tell frames by what changed; None sends all of them whole.
            pacer: Says how large a frame may be to be sent within the promise; None for any.
        """
        self.wires = wires
        self.hello = hello
        self.spool = spool
        self.ledger = ledger
        self.acks = acks
        self.on_result = on_result
        self.housekeep = housekeep
        self.settings = settings
        self.pacer = pacer
        self._tables = tables
        self._parcels: Parcels | None = None
        self._credit = Credit(0, 0)
        self._sent_frames = self._sent_cost_bytes = 0
        self._in_flight: dict[tuple[int, int], _Sent] = {}
        self._waiting: Parcel | None = None
        self._pause = Backoff(*settings.pause_s)
        self._paused_until_s = 0.0
        self._acked_s = self._heard_s = time.monotonic()
        self._refusal: Refusal | None = None
        self._useful = False

    def run(self, stop: threading.Event) -> Ended:
        """Run until the call ends or `stop` is set and the wires are nudged.

        Raises:
            SpoolError: From the spool.
            Exception: What `on_result` raises; the frame is not acknowledged then.
        """
        begin_s = time.monotonic()
        try:
            self.wires.offer(pack_device_message(self.hello))
            while not stop.is_set():
                what = self.wires.next(_TICK_S)
                if isinstance(what, CallEnd):
                    return self._why(what)
                now_s = time.monotonic()
                if what is not None:
                    self._heard_s = now_s
                    if problem := self._hear(what):
                        return Ended(problem, useful=self._useful)
                self.housekeep()
                if self._parcels is None:
                    if now_s - begin_s > self.settings.welcome_s:
                        return Ended(f"no welcome in {self.settings.welcome_s:g} s")
                elif self._overdue(now_s):
                    return Ended(
                        f"no answer to a frame in {self.settings.answer_s:g} s", useful=self._useful
                    )
                else:
                    self._send_acks(now_s)
                    self._send_frame(now_s, self._parcels)
            self._say_goodbye()
            return Ended("", useful=self._useful)
        finally:
            self.wires.close()
            self.acks.lost()

    def _hear(self, data: bytes) -> str:
        """Deal with a message; a stream that can't go on gets its reason."""
        try:
            message: CloudMessage = unpack_cloud_message(data)
        except WireError as error:
            return f"the cloud sent what can't be read: {error}"
        match message:
            case Welcome():
                self._parcels = Parcels(
                    self.spool,
                    self.ledger,
                    message,
                    self.hello.bundle_id,
                    self._tables,
                    self.pacer,
                )
                self.ledger.state("up")
            case Credit():
                self._credit = message
            case FrameResult():
                self._answered(message)
            case Refusal():
                if message.status is RefusalStatus.BAD_MESSAGE:
                    self.ledger.complain(f"the cloud could not read a message: {message.detail}")
                else:
                    self._refusal = message
        return ""

    def _answered(self, result: FrameResult) -> None:
        key = (result.key.epoch, result.key.seq)
        ours = result.key.device == self.hello.device
        sent = self._in_flight.pop(key, None) if ours else None
        if sent is None or self._parcels is None:
            self.ledger.stray()
            return
        now_s, status = time.monotonic(), result.status
        self.acks.heard(sent.number)
        self._parcels.answered(result)
        self.ledger.answered(
            result, (now_s - sent.sent_s) * 1e3, len(self._in_flight), sent.spooled_bytes
        )
        if status.done:
            self._useful = True
            self._pause.reset()
            self.on_result(
                Answered(
                    result, sent.stream, sent.captured_unix_ns, sent.sent_unix_ns, time.time_ns()
                )
            )
            if status in (FrameStatus.OK, FrameStatus.ALREADY_DONE):
                self.spool.finish(*key)
            else:
                said = f"{status.name}: {result.detail}"
                self.ledger.complain(f"frame {key[0]}/{key[1]} was refused, {said}")
                self.spool.refuse(*key, said)
            self.acks.add(*key)
        elif status.held:
            self.spool.hold(*key)
            self.ledger.complain(f"frames are held, {status.name}: {result.detail}")
        else:
            self.spool.give_back(*key)
            wait_s = result.retry_after_ms / 1e3
            first = now_s >= self._paused_until_s  # of answers that come together, it counts
            if first and not (status is FrameStatus.NO_REFERENCE and sent.delta):
                wait_s = self._pause.next_s(wait_s)
            self._paused_until_s = max(self._paused_until_s, now_s + wait_s)
            if self._waiting is not None:  # what was given back comes before it
                self._parcels.give_back(self._waiting)
                self._waiting = None

    def _send_frame(self, now_s: float, parcels: Parcels) -> None:
        """Send the next frame, if there is one and it may go."""
        if now_s < self._paused_until_s or len(self._in_flight) >= self.settings.in_flight_max:
            return
        parcel = self._waiting or parcels.next()
        if parcel is None:
            return
        self._waiting = parcel
        cost_bytes = self._sent_cost_bytes + parcel.frame.cost_bytes
        if not self._credit.allows(self._sent_frames + 1, cost_bytes):
            return
        if not self.wires.offer(parcel.message):
            return
        self._waiting = None
        self._sent_frames, self._sent_cost_bytes = self._sent_frames + 1, cost_bytes
        frame, spooled_bytes = parcel.frame, len(parcel.message) + parcel.saved_bytes
        self._in_flight[parcel.key] = _Sent(
            self._sent_frames,
            frame.stream,
            frame.captured_unix_ns,
            time.time_ns(),
            now_s,
            frame.reference is not None,
            spooled_bytes,
        )
        self.ledger.sent(len(parcel.message), len(self._in_flight), parcel.saved_bytes)

    def _send_acks(self, now_s: float, *, all_of_them: bool = False) -> None:
        waiting = self.acks.waiting
        late = now_s - self._acked_s > self.settings.ack_s
        if not waiting or not (all_of_them or late or waiting >= self.settings.ack_every):
            return
        while (ack := self.acks.next()) is not None:
            if not self.wires.offer(pack_device_message(ack)):
                return  # at the next turn
            self.acks.sent(ack, self._sent_frames)
        self._acked_s = now_s

    def _overdue(self, now_s: float) -> bool:
        oldest = next(iter(self._in_flight.values()), None)
        if oldest is None:
            return False
        patience_s = self.settings.answer_s
        silent_s = now_s - max(oldest.sent_s, self._heard_s)
        return silent_s > patience_s or now_s - oldest.sent_s > _LOST_TIMES * patience_s

    def _say_goodbye(self) -> None:
        """Acknowledge what was answered, and let the cloud end the call."""
        end_s = time.monotonic() + _GOODBYE_S
        said = False
        while time.monotonic() < end_s:
            if not said:
                self._send_acks(time.monotonic(), all_of_them=True)
                said = not self.acks.waiting and self.wires.offer(None)
            what = self.wires.next(0.05)
            if isinstance(what, CallEnd):
                return
            if what is not None and not said:
                self._hear(what)

    def _why(self, end: CallEnd) -> Ended:
        """What the end of the call means."""
        refusal = self._refusal
        if refusal is not None:
            return Ended(
                f"{refusal.status.name}: {refusal.detail}",
                refusal.retry_after_ms / 1e3,
                turned_away=not refusal.retry_after_ms,
                useful=self._useful,
            )
        if end.code is grpc.StatusCode.OK:
            return Ended("the cloud ended the stream", useful=self._useful)
        return Ended(
            f"{end.code.name}: {' '.join(end.detail.split())[:300]}",
            _retry_after_s(end),
            turned_away=end.code in _TURNED_AWAY,
            useful=self._useful,
        )


def _retry_after_s(end: CallEnd) -> float:
    for name, value in end.metadata:
        if name == RETRY_AFTER_METADATA:
            text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
            return int(text) / 1e3 if text.isascii() and text.isdecimal() else 0.0
    return 0.0
