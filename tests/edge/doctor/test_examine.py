"""The doctor before real disks, cameras and gateways, well and unwell ones."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import trustme
from typer.testing import CliRunner

from sparsight.wire import Refusal, RefusalStatus
from sparsight_edge.cli import edge_app
from sparsight_edge.doctor.camera import check_camera
from sparsight_edge.doctor.compute import check_model
from sparsight_edge.doctor.disk import check_disk, is_in_use
from sparsight_edge.doctor.finding import Finding
from sparsight_edge.doctor.link import check_cloud, check_link
from sparsight_edge.doctor.papers import Paper
from sparsight_edge.model import EdgeModel
from sparsight_edge.settings import ModelGroup, SourceGroup
from sparsight_edge.spool.spool import Spool
from sparsight_edge.uplink.channel import Endpoint

from ..capture.servers import CameraServer  # noqa: TID252
from ..small.bundles import draw_pictures, write_small_bundle  # noqa: TID252
from ..small.cloud import Rules, SmallCloud  # noqa: TID252
from .test_papers import issue


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_small_bundle(folder)
    return folder


@pytest.fixture
def cloud(authority: trustme.CA) -> Iterator[SmallCloud]:
    mine = authority.issue_cert("127.0.0.1", "gateway.example")
    credentials = grpc.ssl_server_credentials(
        [(mine.private_key_pem.bytes(), mine.cert_chain_pems[0].bytes())],
        authority.cert_pem.bytes(),
        require_client_auth=True,
    )
    with SmallCloud(Rules(), credentials) as cloud:
        yield cloud


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def endpoint(authority: trustme.CA, cloud: SmallCloud, tmp_path: Path) -> Endpoint:
    return replace(issue(authority, tmp_path), address=cloud.address)


def judged(endpoint: Endpoint) -> Finding:
    *_, last = check_link(endpoint)
    assert isinstance(last, Finding)
    return last


def test_a_link_that_is_well(endpoint: Endpoint) -> None:
    paper, finding = check_link(endpoint)
    assert isinstance(paper, Paper) and paper.days_left() > 1
    assert isinstance(finding, Finding) and finding.verdict == "ok", finding
    assert "TCP in" in finding.found and "TLSv1.3 in" in finding.found
    welcome, skew = check_cloud(endpoint, "drone", "ab" * 32, 1)
    assert welcome.verdict == "ok"
    assert skew is not None and abs(skew.ahead_ms) <= skew.error_ms + 5


def test_a_cloud_with_another_time_and_one_that_keeps_it_to_itself(
    cloud: SmallCloud, endpoint: Endpoint
) -> None:
    cloud.rules.ahead_s = 3600.0
    _, skew = check_cloud(endpoint, "drone", "ab" * 32, 1)
    assert skew is not None and abs(skew.ahead_ms + 3600e3) <= skew.error_ms + 5
    cloud.rules.ahead_s = None
    welcome, skew = check_cloud(endpoint, "drone", "ab" * 32, 1)
    assert (welcome.verdict, skew) == ("ok", None)


def test_a_cloud_that_is_not_who_it_should_be(endpoint: Endpoint) -> None:
    other = judged(replace(endpoint, server_name="elsewhere.example"))
    assert other.verdict == "fail" and "Hostname mismatch" in other.found
    assert judged(replace(endpoint, server_name="gateway.example")).verdict == "ok"


def test_nobody_is_there_or_somebody_else(endpoint: Endpoint) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = judged(replace(endpoint, address=f"127.0.0.1:{free.getsockname()[1]}"))
    assert gone.verdict == "fail" and "Connection refused" in gone.found and gone.do
    with SmallCloud() as plain:
        finding = judged(replace(endpoint, address=plain.address))
    assert finding.verdict == "fail" and finding.do


@pytest.mark.parametrize(
    ("status", "do"),
    [
        (RefusalStatus.UNKNOWN_BUNDLE, "cloud up --bundle"),
        (RefusalStatus.WRONG_DEVICE, "--device"),
        (RefusalStatus.GOING_AWAY, "log of the gateway"),
    ],
)
def test_a_refusal_says_what_to_do(
    cloud: SmallCloud, endpoint: Endpoint, status: RefusalStatus, do: str
) -> None:
    cloud.rules.refusal = Refusal(status, "not so")
    finding, skew = check_cloud(endpoint, "drone", "ab" * 32, 1)
    assert skew is None
    assert (finding.verdict, finding.found) == ("fail", f"{status.name}: not so")
    assert do in finding.do


def test_a_disk(tmp_path: Path) -> None:
    well = check_disk(tmp_path / "not" / "yet", 1_000_000)
    assert well.verdict in ("ok", "warn") and "1 MB synced in" in well.found
    assert not (tmp_path / "not").exists()
    assert check_disk(tmp_path, 10**18).do == "free some, or lower --spool-mb to what there is"
    (tmp_path / "file").touch()
    assert check_disk(tmp_path / "file" / "spool", 1).verdict == "fail"


def test_a_spool_that_an_agent_runs_on(tmp_path: Path) -> None:
    assert not is_in_use(tmp_path)
    spool = Spool(tmp_path, "drone")
    assert is_in_use(tmp_path)
    spool.close()
    assert not is_in_use(tmp_path)


def test_sources_of_files(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", 2)
    assert "256x144 after" in check_camera(SourceGroup(uri=str(tmp_path / "in"))).found
    (tmp_path / "in" / "0000.png").write_bytes(b"")
    half = check_camera(SourceGroup(uri=str(tmp_path / "in")))
    assert half.verdict == "warn" and "0000.png" in half.found
    assert check_camera(SourceGroup(uri="gone")).verdict == "fail"
    assert check_camera(SourceGroup(uri="-?size=8x8")).verdict == "skip"
    assert check_camera(SourceGroup()).verdict == "skip"


def test_a_camera_that_is_there_and_one_that_is_not() -> None:
    with CameraServer("mjpeg") as camera:
        address = f"http://joe:secret@127.0.0.1:{camera.port}/"
        well = check_camera(SourceGroup(uri=address))
        assert well.verdict == "ok", well
        assert "frames a second" in well.found and "secret" not in well.found
        camera.kill()
        gone = check_camera(SourceGroup(uri=address, camera_timeout_s=1))
    assert gone.verdict == "fail" and "no frame in 1." in gone.found and "secret" not in gone.found


def test_a_bundle(bundle: Path, tmp_path: Path) -> None:
    whole, engine, model = check_model(ModelGroup(bundle=bundle))
    assert isinstance(whole, Finding) and whole.verdict == "ok"
    assert isinstance(engine, Finding) and "OnnxEngine, 256x160 in" in engine.found
    assert isinstance(model, EdgeModel)
    (lost,) = check_model(ModelGroup(bundle=tmp_path))
    assert isinstance(lost, Finding) and (lost.check, lost.verdict) == ("bundle", "fail")
    _, wrong = check_model(ModelGroup(bundle=bundle, rate=9))
    assert isinstance(wrong, Finding) and (wrong.check, wrong.verdict) == ("engine", "fail")


def test_the_command(bundle: Path, endpoint: Endpoint, tmp_path: Path, cloud: SmallCloud) -> None:
    draw_pictures(tmp_path / "in", 1)
    options = [
        *("doctor", "--source", tmp_path / "in", "--bundle", bundle, "--cloud", endpoint.address),
        *("--device", "drone", "--cert", endpoint.cert, "--key", endpoint.key),
        *("--ca", endpoint.ca, "--spool", tmp_path / "spool", "--spool-mb", 1),
    ]
    words = [str(option) for option in options]
    done = CliRunner().invoke(edge_app, [*words, "--json"])
    said = {one["check"]: one for one in json.loads(done.stdout)}
    assert list(said) == [
        *("bundle", "engine", "camera", "disk", "certificate", "link", "cloud", "clock"),
    ]
    assert done.exit_code == 0, done.stdout
    assert len(cloud.hellos) == 1 and not cloud.arrivals

    spool = Spool(tmp_path / "spool", "drone")  # as of an agent that runs
    done = CliRunner().invoke(edge_app, words, env={"COLUMNS": "300"})
    spool.close()
    assert done.exit_code == 0 and "stream is not interrupted" in done.stdout
    assert len(cloud.hellos) == 1

    done = CliRunner().invoke(edge_app, [*words, "--device", "other"], env={"COLUMNS": "300"})
    assert done.exit_code == 10
    assert "-> give the name in the certificate as --device" in done.stdout
