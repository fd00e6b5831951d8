"""Who is calling: the name in a device's certificate, and nothing it says of itself.

    certificate of our authority ──> common name ──> must be the `device` of every key it sends

Certificates that are missing, of another authority, out of their time or made for servers never
reach this far: the TLS handshake ends there. Without mTLS nobody is who they say, so the gateway
then listens on the loopback interface only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path

import grpc

from sparsight.errors import UsageError, WireError
from sparsight.wire import FrameKey
from sparsight_cloud.serving.pki import CA, SERVER


def server_credentials(pki: Path) -> grpc.ServerCredentials:
    """What the gateway proves itself with, and whom it lets in.

    Args:
        pki: A folder with ca.crt, server.crt and server.key.

    Raises:
        UsageError: One of them can't be read.
    """
    names = (f"{SERVER}.key", f"{SERVER}.crt", f"{CA}.crt")
    try:
        key, certificate, authority = ((pki / name).read_bytes() for name in names)
    except OSError as error:
        raise UsageError(
            f"{pki}: expected {', '.join(names)} ({error.strerror}); "
            "make them with `sparsight pki dev`, or run with --insecure on this machine only"
        ) from error
    for name, content in zip(names, (key, certificate, authority), strict=True):
        if b"-----BEGIN " not in content:
            raise UsageError(f"{pki / name}: expected PEM text, got something else")
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authority, require_client_auth=True
    )


def named_in_certificate(auth_context: Mapping[str, Iterable[bytes]]) -> str | None:
    """The device's name in the certificate of a call.

    Args:
        auth_context: What gRPC says of the peer.

    Returns:
        The name; None if there is not exactly one, or none that the wire can carry.
    """
    names = list(auth_context.get("x509_common_name", ()))
    if len(names) != 1:
        return None
    try:
        return FrameKey(names[0].decode(), 0, 0).device
    except (UnicodeDecodeError, WireError):
        return None


def open_port(
    server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None
) -> str:
    """Give a server its port, before it starts.

    Args:
        server: It.
        address: HOST:PORT; port 0 is any.
        credentials: What it proves itself with; None is without TLS.

    Returns:
        The address, with the port it got.

    Raises:
        UsageError: It can't be listened on.
    """
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise UsageError(
            f"{address}: can't be listened on; something else is there, or a certificate is damaged"
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT to host and port; IPv6 hosts stand in brackets.

    Raises:
        UsageError: It is none.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"{address}: expected HOST:PORT, such as 127.0.0.1:7443 or [::1]:7443")
    return host.removeprefix("[").removesuffix("]"), int(port)


def require_loopback(address: str) -> None:
    """Check that nobody but this machine can reach an address.

    Raises:
        UsageError: They can.
    """
    host, _ = split_address(address)
    try:
        inside = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = False
    if not inside:
        raise UsageError(
            f"{address}: without certificates (--insecure) only this machine may call; listen on "
            "127.0.0.1:PORT, or give --pki DIR"
        )
