"""Certificates: what they say, who gets in with them, and who does not."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from sparsight.errors import UsageError
from sparsight.wire import FrameStatus
from sparsight_cloud.serving.identity import (
    named_in_certificate,
    require_loopback,
    server_credentials,
    split_address,
)
from sparsight_cloud.serving.pki import (
    Issued,
    issue_authority,
    issue_device,
    issue_server,
    read_issued,
    write_dev_pki,
)
from sparsight_cloud.serving.up import Ready

from .devices import Device, a_hello, calling, detect, device_credentials, run_cloud
from .hashes import a_frame
from .test_gateway import lines_of

UTC = datetime.timezone.utc


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    write_dev_pki(tmp_path / "pki", ["drone-1", "drone-2"])
    return tmp_path / "pki"


def test_keys_are_for_their_owner_only(pki: Path) -> None:
    keys = sorted(pki.glob("*.key"))
    assert [key.stem for key in keys] == ["ca", "drone-1", "drone-2", "server"]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_certificates_say_what_they_are_for_and_how_long(pki: Path) -> None:
    now = datetime.datetime.now(UTC)
    for name, purpose in (
        ("drone-1", ExtendedKeyUsageOID.CLIENT_AUTH),
        ("server", ExtendedKeyUsageOID.SERVER_AUTH),
    ):
        certificate = read_issued(pki, name).certificate
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [purpose]
        assert certificate.not_valid_before_utc < now - datetime.timedelta(minutes=30)
        days = (certificate.not_valid_after_utc - now).days
        assert 80 <= days <= 100
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert not basic.ca
    authority = read_issued(pki, "ca").certificate
    basic = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert basic.ca and basic.path_length == 0


def test_the_server_is_called_by_its_hosts(tmp_path: Path) -> None:
    write_dev_pki(tmp_path, ["a"], ["cloud.example.org", "10.1.2.3"])
    names = (
        read_issued(tmp_path, "server")
        .certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["cloud.example.org"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["10.1.2.3"]


def test_devices_can_be_added_and_nothing_is_overwritten(pki: Path) -> None:
    before = {path.name: path.read_bytes() for path in pki.iterdir()}
    assert write_dev_pki(pki, ["drone-3", "drone-3"]) == [pki / "drone-3.crt"]
    assert {name: (pki / name).read_bytes() for name in before} == before
    for devices, hosts in ((["drone-4", "drone-1"], None), (["drone-4"], ["example.org"])):
        with pytest.raises(UsageError, match="there already"):
            write_dev_pki(pki, devices, hosts)
    assert not (pki / "drone-4.crt").exists()


@pytest.mark.parametrize("name", ["", "ca", "server", "a/b", "..", ".hidden", "a b", "x" * 65, "é"])
def test_names_that_are_no_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        write_dev_pki(tmp_path / "pki", [name])
    assert not (tmp_path / "pki").exists()


def test_hosts_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--host"):
        write_dev_pki(tmp_path, ["a"], ["münchen"])


def test_a_damaged_authority_is_said_so(pki: Path) -> None:
    (pki / "ca.crt").write_text("nonsense")
    with pytest.raises(UsageError, match=r"ca\.crt"):
        write_dev_pki(pki, ["drone-9"])


def test_a_certificate_lets_its_device_in(tmp_path: Path, pki: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address, pki) as channel:
            device = Device(channel)
            await device.greet()
            await device.send([a_frame(0)])
            assert (await detect(channel, a_frame(1))).status is FrameStatus.OK

    run_cloud(tmp_path / "out", do, pki=pki)


def test_a_device_cannot_speak_for_another(tmp_path: Path, pki: Path) -> None:
    async def do(ready: Ready) -> None:
        async with calling(ready.address, pki, "drone-2") as channel:
            device = Device(channel)
            await device.say(a_hello("drone-1"))
            assert await device.status() is grpc.StatusCode.PERMISSION_DENIED
            assert device.refusals[0].status.name == "WRONG_DEVICE"
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await detect(channel, a_frame(0, device="drone-1"))
            assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
            device = Device(channel)
            await device.greet(a_hello("drone-2"))
            await device.say(a_frame(0, device="drone-1"))
            await device.hear_answers(1)
            assert device.answers[0].status is FrameStatus.WRONG_DEVICE

    run_cloud(tmp_path / "out", do, pki=pki)
    assert lines_of(tmp_path / "out") == []


def expired(pki: Path) -> Issued:
    begin = datetime.datetime.now(UTC) - datetime.timedelta(days=20)
    return issue_device(read_issued(pki, "ca"), "drone-1", begin=begin, days=10)


def not_yet(pki: Path) -> Issued:
    begin = datetime.datetime.now(UTC) + datetime.timedelta(days=2)
    return issue_device(read_issued(pki, "ca"), "drone-1", begin=begin)


def foreign(_: Path) -> Issued:
    return issue_device(issue_authority(), "drone-1")


def self_signed(_: Path) -> Issued:
    return issue_authority("drone-1")


def servers(pki: Path) -> Issued:
    return issue_server(read_issued(pki, "ca"), ["drone-1"])


def signed_by_a_device(pki: Path) -> Issued:
    return issue_device(read_issued(pki, "drone-2"), "drone-1")


STRANGERS = {
    f.__name__: f for f in (expired, not_yet, foreign, self_signed, servers, signed_by_a_device)
}


@pytest.mark.parametrize("who", [*STRANGERS, "nobody", "plaintext"])
def test_others_do_not_get_in_and_the_cloud_goes_on(tmp_path: Path, pki: Path, who: str) -> None:
    if who in STRANGERS:
        STRANGERS[who](pki).write(pki, "stranger")

    async def do(ready: Ready) -> None:
        if who == "plaintext":
            channel = grpc.aio.insecure_channel(ready.address)
        else:
            name = None if who == "nobody" else "stranger"
            channel = grpc.aio.secure_channel(ready.address, device_credentials(pki, name))
        async with channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await detect(channel, a_frame(0))
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        async with calling(ready.address, pki) as good:
            assert (await detect(good, a_frame(1))).status is FrameStatus.OK

    run_cloud(tmp_path / "out", do, pki=pki)
    assert [row["seq"] for row in lines_of(tmp_path / "out")] == [1]


def test_a_cloud_of_another_authority_is_not_trusted(tmp_path: Path, pki: Path) -> None:
    write_dev_pki(tmp_path / "other", ["drone-1"])

    async def do(ready: Ready) -> None:
        async with calling(ready.address, tmp_path / "other") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await detect(channel, a_frame(0))
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE

    run_cloud(tmp_path / "out", do, pki=pki)


@pytest.mark.parametrize(
    ("names", "device"),
    [
        ([b"drone-1"], "drone-1"),
        ([], None),
        ([b"a", b"b"], None),
        ([b""], None),
        ([b"\xff"], None),
        ([b"a\nb"], None),
    ],
)
def test_the_name_in_a_certificate(names: list[bytes], device: str | None) -> None:
    assert named_in_certificate({"x509_common_name": names}) == device
    assert named_in_certificate({}) is None


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.9.9.9:7443", "[::1]:7443", "localhost:1"])
def test_loopback_is(address: str) -> None:
    require_loopback(address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:7443", "[::]:7443", "10.0.0.1:1", "example.org:1", "127.0.0.1.example.org:1"],
)
def test_without_certificates_only_this_machine_may_call(tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="--insecure"):
        run_cloud(tmp_path, lambda ready: pytest.fail("listens"), listen=address)


@pytest.mark.parametrize(
    "address", ["", "7443", ":7443", "host:", "host:http", "host:70000", "h:-1"]
)
def test_addresses_that_are_none_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        split_address(address)


def test_certificates_that_are_not_there_or_none_are_said_so(tmp_path: Path, pki: Path) -> None:
    with pytest.raises(UsageError, match="sparsight pki dev"):
        server_credentials(tmp_path)
    (pki / "server.key").write_text("")
    with pytest.raises(UsageError, match=r"server\.key"):
        server_credentials(pki)
