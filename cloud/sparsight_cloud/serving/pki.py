"""A private certificate authority, for trying the service out with real mTLS.

    OUT/ca.crt ca.key            signs all others; whoever has ca.key can be any device
    OUT/server.crt server.key    the cloud's, for the names that devices call it by
    OUT/NAME.crt NAME.key        one device's; its name is the certificate's common name

A folder that has an authority already is extended, and no file is ever overwritten. For a fleet,
bring certificates of your own authority: the gateway asks for no more than what is written here.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from sparsight.errors import UsageError

CA, SERVER = "ca", "server"
"""Names of the files that are no device's."""

DEVICE_DAYS = 90
"""How long a device's and the server's certificate is good for."""

CA_DAYS = 730
"""How long the authority is good for."""

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""What a server that only this machine calls is called by."""

SKEW = datetime.timedelta(hours=1)
"""Certificates begin this long before now: a device's clock may be behind."""

_FILE_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # 64 is X.509's limit of a common name


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key.

    Attributes:
        certificate: The certificate.
        key: Its private key, ECDSA on P-256.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, folder: Path, name: str) -> None:
        """Write `name`.crt and `name`.key, the latter for its owner's eyes only.

        Raises:
            UsageError: One of them is there already.
        """
        secret = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = self.certificate.public_bytes(serialization.Encoding.PEM)
        _write_new(folder / f"{name}.key", secret, 0o600)
        _write_new(folder / f"{name}.crt", public, 0o644)


def write_dev_pki(
    out: Path, devices: Sequence[str], hosts: Sequence[str] | None = None
) -> list[Path]:
    """Make what is missing of an authority, a server's certificate and some devices'.

    Args:
        out: The folder; made if it is missing.
        devices: Names of the devices to make certificates for.
        hosts: Names and addresses that devices call the server by; None is `LOOPBACK_HOSTS`.

    Returns:
        The certificates that were written.

    Raises:
        UsageError: A name that is no file's, a device that has a certificate already, hosts for a
            server that has one already, an authority that is damaged or has ended.
    """
    for name in devices:
        if not _FILE_SAFE.fullmatch(name) or name in (CA, SERVER):
            raise UsageError(
                f"--device {name!a}: expected up to 64 letters, digits, dots, dashes and "
                f"underscores, and neither {CA} nor {SERVER}"
            )
    wanted = list(dict.fromkeys(devices))
    there = [name for name in wanted if _has(out, name)]
    if hosts is not None and _has(out, SERVER):
        there.append(f"{SERVER} (--host)")
    if there:
        raise UsageError(
            f"{out}: {', '.join(there)}: there already; nothing is overwritten, remove the .crt "
            "and .key file to make new ones"
        )
    out.mkdir(parents=True, exist_ok=True)
    written = []
    if _has(out, CA):
        authority = read_issued(out, CA)
    else:
        authority = issue_authority()
        authority.write(out, CA)
        written.append(CA)
    if not _has(out, SERVER):
        issue_server(authority, LOOPBACK_HOSTS if hosts is None else hosts).write(out, SERVER)
        written.append(SERVER)
    for name in wanted:
        issue_device(authority, name).write(out, name)
        written.append(name)
    return [out / f"{name}.crt" for name in written]


def issue_authority(name: str = "sparsight development CA") -> Issued:
    """Make an authority that signs devices and servers, and no further authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _common_name(name)
    begin = _now() - SKEW
    certificate = (
        _builder(subject, subject, key, begin, begin + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issued(certificate, key)


def issue_server(authority: Issued, hosts: Iterable[str]) -> Issued:
    """Make a server's certificate, for the names and addresses it is called by."""
    return _issue(
        authority,
        "sparsight gateway",
        [_general_name(host) for host in hosts],
        ExtendedKeyUsageOID.SERVER_AUTH,
    )


def issue_device(
    authority: Issued,
    name: str,
    *,
    begin: datetime.datetime | None = None,
    days: float = DEVICE_DAYS,
) -> Issued:
    """Make a device's certificate.

    Args:
        authority: Signs it.
        name: The device's name, which becomes the common name.
        begin: Good from here on; None is a little before now.
        days: Good for so long.
    """
    alternative = [x509.DNSName(name)]
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH
    return _issue(authority, name, alternative, purpose, begin=begin, days=days)


def read_issued(folder: Path, name: str) -> Issued:
    """Read what `Issued.write` wrote.

    Raises:
        UsageError: The files are missing or damaged, or the certificate has ended.
    """
    files = folder / f"{name}.crt", folder / f"{name}.key"
    try:
        certificate = x509.load_pem_x509_certificate(files[0].read_bytes())
        key = serialization.load_pem_private_key(files[1].read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"{files[0]}: expected a certificate with its key beside it ({error}); "
            "remove both to make new ones"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UsageError(f"{files[1]}: expected a key on an elliptic curve")
    if certificate.not_valid_after_utc <= _now():
        raise UsageError(
            f"{files[0]}: ended on {certificate.not_valid_after_utc:%Y-%m-%d}; "
            "begin in a new folder"
        )
    return Issued(certificate, key)


def _issue(
    authority: Issued,
    name: str,
    alternative: Sequence[x509.GeneralName],
    purpose: ObjectIdentifier,
    *,
    begin: datetime.datetime | None = None,
    days: float = DEVICE_DAYS,
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    begin = begin or _now() - SKEW
    end = min(begin + datetime.timedelta(days=days), authority.certificate.not_valid_after_utc)
    issuer = authority.certificate.subject
    certificate = (
        _builder(_common_name(name), issuer, key, begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return Issued(certificate, key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise UsageError(f"--host {host!a}: expected an address or a name of DNS") from error


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _has(folder: Path, name: str) -> bool:
    return any((folder / f"{name}.{ending}").exists() for ending in ("crt", "key"))


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        # The mode is given at birth: between a write and a chmod the key would be anyone's.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise UsageError(f"{path}: there already; nothing is overwritten") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
