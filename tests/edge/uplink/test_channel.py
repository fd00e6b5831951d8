import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme

from sparsight.errors import UsageError
from sparsight.wire import Hello
from sparsight_edge.spool.spool import Spool
from sparsight_edge.uplink.channel import Endpoint
from sparsight_edge.uplink.pacer import Pacer
from sparsight_edge.uplink.uplink import Uplink, UplinkSettings

from ..small.cloud import SmallCloud  # noqa: TID252


@dataclass
class Papers:
    """A CA, a server's credentials, and a device's files."""

    server: grpc.ServerCredentials
    ca: Path
    cert: Path
    key: Path


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return issue(tmp_path)


def issue(folder: Path) -> Papers:
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "gateway.example")
    device = authority.issue_cert(common_name="drone")
    folder.mkdir(exist_ok=True)
    ca, cert, key = folder / "ca.pem", folder / "drone.pem", folder / "drone.key"
    authority.cert_pem.write_to_path(ca)
    device.cert_chain_pems[0].write_to_path(cert)
    device.private_key_pem.write_to_path(key)
    credentials = grpc.ssl_server_credentials(
        [(server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())],
        authority.cert_pem.bytes(),
        require_client_auth=True,
    )
    return Papers(credentials, ca, cert, key)


def reach(folder: Path, endpoint: Endpoint, pacer: Pacer | None = None) -> tuple[str, str]:
    """Try for a while; how the link stood, and why."""
    spool = Spool(folder / "spool", "drone")
    hello = Hello("drone", spool.epoch, "ab" * 32, 1, ("front",))
    settings = UplinkSettings((0.1, 0.1))
    uplink = Uplink(endpoint, hello, spool, lambda answered: None, settings, pacer=pacer)
    uplink.start()
    end_s = time.monotonic() + 30
    while uplink.stats().state == "connecting" and time.monotonic() < end_s:
        time.sleep(0.01)
    stats = uplink.stats()
    uplink.stop()
    spool.close()
    return stats.state, stats.reason


both_ways = pytest.mark.parametrize("pacer", [None, Pacer(5000)], ids=["direct", "relayed"])


@both_ways
def test_both_sides_prove_who_they_are(papers: Papers, tmp_path: Path, pacer: Pacer | None) -> None:
    with SmallCloud(credentials=papers.server) as cloud:
        mine = Endpoint(cloud.address, papers.cert, papers.key, papers.ca)
        assert reach(tmp_path, mine, pacer) == ("up", "")
        named = Endpoint(cloud.address, papers.cert, papers.key, papers.ca, "gateway.example")
        assert reach(tmp_path, named, pacer) == ("up", "")
        other = Endpoint(cloud.address, papers.cert, papers.key, papers.ca, "elsewhere.example")
        assert reach(tmp_path, other, pacer)[0] == "waiting"


@both_ways
def test_a_stranger_is_not_let_in_and_not_believed(
    papers: Papers, tmp_path: Path, pacer: Pacer | None
) -> None:
    stranger = issue(tmp_path / "stranger")
    with SmallCloud(credentials=papers.server) as cloud:
        foreign = Endpoint(cloud.address, stranger.cert, stranger.key, papers.ca)
        assert reach(tmp_path, foreign, pacer)[0] == "waiting"
        deceived = Endpoint(cloud.address, papers.cert, papers.key, stranger.ca)
        state, reason = reach(tmp_path, deceived, pacer)
        assert state == "waiting" and reason.startswith("UNAVAILABLE")
        assert reach(tmp_path, Endpoint(cloud.address), pacer)[0] == "waiting"
        assert cloud.hellos == []


def test_files_that_do_not_fit_are_named(papers: Papers, tmp_path: Path) -> None:
    other = issue(tmp_path / "other")
    with pytest.raises(UsageError, match=r"drone\.pem and .*not a certificate and its key"):
        Endpoint("gw:1", papers.cert, other.key, papers.ca)
    with pytest.raises(UsageError, match=r"gone\.pem.*No such file"):
        Endpoint("gw:1", tmp_path / "gone.pem", papers.key, papers.ca)
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(UsageError, match=r"junk\.pem: not the certificate of a CA"):
        Endpoint("gw:1", papers.cert, papers.key, tmp_path / "junk.pem")
    with pytest.raises(UsageError, match="all three of --cert, --key and --ca"):
        Endpoint("gw:1", papers.cert, papers.key)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("localhost:99", "localhost", 99),
        ("[::1]:5", "::1", 5),
        ("127.9.9.9:80", "127.9.9.9", 80),
    ],
)
def test_without_tls_this_machine_only(address: str, host: str, port: int) -> None:
    endpoint = Endpoint(address)
    assert (endpoint.host, endpoint.port) == (host, port)


@pytest.mark.parametrize("address", ["10.0.0.1:1", "gateway.example:1", "[2001:db8::1]:5"])
def test_without_tls_no_other_machine(address: str) -> None:
    with pytest.raises(UsageError, match="without TLS only a cloud on this machine"):
        Endpoint(address)


@pytest.mark.parametrize(
    "address",
    ["", "localhost", ":5", "localhost:", "localhost:0", "localhost:65536", "::1:5", "a:b"],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError, match="cloud: expected HOST:PORT"):
        Endpoint(address)


def test_no_thread_is_left(papers: Papers, tmp_path: Path) -> None:
    with SmallCloud(credentials=papers.server) as cloud:
        reach(tmp_path, Endpoint(cloud.address, papers.cert, papers.key, papers.ca))
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if "uplink" in name]
