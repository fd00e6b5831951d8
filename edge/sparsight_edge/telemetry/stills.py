"""What a still says of where it was taken: EXIF's GPS, and the gimbal in DJI's XMP.

    JPEG, TIFF, ... ─ header ─> EXIF: latitude, longitude, height above the sea, direction
                             └> XMP:  GimbalYawDegree, GimbalPitchDegree, GimbalRollDegree

XMP is searched as text, not parsed: a hostile XML can do nothing. Where both tell the place, EXIF
counts. A header that is damaged says nothing; the picture may still be good.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from sparsight.pictures import FORMATS, no_size_guard
from sparsight.wire import Telemetry
from sparsight_edge.telemetry.track import Field, known_only

_GPS_IFD = 0x8825
_LAT_REF, _LAT, _LON_REF, _LON, _ALT_REF, _ALT = 1, 2, 3, 4, 5, 6
_DIRECTION_REF, _DIRECTION = 16, 17
_BELOW_SEA = (1, b"\x01")
_XMP_BYTES = 256 << 10
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\x00"
_DJI = re.compile(
    rb"drone-dji:(AbsoluteAltitude|GpsLatitude|GpsLongt?itude|Gimbal(?:Yaw|Pitch|Roll)Degree)"
    rb"(?:\s*=\s*[\"']|>)\s*([-+]?\d+(?:\.\d+)?)"
)
_FIELDS: dict[bytes, Field] = {
    b"AbsoluteAltitude": "alt_m",
    b"GpsLatitude": "lat_deg",
    b"GpsLongitude": "lon_deg",
    b"GpsLongtitude": "lon_deg",
    b"GimbalYawDegree": "yaw_deg",
    b"GimbalPitchDegree": "pitch_deg",
    b"GimbalRollDegree": "roll_deg",
}


def read_still(path: Path) -> Telemetry | None:
    """Where a picture was taken, from its header alone; None if it does not say."""
    try:
        with no_size_guard():
            image = Image.open(path, formats=FORMATS)
        with image:
            gps: Mapping[int, Any] = image.getexif().get_ifd(_GPS_IFD)
            dji = _xmp(_xmp_of(image))
            values = {**dji, **_gps(gps)}
            if "yaw_deg" in dji:
                values["yaw_deg"] = dji["yaw_deg"]  # of the view; EXIF's may be the drone's
    except Exception:  # over broken bytes a decoder raises almost anything
        return None
    if values.get("lat_deg") == 0 and values.get("lon_deg") == 0:
        del values["lat_deg"], values["lon_deg"]
    return known_only(values)


def _gps(gps: Mapping[int, Any]) -> dict[Field, float]:
    values: dict[Field, float] = {}
    if _LAT in gps and _LON in gps:
        values["lat_deg"] = _degrees(gps[_LAT], gps.get(_LAT_REF), "S")
        values["lon_deg"] = _degrees(gps[_LON], gps.get(_LON_REF), "W")
    if _ALT in gps:
        values["alt_m"] = float(gps[_ALT]) * (-1 if gps.get(_ALT_REF) in _BELOW_SEA else 1)
    # From true north only: the magnetic one is degrees off, and nobody says how many.
    if _DIRECTION in gps and gps.get(_DIRECTION_REF) == "T":
        values["yaw_deg"] = float(gps[_DIRECTION])
    return values


def _degrees(parts: Any, side: Any, negative: str) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    value = degrees + minutes / 60 + seconds / 3600
    return -value if side == negative else value


def _xmp_of(image: Image.Image) -> bytes:
    found = image.info.get("xmp")
    if found is None:  # where Pillow is old
        apps = (data for name, data in getattr(image, "applist", ()) if name == "APP1")
        found = next((data for data in apps if data.startswith(_XMP_HEAD)), b"")
    return bytes(found[:_XMP_BYTES]) if isinstance(found, bytes) else b""


def _xmp(data: bytes) -> dict[Field, float]:
    values: dict[Field, float] = {}
    for name, value in _DJI.findall(data):
        values.setdefault(_FIELDS[name], float(value))
    return values
