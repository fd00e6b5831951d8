"""Where the cloud is and how it is reached: mutual TLS, or nothing at all on this machine."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from sparsight.errors import UsageError
from sparsight.wire import FRAME_BYTES_MAX, RESULT_BYTES_MAX

_ENVELOPE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A cloud, and who this device is to it.

    Attributes:
        address: `HOST:PORT`; of IPv6 `[HOST]:PORT`.
        cert: The device's certificate, PEM; None without TLS.
        key: Its private key, PEM.
        ca: Whom to believe that the cloud is the cloud, PEM.
        server_name: Name in the cloud's certificate, if it is not the host; empty if it is.
    """

    address: str
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        """Refuse what can't work, before a camera is opened.

        Raises:
            UsageError: No such address, half a set of files, files that are none of theirs, or no
                TLS to another machine.
        """
        host = _host(self.address)
        given = [self.cert, self.key, self.ca]
        if not any(given):
            if not _is_loopback(host):
                raise UsageError(
                    f"{self.address}: without TLS only a cloud on this machine is spoken to; give "
                    "--cert, --key and --ca (`sparsight pki dev` makes some for trying out)"
                )
            return
        if not all(given):
            raise UsageError("TLS needs all three of --cert, --key and --ca, or --insecure")
        self._check_files()

    @property
    def host(self) -> str:
        """The cloud's name or address."""
        return _host(self.address)

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.address.rpartition(":")[2])

    def open(self, relay: Path | None = None) -> grpc.Channel:
        """A new channel; the files are read now, so that renewed ones count.

        Args:
            relay: The socket of a relay that leads to the cloud; None calls the cloud itself.

        Raises:
            UsageError: One of the files is gone or damaged.
        """
        options: list[tuple[str, int | str]] = [
            ("grpc.max_send_message_length", FRAME_BYTES_MAX + _ENVELOPE_BYTES),
            ("grpc.max_receive_message_length", RESULT_BYTES_MAX + _ENVELOPE_BYTES),
            # Each try is a new connection: a shared one would wait by a clock of its own.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        target = self.address
        if relay is not None:
            target = f"unix:{relay}"
            options.append(("grpc.default_authority", self.address))
        if self.cert is None or self.key is None or self.ca is None:
            return grpc.insecure_channel(target, [*options, ("grpc.enable_http_proxy", 0)])
        if self.server_name or relay is not None:
            options.append(("grpc.ssl_target_name_override", self.server_name or self.host))
        self._check_files()
        credentials = grpc.ssl_channel_credentials(
            self.ca.read_bytes(), self.key.read_bytes(), self.cert.read_bytes()
        )
        return grpc.secure_channel(target, credentials, options)

    def _check_files(self) -> None:
        # gRPC would only say that it can't connect.
        assert self.cert is not None and self.key is not None and self.ca is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_cert_chain(self.cert, self.key)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.cert} and {self.key}: not a certificate and its key: {_why(error)}"
            ) from error
        try:
            context.load_verify_locations(self.ca)
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.ca}: not the certificate of a CA: {_why(error)}") from error


def _host(address: str) -> str:
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    good = colon and bare and (":" not in bare or host.startswith("["))
    if not (good and port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise UsageError(f"cloud: expected HOST:PORT, such as gateway.local:8443, got {address!r}")
    return bare


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__
