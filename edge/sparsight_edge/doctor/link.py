"""Whether the cloud can be reached and says welcome: TCP, TLS, Hello, one after the other.

connect ─> handshake, as ourselves ─> Hello ─> Welcome | Refusal
   tells of routes    of certificates           of names, bundles and versions
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

from sparsight.codec.payload import VERSION as CODEC_VERSION
from sparsight.wire import (
    Hello,
    Refusal,
    RefusalStatus,
    Welcome,
    WireError,
    pack_device_message,
    unpack_cloud_message,
)
from sparsight_edge.doctor.finding import Finding
from sparsight_edge.doctor.papers import Paper
from sparsight_edge.uplink.channel import Endpoint
from sparsight_edge.uplink.wires import CallEnd, Wires

_PATIENCE_S = 10.0
_SEE_LOG = "see the log of the gateway"
_REFUSED: dict[RefusalStatus, str] = {
    RefusalStatus.UNKNOWN_BUNDLE: "let the cloud serve this bundle: cloud up --bundle",
    RefusalStatus.WRONG_DEVICE: "give the name in the certificate as --device",
    RefusalStatus.CODEC_VERSION: "install the same version of sparsight on both sides",
    RefusalStatus.WIRE_VERSION: "install the same version of sparsight on both sides",
    RefusalStatus.FULL: "wait, or give the cloud more room",
}


@dataclass(frozen=True, slots=True)
class Skew:
    """How far two clocks are apart.

    Attributes:
        ahead_ms: By so much ours is ahead of the cloud's.
        error_ms: At most so much of it may be the way of the message.
    """

    ahead_ms: float
    error_ms: float

    @classmethod
    def of(cls, welcome: Welcome, took_ms: float) -> Skew | None:
        """As a Welcome tells that just came; None if it does not tell.

        Args:
            welcome: It was said at some moment of `took_ms`, most likely in the middle.
            took_ms: From the first packet of the connection to now.
        """
        if not welcome.cloud_unix_ns:
            return None
        ahead_ms = (time.time_ns() - welcome.cloud_unix_ns) / 1e6 - took_ms / 2
        return cls(ahead_ms, took_ms / 2)


def check_link(endpoint: Endpoint) -> Iterator[Finding | Paper]:
    """Connect and shake hands.

    Yields:
        The cloud's certificate if it showed one, and what was found; `ok` is the last.
    """
    host, _, port = endpoint.address.rpartition(":")
    bare, begin_s = host.removeprefix("[").removesuffix("]"), time.monotonic()
    try:
        with socket.create_connection((bare, int(port)), _PATIENCE_S) as plain:
            tcp_ms = (time.monotonic() - begin_s) * 1e3
            if endpoint.cert is None:
                yield Finding("link", "ok", f"{endpoint.address}: TCP in {tcp_ms:.0f} ms, no TLS")
                return
            begin_s = time.monotonic()
            with _context(endpoint).wrap_socket(
                plain, server_hostname=endpoint.server_name or bare
            ) as secure:
                tls_ms = (time.monotonic() - begin_s) * 1e3
                paper = Paper.of(secure.getpeercert() or {})
                yield paper
                yield Finding(
                    "link",
                    "ok",
                    f"{endpoint.address}: TCP in {tcp_ms:.0f} ms, {secure.version()} in "
                    f"{tls_ms:.0f} ms, its certificate is good for {paper.days_left():.0f} days",
                )
    except ssl.SSLCertVerificationError as error:
        yield Finding(
            "link",
            "fail",
            f"{endpoint.address}: its certificate is not believed: {error.verify_message}",
            "see --ca and --server-name, and the clock",
        )
    except ssl.SSLError as error:
        yield Finding(
            "link",
            "fail",
            f"{endpoint.address}: no TLS: {error.reason or error}",
            "see whether it is a gateway, and with TLS",
        )
    except OSError as error:
        yield Finding(
            "link",
            "fail",
            f"{endpoint.address}: can't be reached: {error.strerror or error}",
            "see --cloud, whether the cloud runs, and the firewall",
        )


def check_cloud(
    endpoint: Endpoint, device: str, bundle_id: str, epoch: int
) -> tuple[Finding, Skew | None]:
    """Say Hello as an agent does, and go again without a frame.

    A stream that this device has open elsewhere would be ended by this: not to be asked while an
    agent runs.

    Args:
        endpoint: The cloud.
        device: Our name.
        bundle_id: What frames would be coded for.
        epoch: Any.

    Returns:
        What was found, and how far the clocks are apart if the cloud told its own.
    """
    begin_s = time.monotonic()
    with endpoint.open() as channel:
        wires = Wires(channel)
        try:
            wires.offer(
                pack_device_message(Hello(device, epoch, bundle_id, CODEC_VERSION, ("doctor",)))
            )
            while (left_s := _PATIENCE_S - (time.monotonic() - begin_s)) > 0:
                if (came := wires.next(left_s)) is not None:
                    return _judge(came, (time.monotonic() - begin_s) * 1e3)
        finally:
            wires.close()
    return _failed(f"no Welcome in {_PATIENCE_S:.0f} s"), None


def _judge(came: bytes | CallEnd, took_ms: float) -> tuple[Finding, Skew | None]:
    if isinstance(came, CallEnd):
        return _failed(f"{came.code.name}: {came.detail}"), None
    try:
        message = unpack_cloud_message(came)
    except WireError as error:
        return _failed(f"it is no gateway of ours: {error}", "see --cloud"), None
    if isinstance(message, Welcome):
        found = f"it said welcome after {took_ms:.0f} ms, serves this bundle"
        return Finding("cloud", "ok", found), Skew.of(message, took_ms)
    if isinstance(message, Refusal):
        do = _REFUSED.get(message.status, _SEE_LOG)
        return _failed(f"{message.status.name}: {message.detail}", do), None
    return _failed(f"expected a Welcome, got {message}", "see --cloud"), None


def _failed(found: str, do: str = _SEE_LOG) -> Finding:
    return Finding("cloud", "fail", found, do)


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    assert endpoint.cert is not None and endpoint.key is not None and endpoint.ca is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(endpoint.ca)
    context.load_cert_chain(endpoint.cert, endpoint.key)
    context.set_alpn_protocols(["h2"])
    return context
