"""The door of the cloud: gRPC calls of devices in, results out.

    device ─ mTLS ─┬─ Devices.Stream ─> DeviceStream ─┐
                   ├─ Devices.Detect ────────────────>┼─> Intake ─> Dispatch ─> CommitLog
    probe ─────────┴─ grpc.health.v1                  └─ Roster: one stream a device

gRPC carries our bytes as they are: what is no message of ours is refused with our own status, by
our own hand, and the server goes on. The one exception is a message over gRPC's own limit, which it
refuses with RESOURCE_EXHAUSTED before there is anything to look at.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sparsight.wire import (
    DETECT_METHOD,
    FRAME_BYTES_MAX,
    RETRY_AFTER_METADATA,
    STREAM_METHOD,
    BadFrameError,
    FrameStatus,
    Refusal,
    RefusalStatus,
    WireError,
    pack_result,
    unpack_frame,
)
from sparsight_cloud.serving.archive import Archive
from sparsight_cloud.serving.call import Call
from sparsight_cloud.serving.commit import CommitLog
from sparsight_cloud.serving.dispatch import Dispatch
from sparsight_cloud.serving.identity import (
    named_in_certificate,
    open_port,
    require_loopback,
    server_credentials,
    split_address,
)
from sparsight_cloud.serving.intake import FullError, Intake
from sparsight_cloud.serving.metrics import GatewayMetrics
from sparsight_cloud.serving.roster import RefusedError, Roster
from sparsight_cloud.serving.settings import GatewayLimits
from sparsight_cloud.serving.stream import DeviceStream, Service, unfit

_SERVICE = STREAM_METHOD.split("/")[1]

_OPTIONS = [
    ("grpc.max_receive_message_length", FRAME_BYTES_MAX + 16),  # with its envelope
    ("grpc.so_reuseport", 0),  # or two gateways share a port, and each device finds either
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: payloads are dense, bombs are not
    ("grpc.keepalive_time_ms", 30_000),  # a device that lost its link is noticed within a minute
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]

_CODES = {
    RefusalStatus.BAD_MESSAGE: grpc.StatusCode.INVALID_ARGUMENT,
    RefusalStatus.WIRE_VERSION: grpc.StatusCode.FAILED_PRECONDITION,
    RefusalStatus.CODEC_VERSION: grpc.StatusCode.FAILED_PRECONDITION,
    RefusalStatus.UNKNOWN_BUNDLE: grpc.StatusCode.NOT_FOUND,
    RefusalStatus.WRONG_DEVICE: grpc.StatusCode.PERMISSION_DENIED,
    RefusalStatus.FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RefusalStatus.GOING_AWAY: grpc.StatusCode.UNAVAILABLE,
    RefusalStatus.REPLACED: grpc.StatusCode.ABORTED,
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Door:
    """Where the gateway listens, and whom it lets in.

    Attributes:
        listen: HOST:PORT; port 0 is any.
        pki: Folder with ca.crt, server.crt and server.key; None lets in everyone on this machine.

    Raises:
        UsageError: Without certificates on an address that others reach, or certificates that
            can't be read.
    """

    listen: str
    pki: Path | None

    def __post_init__(self) -> None:
        split_address(self.listen)
        if self.pki is None:
            require_loopback(self.listen)
        self.credentials()

    def credentials(self) -> grpc.ServerCredentials | None:
        """What the gateway proves itself with; None without certificates."""
        return None if self.pki is None else server_credentials(self.pki)


class Gateway:
    """Owns the gRPC server; the dispatch and the log are its caller's."""

    def __init__(
        self,
        door: Door,
        dispatch: Dispatch,
        commits: CommitLog,
        limits: GatewayLimits | None = None,
        metrics: GatewayMetrics | None = None,
        min_score: float = 0.0,
        archive: Archive | None = None,
    ) -> None:
        """A gateway that does not listen yet.

        Args:
            door: Where it will.
            dispatch: Computes; running when `start` is called.
            commits: Keeps results; likewise.
            limits: What a device may do.
            metrics: Counts.
            min_score: Objects below are left out of answers and results.
            archive: Keeps payloads.
        """
        self._door = door
        self._credentials = door.credentials()
        self.limits = limits or GatewayLimits()
        self.metrics = metrics or GatewayMetrics()
        self._intake = Intake(
            dispatch, commits, self.metrics, self.limits.in_flight_bytes, min_score, archive
        )
        self._service = Service(
            intake=self._intake,
            commits=commits,
            roster=Roster(self.limits, dispatch, self.metrics),
            dispatch=dispatch,
            limits=self.limits,
            metrics=self.metrics,
        )
        self._detects: Counter[str] = Counter()
        self.health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Listen.

        Returns:
            The address, with the port it got.

        Raises:
            UsageError: The address can't be listened on.
        """
        # Streams, as many unary calls, and probes; more are refused by gRPC itself.
        calls_max = 2 * self.limits.streams_max + 64
        server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=calls_max)
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            STREAM_METHOD.rsplit("/", 1)[1]: grpc.stream_stream_rpc_method_handler(self._stream),
            # A unary call is one message of a stream. Taken as such, a message over gRPC's limit
            # shows as none at all and can be counted.
            DETECT_METHOD.rsplit("/", 1)[1]: grpc.stream_unary_rpc_method_handler(self._detect),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        address = open_port(server, self._door.listen, self._credentials)
        await server.start()
        self._server = server
        for name in ("", _SERVICE):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)
        _log.info("gateway listens", address=address, mtls=self._credentials is not None)
        return address

    async def close(self) -> None:
        """Send devices away, finish what is in flight, stop listening."""
        if self._server is None:
            return
        await self.health.enter_graceful_shutdown()
        self._service.roster.close()
        grace_s = self.limits.grace_s
        await asyncio.wait([asyncio.create_task(self._intake.drained())], timeout=grace_s)
        await self._server.stop(grace_s)
        self._server = None

    async def _stream(self, _requests: object, call: Call) -> None:
        """`Devices.Stream`."""
        how = "broken"
        stream = DeviceStream(self._service, call, await self._caller(call))
        try:
            await stream.run()
            how = "clean"
        except RefusedError as error:
            how = "refused"
            if not stream.listens:
                # gRPC sends a status behind what was written before, so there is no way to end the
                # call in good order. Dropped like this it is reset.
                self.metrics.saw_refusal(error.refusal.status)
                raise asyncio.CancelledError from error
            await self._abort(call, error.refusal)
        finally:
            self.metrics.stream_ends.labels(how).inc()

    async def _detect(self, _requests: object, call: Call) -> bytes:
        """`Devices.Detect`."""
        caller = await self._caller(call)
        data = await call.read()
        if not isinstance(data, bytes):
            why = f"no frame came, or one of more than {FRAME_BYTES_MAX} bytes"
            await self._abort(call, Refusal(RefusalStatus.BAD_MESSAGE, why))
        self.metrics.bytes_in.inc(len(data))
        try:
            frame = unpack_frame(data)
        except BadFrameError as error:
            self.metrics.saw_result(FrameStatus.REFUSED, None)
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except WireError as error:
            await self._abort(call, Refusal(RefusalStatus.BAD_MESSAGE, str(error)))
        device = frame.key.device
        if caller is not None and device != caller:
            self.metrics.saw_result(FrameStatus.WRONG_DEVICE, None)
            why = f"the certificate is {caller}'s, not {device}'s"
            await call.abort(grpc.StatusCode.PERMISSION_DENIED, why)
        fault = unfit(frame, self.limits)
        if frame.reference is not None:
            fault = "reference: there is none outside a stream; send the frame whole"
        if fault is not None:
            self.metrics.saw_result(FrameStatus.REFUSED, None)
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, fault)
        if self._detects[device] >= self.limits.detects_max:
            why = f"{device} has {self.limits.detects_max} calls open already"
            wait_ms = self._intake.retry_after_ms
            await self._abort(call, Refusal(RefusalStatus.FULL, why, wait_ms))
        self._detects[device] += 1
        try:
            result = await self._intake.take(frame)
        except FullError as error:
            refusal = Refusal(RefusalStatus.FULL, str(error), error.retry_after_ms)
            await self._abort(call, refusal)
        finally:
            self._detects[device] -= 1
            if not self._detects[device]:
                del self._detects[device]
        self.metrics.saw_result(result.status, result.times)
        answer = pack_result(result)
        self.metrics.bytes_out.inc(len(answer))
        return answer

    async def _caller(self, call: Call) -> str | None:
        """The name in the caller's certificate; None if there are no certificates."""
        if self._credentials is None:
            return None
        name = named_in_certificate(call.auth_context())
        if name is None:
            why = "the certificate has no common name, or several, or one that is no device's"
            await self._abort(call, Refusal(RefusalStatus.WRONG_DEVICE, why))
        return name

    async def _abort(self, call: Call, refusal: Refusal) -> NoReturn:
        """Count a refusal, and end the call with the gRPC status that goes with it."""
        self.metrics.saw_refusal(refusal.status)
        trailing: tuple[tuple[str, str], ...] = ()
        if refusal.retry_after_ms:
            trailing = ((RETRY_AFTER_METADATA, str(refusal.retry_after_ms)),)
        await call.abort(_CODES[refusal.status], refusal.detail, trailing)
        raise AssertionError("abort never returns")
