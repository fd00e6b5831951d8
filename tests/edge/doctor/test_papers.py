"""Certificates as trustme makes them, read without a library for it."""

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme

from sparsight.errors import UsageError
from sparsight_edge.doctor.identity import check_certificate, check_clock
from sparsight_edge.doctor.link import Skew
from sparsight_edge.doctor.papers import Paper, read_paper
from sparsight_edge.uplink.channel import Endpoint

NOW = datetime.now(timezone.utc)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def issue(authority: trustme.CA, folder: Path, days: tuple[float, float] = (-1, 90)) -> Endpoint:
    """A device called `drone`, with a certificate from one day to another."""
    begin, end = (NOW + timedelta(days=one) for one in days)
    device = authority.issue_cert(common_name="drone", not_before=begin, not_after=end)
    cert, key, ca = folder / "drone.pem", folder / "drone.key", folder / "ca.pem"
    device.cert_chain_pems[0].write_to_path(cert)
    device.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    authority.cert_pem.write_to_path(ca)
    return Endpoint("localhost:1", cert, key, ca)


def test_its_name_and_its_dates_to_the_second(authority: trustme.CA, tmp_path: Path) -> None:
    endpoint = issue(authority, tmp_path, (-30, -10))
    assert endpoint.cert is not None and endpoint.key is not None
    paper = read_paper(endpoint.cert, endpoint.key)
    assert paper.name == "drone"
    assert paper.begin_unix_s == int((NOW - timedelta(days=30)).timestamp())
    assert paper.end_unix_s == int((NOW - timedelta(days=10)).timestamp())
    assert paper.days_left() == pytest.approx(-10, abs=0.1)


def test_a_key_of_another_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    endpoint = issue(authority, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    stranger = issue(authority, other)
    assert endpoint.cert is not None and stranger.key is not None
    with pytest.raises(OSError, match="KEY_VALUES_MISMATCH"):
        read_paper(endpoint.cert, stranger.key)
    with pytest.raises(UsageError, match="not a certificate and its key"):
        Endpoint("localhost:1", endpoint.cert, stranger.key, endpoint.ca)


@pytest.mark.parametrize(
    ("days", "device", "verdict", "says"),
    [
        ((-1, 90), "drone", "ok", "for 'drone', good until"),
        ((-1, 90), "other", "fail", "this device is 'other'"),
        ((-1, 7.5), "drone", "warn", ", 7 days"),
        ((-9, -1), "drone", "fail", "ended on"),
        ((2, 9), "drone", "fail", "begins on"),
    ],
)
def test_a_certificate_is_held_to_the_clock_and_the_name(
    authority: trustme.CA,
    tmp_path: Path,
    days: tuple[float, float],
    device: str,
    verdict: str,
    says: str,
) -> None:
    finding, paper = check_certificate(issue(authority, tmp_path, days), device)
    assert paper is not None
    assert (finding.check, finding.verdict) == ("certificate", verdict) and says in finding.found
    assert bool(finding.do) == (verdict != "ok")


def test_a_key_that_others_may_read(authority: trustme.CA, tmp_path: Path) -> None:
    endpoint = issue(authority, tmp_path)
    assert endpoint.key is not None
    endpoint.key.chmod(0o644)
    finding, _ = check_certificate(endpoint, "drone")
    assert finding.verdict == "warn" and finding.do == f"chmod 600 {endpoint.key}"


def test_a_clock_that_no_certificate_fits() -> None:
    now = time.time()
    assert check_clock([Paper("gateway", now + 5e6, now + 9e6)], None).verdict == "fail"
    fine = check_clock([Paper("gateway", now - 5, now + 9e6)], None)
    assert fine.verdict in ("ok", "warn")
    assert "skew against the cloud is not known" in fine.found


@pytest.mark.parametrize(
    ("ahead_ms", "error_ms", "says", "wrong"),
    [
        (12.0, 20.0, "12 ms ahead of the cloud, to 20 ms", False),
        (-900.0, 20.0, "900 ms behind the cloud", False),
        (-2500.0, 20.0, "2500 ms behind the cloud", True),
        (2500.0, 3000.0, "2500 ms ahead of", False),
    ],
)
def test_a_clock_is_held_to_that_of_the_cloud(
    ahead_ms: float, error_ms: float, says: str, wrong: bool
) -> None:
    finding = check_clock([], Skew(ahead_ms, error_ms))
    assert says in finding.found
    assert ("or the cloud's" in finding.do) == wrong
    assert not wrong or finding.verdict == "warn"
