"""Whether the cloud can be reached and says welcome: TCP, TLS, Hello, one after the other.

connect ─> handshake, as ourselves ─> Hello ─> Welcome | Refusal
   tells of routes    of certificates           of names, bundles and versions
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

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
_REFUSED: dict[RefusalStatus, str] = {
    RefusalStatus.UNKNOWN_BUNDLE: "let the cloud serve this bundle: cloud up --bundle",
    RefusalStatus.WRONG_DEVICE: "give the name in the certificate as --device",
    RefusalStatus.CODEC_VERSION: "install the same version of sparsight on both sides",
    RefusalStatus.WIRE_VERSION: "install the same version of sparsight on both sides",
    RefusalStatus.FULL: "wait, or give the cloud more room",
}


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


def check_cloud(endpoint: Endpoint, device: str, bundle_id: str, epoch: int) -> Finding:
    """Say Hello as an agent does, and go again without a frame.

    A stream that this device has open elsewhere would be ended by this: not to be asked while an
    agent runs.

    Args:
        endpoint: The cloud.
        device: Our name.
        bundle_id: What frames would be coded for.
        epoch: Any.
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
    return Finding(
        "cloud", "fail", f"no Welcome in {_PATIENCE_S:.0f} s", "see the log of the gateway"
    )


def _judge(came: bytes | CallEnd, took_ms: float) -> Finding:
    if isinstance(came, CallEnd):
        return Finding(
            "cloud", "fail", f"{came.code.name}: {came.detail}", "see the log of the gateway"
        )
    try:
        message = unpack_cloud_message(came)
    except WireError as error:
        return Finding("cloud", "fail", f"it is no gateway of ours: {error}", "see --cloud")
    if isinstance(message, Welcome):
        return Finding("cloud", "ok", f"it said welcome after {took_ms:.0f} ms, serves this bundle")
    if isinstance(message, Refusal):
        do = _REFUSED.get(message.status, "see the log of the gateway")
        return Finding("cloud", "fail", f"{message.status.name}: {message.detail}", do)
    return Finding("cloud", "fail", f"expected a Welcome, got {message}", "see --cloud")


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    assert endpoint.cert is not None and endpoint.key is not None and endpoint.ca is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(endpoint.ca)
    context.load_cert_chain(endpoint.cert, endpoint.key)
    context.set_alpn_protocols(["h2"])
    return context
