"""Who this device is: its certificate, and the clock that certificates are judged by."""

from __future__ import annotations

import ctypes
import stat
import time
from datetime import datetime, timezone
from pathlib import Path

from sparsight_edge.doctor.finding import Finding
from sparsight_edge.doctor.link import Skew
from sparsight_edge.doctor.papers import Paper, read_paper
from sparsight_edge.uplink.channel import Endpoint

_SOON_DAYS = 14
_STA_UNSYNC = 0x40
_TIMEX_BYTES = 512  # struct timex has 208 on 64 bits
_OFF_MS = 1000.0


def check_certificate(endpoint: Endpoint, device: str) -> tuple[Finding, Paper | None]:
    """Read the device's certificate, and hold it to its name and the clock."""
    if endpoint.cert is None or endpoint.key is None:
        return Finding("certificate", "skip", "--insecure: none is needed on this machine"), None
    try:
        paper = read_paper(endpoint.cert, endpoint.key)
    except OSError as error:
        return Finding(
            "certificate", "fail", f"{endpoint.cert}: {error}", "get the device a new one"
        ), None
    days, file = paper.days_left(), endpoint.cert
    found = f"{file}: for {paper.name!r}, good until {_date(paper.end_unix_s)}, {days:.0f} days"
    if days <= 0:
        return Finding(
            "certificate",
            "fail",
            f"{file}: ended on {_date(paper.end_unix_s)}",
            ("get the device a new one, or set the clock"),
        ), paper
    if paper.begin_unix_s > time.time():
        return Finding(
            "certificate",
            "fail",
            f"{file}: begins on {_date(paper.begin_unix_s)}",
            ("set the clock, or wait"),
        ), paper
    if paper.name != device:
        return Finding(
            "certificate",
            "fail",
            f"{found}; but this device is {device!r}",
            "give the name in the certificate as --device",
        ), paper
    if days < _SOON_DAYS:
        return Finding(
            "certificate", "warn", found, "renew it; it is read at each connection"
        ), paper
    if _others_read(endpoint.key):
        return Finding(
            "certificate",
            "warn",
            f"{found}; others may read {endpoint.key}",
            f"chmod 600 {endpoint.key}",
        ), paper
    return Finding("certificate", "ok", found), paper


def check_clock(papers: list[Paper], skew: Skew | None) -> Finding:
    """Whether the clock is kept right, and fits the cloud's and the certificates' times.

    Args:
        papers: Certificates that are good now if the clock is right.
        skew: Against the cloud; None if that could not be asked.
    """
    now = datetime.now(timezone.utc)
    shown = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    for paper in papers:
        if not paper.begin_unix_s <= now.timestamp() <= paper.end_unix_s:
            return Finding(
                "clock",
                "fail",
                f"{shown} is outside the time of the certificate of {paper.name!r}, "
                f"{_date(paper.begin_unix_s)} to {_date(paper.end_unix_s)}",
                "set the clock (timedatectl set-ntp true), or renew the certificate",
            )
    apart = "skew against the cloud is not known"
    if skew is not None:
        side = "ahead of" if skew.ahead_ms > 0 else "behind"
        apart = f"{abs(skew.ahead_ms):.0f} ms {side} the cloud, to {skew.error_ms:.0f} ms"
        if abs(skew.ahead_ms) > skew.error_ms + _OFF_MS:
            return Finding(
                "clock",
                "warn",
                f"{shown}, {apart}",
                "set the clock: timedatectl set-ntp true; or the cloud's, if that one is wrong",
            )
    error_ms = _error_ms()
    if error_ms is None:
        return Finding(
            "clock",
            "warn",
            f"{shown}, nothing keeps it right; {apart}",
            "turn on NTP: timedatectl set-ntp true",
        )
    found = f"{shown}, kept right to {error_ms:.0f} ms at worst; {apart}"
    if error_ms > _OFF_MS:
        return Finding(
            "clock", "warn", found, "see why NTP is far off: timedatectl timesync-status"
        )
    return Finding("clock", "ok", found)


def _error_ms() -> float | None:
    """The kernel's bound on the clock's error; None if nobody disciplines the clock."""
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: only asks
    if ctypes.CDLL(None).adjtimex(buffer) < 0:
        return None
    # modes, offset, freq, maxerror, esterror, status; the first and the last are padded ints.
    _, _, _, max_error_us, _, status = (ctypes.c_long * 6).from_buffer(buffer)
    if status & _STA_UNSYNC:
        return None
    return max_error_us / 1e3


def _date(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, timezone.utc):%Y-%m-%d}"


def _others_read(key: Path) -> bool:
    return bool(key.stat().st_mode & stat.S_IROTH)
