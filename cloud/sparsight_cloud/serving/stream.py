"""One device's stream, from its Hello to its end.

    gRPC ─ read ─> unpack ─┬─ Ack ────> CommitLog.acknowledge
                           ├─ frame ──> checks, credit ──> Intake.take (a task each) ─┐
                           └─ none of ours: BAD_MESSAGE, and the stream goes on       v
    gRPC <─ write ──────────────────────── Outbox <──────────────────────────── results

Reading, computing and writing overlap. What is read is bounded by credit, by the outbox for those
who ignore credit, and by gRPC's own flow control behind that.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import structlog

from sparsight.codec.chain import is_joined
from sparsight.detections import Detections
from sparsight.wire import (
    WIRE_VERSION,
    Ack,
    BadFrameError,
    FrameFeatures,
    FrameKey,
    FrameResult,
    FrameStatus,
    Hello,
    Refusal,
    RefusalStatus,
    Welcome,
    WireError,
    unpack_device_message,
)
from sparsight_cloud.serving.call import Call
from sparsight_cloud.serving.commit import CommitLog
from sparsight_cloud.serving.dispatch import Dispatch
from sparsight_cloud.serving.intake import FullError, Intake
from sparsight_cloud.serving.metrics import GatewayMetrics
from sparsight_cloud.serving.outbox import Outbox
from sparsight_cloud.serving.references import References
from sparsight_cloud.serving.roster import RefusedError, Roster
from sparsight_cloud.serving.settings import GatewayLimits

_SPARE_MESSAGES = 16  # what may wait for a device beside the answers it has credit for
_LAST_WORD_S = 1.0  # how long a device that is sent away may take to hear why

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """What every stream works with.

    Attributes:
        intake: Takes frames.
        commits: Remembers them.
        roster: Who is connected.
        dispatch: Says what can be answered.
        limits: What one device may do.
        metrics: Counts.
    """

    intake: Intake
    commits: CommitLog
    roster: Roster
    dispatch: Dispatch
    limits: GatewayLimits
    metrics: GatewayMetrics


class DeviceStream:
    """Owns one call of `Devices.Stream`.

    Attributes:
        listens: Whether the device reads what it is sent; if not, not even a status gets through.
    """

    def __init__(self, service: Service, call: Call, caller: str | None) -> None:
        """A stream before its Hello.

        Args:
            service: What it works with.
            call: It.
            caller: The name in the certificate; None if there are no certificates.
        """
        self._service = service
        self._call = call
        self._caller = caller
        self._answers: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()
        self._bad_messages = 0
        self._references = References(service.limits.reference_bytes_max)
        self.listens = True
        self._outbox = Outbox(
            self._call.write, service.roster.window, service.metrics.bytes_out.inc
        )

    def end(self, refusal: Refusal) -> None:
        """End soon, and say why."""
        if not self._ended.done():
            self._ended.set_result(refusal)

    async def run(self) -> None:
        """Serve the stream until the device has half-closed it and has every answer.

        Raises:
            RefusedError: It was ended by this side; the device has heard why, if it listens.
        """
        try:
            hello = await self._hello()
            self._service.roster.join(hello.device, self)
        except RefusedError as error:
            await self._say_last(error.refusal, asyncio.create_task(self._outbox.run()))
            raise
        log = _log.bind(device=hello.device, epoch=hello.epoch)
        log.info("device connected")
        limits = self._service.limits
        self._outbox.put(
            Welcome(
                payload_bytes_max=limits.payload_bytes_max,
                thumbnail_bytes_max=limits.thumbnail_bytes_max,
                reference_bytes_max=limits.reference_bytes_max,
                cloud_unix_ns=time.time_ns(),
            )
        )
        writer = asyncio.create_task(self._outbox.run(), name="write")
        reader = asyncio.create_task(self._read(hello), name="read")
        try:
            await self._until(reader, writer)
            await self._until(asyncio.create_task(self._all_answered()), writer)
            self._outbox.finish()
            await self._until(writer)
        except RefusedError as error:
            log.info("device sent away", why=error.refusal.status.name)
            reader.cancel()
            await self._say_last(error.refusal, writer)
            raise
        finally:
            self._service.roster.leave(hello.device, self)
            for task in (reader, writer, *self._answers):
                task.cancel()
            log.info("device gone")

    async def _hello(self) -> Hello:
        """Read and check the first message.

        Raises:
            RefusedError: It is no Hello, or not one that can be answered.
        """
        try:
            data = await asyncio.wait_for(self._read_bytes(), self._service.limits.hello_s)
            hello = None if data is None else unpack_device_message(data)
        except (asyncio.TimeoutError, WireError) as error:
            why = str(error) or f"none within {self._service.limits.hello_s:g} s"
            raise _refused(RefusalStatus.BAD_MESSAGE, f"expected a Hello: {why}") from error
        if not isinstance(hello, Hello):
            raise _refused(RefusalStatus.BAD_MESSAGE, "expected a Hello as the first message")
        serves = self._service.dispatch.serves
        if hello.wire_version > WIRE_VERSION:
            raise _refused(
                RefusalStatus.WIRE_VERSION,
                f"this cloud speaks version {WIRE_VERSION} of the wire, got {hello.wire_version}; "
                "update the cloud first",
            )
        if self._caller is not None and hello.device != self._caller:
            raise _refused(
                RefusalStatus.WRONG_DEVICE,
                f"the certificate is {self._caller}'s, not {hello.device}'s",
            )
        if hello.bundle_id not in serves.bundles:
            known = ", ".join(list(serves.bundles)[:8])
            raise _refused(
                RefusalStatus.UNKNOWN_BUNDLE,
                f"this cloud serves {known}, got {hello.bundle_id}; fetch one of those",
            )
        if hello.codec_version not in serves.codec_versions:
            known = ", ".join(map(str, sorted(serves.codec_versions)))
            raise _refused(
                RefusalStatus.CODEC_VERSION,
                f"this cloud reads payloads of version {known}, got {hello.codec_version}",
            )
        return hello

    async def _read(self, hello: Hello) -> None:
        """Take messages until the device has no more.

        Raises:
            RefusedError: Too many of them were none.
        """
        while True:
            window = self._service.roster.window()
            await self._outbox.room(window.frames + _SPARE_MESSAGES)
            data = await self._read_bytes()
            if data is None:
                return
            try:
                message = unpack_device_message(data)
                if isinstance(message, Hello):
                    raise WireError("a second Hello")
            except BadFrameError as error:
                self._outbox.ledger.forgive(len(data))
                self._answer(error.key, FrameStatus.REFUSED, str(error), None)
            except WireError as error:
                self._bad_message(error, len(data))
            else:
                if isinstance(message, Ack):
                    self._service.commits.acknowledge(hello.device, message.epoch, message.seqs)
                else:
                    self._take(message, hello)

    def _bad_message(self, error: WireError, size_bytes: int) -> None:
        """Refuse a message, and the stream if there are too many of them."""
        self._bad_messages += 1
        if self._bad_messages > self._service.limits.bad_messages_max:
            raise _refused(RefusalStatus.BAD_MESSAGE, f"too many messages that are none: {error}")
        self._service.metrics.saw_refusal(RefusalStatus.BAD_MESSAGE)
        self._outbox.ledger.forgive(size_bytes)
        self._outbox.put(Refusal(RefusalStatus.BAD_MESSAGE, str(error)))

    def _take(self, frame: FrameFeatures, hello: Hello) -> None:
        """Refuse a frame at once, or let it be computed."""
        key, cost_bytes = frame.key, frame.cost_bytes
        has_credit = self._outbox.ledger.take(cost_bytes)
        fault = _misplaced(frame, hello) or unfit(frame, self._service.limits)
        if key.device != hello.device:
            whose = f"this stream is {hello.device}'s"
            self._answer(key, FrameStatus.WRONG_DEVICE, whose, cost_bytes)
        elif fault is not None:
            self._answer(key, FrameStatus.REFUSED, fault, cost_bytes)
        elif not has_credit:
            wait = "sent without credit; wait for some and send it again"
            self._answer(key, FrameStatus.OVER_CREDIT, wait, cost_bytes)
        elif (readable := self._references.resolve(frame)) is None:
            why = f"frame {frame.reference} is not kept; send this one whole"
            self._answer(key, FrameStatus.NO_REFERENCE, why, cost_bytes)
        else:
            self._service.metrics.told_by_change.inc(frame.reference is not None)
            task = asyncio.create_task(self._compute(readable, cost_bytes), name="answer")
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def _compute(self, frame: FrameFeatures, cost_bytes: int) -> None:
        try:
            result = await self._service.intake.take(frame)
        except FullError as error:
            result = FrameResult(
                frame.key,
                FrameStatus.UNAVAILABLE,
                Detections.empty(),
                str(error),
                retry_after_ms=error.retry_after_ms,
            )
        self._put(result, cost_bytes)

    def _answer(self, key: FrameKey, status: FrameStatus, why: str, cost_bytes: int | None) -> None:
        self._put(FrameResult(key, status, Detections.empty(), why), cost_bytes)

    def _put(self, result: FrameResult, cost_bytes: int | None) -> None:
        self._service.metrics.saw_result(result.status, result.times)
        self._outbox.put(result, cost_bytes)

    async def _read_bytes(self) -> bytes | None:
        """The next message; None if the device has no more."""
        data = await self._call.read()
        if not isinstance(data, bytes):
            return None
        self._service.metrics.bytes_in.inc(len(data))
        return data

    async def _all_answered(self) -> None:
        while self._answers:
            await asyncio.wait(list(self._answers))

    async def _until(self, *tasks: asyncio.Task[Any]) -> None:
        """Wait for the first of some tasks, while the stream may go on.

        Raises:
            RefusedError: It may not.
        """
        write_s = self._service.limits.write_s
        while True:
            waiting = {*tasks, self._ended}
            done, _ = await asyncio.wait(
                waiting, timeout=write_s / 4, return_when=asyncio.FIRST_COMPLETED
            )
            if self._ended in done:
                raise RefusedError(self._ended.result())
            for task in done:
                await task  # what went wrong in it goes wrong here
            if done:
                return
            if self._outbox.stuck_s() > write_s:
                why = f"nothing was read for {write_s:g} s"
                raise _refused(RefusalStatus.FULL, why)

    async def _say_last(self, refusal: Refusal, writer: asyncio.Task[None]) -> None:
        """Tell the device why, if it listens; who is sent away for no fault gets its answers."""
        patience_s = _LAST_WORD_S
        if refusal.status is RefusalStatus.GOING_AWAY:
            patience_s = self._service.limits.grace_s
            await asyncio.wait([asyncio.create_task(self._all_answered())], timeout=patience_s)
        self._outbox.finish(refusal)
        await asyncio.wait([writer], timeout=patience_s)
        self.listens = writer.done()


def unfit(frame: FrameFeatures, limits: GatewayLimits) -> str | None:
    """Why this gateway does not take a frame that the wire would carry, if it does not."""
    if is_joined(frame.payload):
        return "payload: joined to another one already; only a gateway does that"
    if len(frame.payload) > limits.payload_bytes_max:
        return f"payload: at most {limits.payload_bytes_max} bytes, got {len(frame.payload)}"
    if len(frame.thumbnail) > limits.thumbnail_bytes_max:
        return f"thumbnail: at most {limits.thumbnail_bytes_max} bytes, got {len(frame.thumbnail)}"
    return None


def _misplaced(frame: FrameFeatures, hello: Hello) -> str | None:
    """Why a frame does not belong on this stream, if it does not."""
    if frame.key.epoch > hello.epoch:
        return f"epoch: at most this boot's, {hello.epoch}, got {frame.key.epoch}"
    if frame.key.epoch == hello.epoch and frame.stream not in hello.streams:
        return f"stream: expected one of Hello's, got {frame.stream}"
    return None


def _refused(status: RefusalStatus, why: str) -> RefusedError:
    return RefusedError(Refusal(status, why[:1000]))
