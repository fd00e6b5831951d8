"""What a certificate says, read with the standard library alone.

    certificate, key ──client──> TLS in memory ──server──> getpeercert()
                                  no network

`ssl` decodes a certificate only as a peer's, and only one that it believes. So we shake hands with
ourselves, believe this very certificate whoever signed it, and look at its dates ourselves.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which `ssl` has no name for
_STEPS = 10
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Paper:
    """A certificate.

    Attributes:
        name: Its common name; empty if it has none, or more than one.
        begin_unix_s: Good from here on.
        end_unix_s: Good until here.
    """

    name: str
    begin_unix_s: float
    end_unix_s: float

    @classmethod
    def of(cls, decoded: dict[str, Any]) -> Paper:
        """From what `ssl` makes of a certificate."""
        names = [value for part in decoded["subject"] for key, value in part if key == "commonName"]
        return cls(
            names[0] if len(names) == 1 else "",
            ssl.cert_time_to_seconds(decoded["notBefore"]),
            ssl.cert_time_to_seconds(decoded["notAfter"]),
        )

    def days_left(self) -> float:
        """Until its end, by this machine's clock."""
        return (self.end_unix_s - time.time()) / DAY_S


def read_paper(cert: Path, key: Path) -> Paper:
    """Read a client's certificate.

    Args:
        cert: PEM.
        key: Its private key, PEM.

    Raises:
        OSError: A file can't be read, `ssl.SSLError` included: they are none, do not belong
            together, or the certificate is none for a client.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cert)
    server.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.load_cert_chain(cert, key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server.wrap_bio(up, down, server_side=True)
    ours = client.wrap_bio(down, up)
    for _ in range(_STEPS):
        done = [_step(ours), _step(theirs)]
        if all(done):
            break
    decoded = theirs.getpeercert()
    if not decoded:
        raise ssl.SSLError("it says nothing")
    return Paper.of(decoded)


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
