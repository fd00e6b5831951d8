"""Whether the gateway takes devices, for those who only ask that: kubelets, balancers, people.

    probe ─ plain ─> Probes: grpc.health.v1 and nothing else ─┐
    probe ─ mTLS ──> the devices' port: grpc.health.v1 ───────┴─> one status

A kubelet's own gRPC probe has no certificate, and an answer is no secret: so there is a port of its
own for it, where nothing else is served.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from sparsight.errors import LinkError, UsageError
from sparsight_cloud.serving.identity import open_port, split_address
from sparsight_cloud.serving.pki import CA

_CALLS_MAX = 64
_OPTIONS = [
    ("grpc.max_receive_message_length", 4096),  # a question is a service's name
    ("grpc.so_reuseport", 0),
    ("grpc.max_connection_idle_ms", 60_000),  # probes come from everywhere and may never go
]


class Probes:
    """Owns the port of the probes; the status is the gateway's."""

    def __init__(self, listen: str, status: health.aio.HealthServicer) -> None:
        """A port that does not listen yet.

        Args:
            listen: HOST:PORT; port 0 is any.
            status: What is told.

        Raises:
            UsageError: The address is none.
        """
        split_address(listen)
        self._listen = listen
        self._status = status
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Answer from now on; NOT_SERVING until the gateway says otherwise.

        Returns:
            The address, with the port it got.

        Raises:
            UsageError: The address can't be listened on.
        """
        await self._status.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_CALLS_MAX)
        health_pb2_grpc.add_HealthServicer_to_server(self._status, server)
        address = open_port(server, self._listen)
        await server.start()
        self._server = server
        return address

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


def ask_health(address: str, pki: Path | None, name: str, timeout_s: float) -> None:
    """Ask a gateway whether it takes devices.

    Args:
        address: HOST:PORT of its probes, or with certificates of the devices.
        pki: Folder with ca.crt and the caller's certificate and key; None asks without TLS.
        name: Of that certificate's file.
        timeout_s: How long to wait for the answer.

    Raises:
        LinkError: It does not, or does not answer.
        UsageError: The address is none, or a certificate can't be read.
    """
    split_address(address)
    channel = (
        grpc.insecure_channel(address)
        if pki is None
        else grpc.secure_channel(address, _credentials(pki, name))
    )
    stub: Any = health_pb2_grpc.HealthStub(channel)  # its types know no methods
    with channel:
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise LinkError(f"{address}: {_why(error)}; see its log, and --pki") from error
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise LinkError(f"{address}: {status}: it starts, or goes down")


def _credentials(pki: Path, name: str) -> grpc.ChannelCredentials:
    names = f"{CA}.crt", f"{name}.key", f"{name}.crt"
    try:
        authority, key, certificate = ((pki / file).read_bytes() for file in names)
    except OSError as error:
        raise UsageError(
            f"{pki}: expected {', '.join(names)} ({error.strerror}); `sparsight pki dev` makes them"
        ) from error
    return grpc.ssl_channel_credentials(authority, key, certificate)


def _why(error: grpc.RpcError) -> str:
    assert isinstance(error, grpc.Call)
    return f"{error.code().name}: {' '.join((error.details() or '').split())[:200]}"
