"""The subtitles that DJI's drones write beside a film: a block a frame, telemetry in its text.

    12
    00:00:00,366 --> 00:00:00,400
    [latitude: 48.1] [longitude: 11.5] [rel_alt: 9.1 abs_alt: 528.3] [gb_yaw: 3.1 gb_pitch: -90 ...]

Firmwares differ: `longtitude` is theirs, colons may be missing, older ones write
`GPS (lon, lat, n)` and `G.PRY (pitch, roll, yaw)`. Heights above the take-off, and those that do
not say above what (`altitude`, `H`, the third number of GPS), are left out: the wire's is above the
sea.
Latitude and longitude 0 mean that there was no fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sparsight.errors import UsageError
from sparsight_edge.telemetry.track import SAMPLES_MAX, Field, Track

SUFFIX = ".srt"

_LINE_CHARS = 4096
_TIME = re.compile(r"\s*(\d{1,3}):(\d\d):(\d\d)[,.](\d{1,3})\s*-->")
_NUMBER = r"([-+]?\d+(?:\.\d+)?)"
_NAMED = re.compile(
    rf"\b(latitude|longt?itude|abs_alt|gb_yaw|gb_pitch|gb_roll)\s*:?\s*{_NUMBER}", re.IGNORECASE
)
_GPS = re.compile(rf"\bGPS\s*\(\s*{_NUMBER}\s*,\s*{_NUMBER}", re.IGNORECASE)
_GIMBAL = re.compile(rf"\bG\.PRY\s*\(\s*{_NUMBER}°?\s*,\s*{_NUMBER}°?\s*,\s*{_NUMBER}")
_FIELDS: dict[str, Field] = {
    "latitude": "lat_deg",
    "longitude": "lon_deg",
    "longtitude": "lon_deg",
    "abs_alt": "alt_m",
    "gb_yaw": "yaw_deg",
    "gb_pitch": "pitch_deg",
    "gb_roll": "roll_deg",
}
_PRY: tuple[Field, ...] = ("pitch_deg", "roll_deg", "yaw_deg")


def subtitles_of(film: Path) -> Path | None:
    """The subtitles of a film: of the same name, in the same folder."""
    for suffix in (SUFFIX, SUFFIX.upper()):
        path = film.with_suffix(suffix)
        if path.is_file():
            return path
    return None


def read_srt(file: Path) -> Track:
    """Read a film's telemetry; a block's is that of its beginning.

    Returns:
        Seconds from the film's first frame; empty if these are subtitles of another kind.

    Raises:
        UsageError: The file can't be read.
    """
    track = Track()
    for time_s, text in _blocks(file):
        known = _known(text)
        if known:
            track.add(time_s, known)
        if len(track) >= SAMPLES_MAX:
            break
    return track


def _blocks(file: Path) -> Iterator[tuple[float, str]]:
    """Each block's beginning in seconds, and its text."""
    time_s, text = None, ""
    try:
        with file.open("rb") as head:
            wide = head.read(2) in (b"\xff\xfe", b"\xfe\xff")
        with file.open(encoding="utf-16" if wide else "utf-8-sig", errors="replace") as lines:
            while line := lines.readline(_LINE_CHARS):
                if match := _TIME.match(line):
                    if time_s is not None:
                        yield time_s, text
                    hours, minutes, seconds = (int(match[i]) for i in (1, 2, 3))
                    milliseconds = int(match[4].ljust(3, "0"))
                    time_s = hours * 3600 + minutes * 60 + seconds + milliseconds / 1e3
                    text = ""
                elif len(text) < _LINE_CHARS:
                    text += line
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{file}: can't be read as subtitles: {error}") from error
    if time_s is not None:
        yield time_s, text


def _known(text: str) -> dict[Field, float]:
    known: dict[Field, float] = {}
    for name, value in _NAMED.findall(text):
        known.setdefault(_FIELDS[name.lower()], float(value))
    if match := _GPS.search(text):
        known.setdefault("lon_deg", float(match[1]))
        known.setdefault("lat_deg", float(match[2]))
    if match := _GIMBAL.search(text):
        for field, value in zip(_PRY, match.groups(), strict=True):
            known.setdefault(field, float(value))
    if not (known.get("lat_deg") or known.get("lon_deg")):
        known.pop("lat_deg", None)
        known.pop("lon_deg", None)
    return known
