from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sparsight.wire import Telemetry
from sparsight_edge.telemetry.stills import read_still

BRIGHTON = Path(__file__).parents[4] / "shared" / "data" / "brighton"

NORTH_WEST = {1: "N", 2: (46.0, 50.0, 33.3855), 3: "W", 4: (91.0, 59.0, 40.4156)}
DJI = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description
 drone-dji:AbsoluteAltitude="+198.31" drone-dji:RelativeAltitude="+39.80"
 drone-dji:GimbalRollDegree="+0.00" drone-dji:GimbalYawDegree="+45.00"
 drone-dji:GimbalPitchDegree="-89.90" drone-dji:FlightYawDegree="+46.00">
</rdf:Description></rdf:RDF></x:xmpmeta>"""
ELEMENTS = """<x:xmpmeta><drone-dji:GpsLatitude>-33.5</drone-dji:GpsLatitude>
<drone-dji:GpsLongtitude>+151.25</drone-dji:GpsLongtitude></x:xmpmeta>"""


def save(path: Path, gps: dict[int, Any], xmp: str = "") -> Path:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update(gps)
    extra: dict[str, Any] = {"xmp": xmp.encode()} if xmp else {}
    Image.new("RGB", (8, 8)).save(path, exif=exif, **extra)
    return path


def test_place_and_gimbal(tmp_path: Path) -> None:
    found = read_still(save(tmp_path / "a.jpg", {**NORTH_WEST, 5: b"\x00", 6: 198.309}, DJI))
    assert found is not None
    assert found.known() == pytest.approx(
        {
            "lat_deg": 46.842607,
            "lon_deg": -91.99456,
            "alt_m": 198.309,
            "yaw_deg": 45,
            "pitch_deg": -89.9,
            "roll_deg": 0,
        },
        abs=1e-6,
    )


@pytest.mark.parametrize(
    ("gps", "xmp", "known"),
    [
        ({}, "", None),
        ({}, DJI, {"alt_m": 198.31, "yaw_deg": 45, "pitch_deg": -89.9, "roll_deg": 0}),
        ({}, ELEMENTS, {"lat_deg": -33.5, "lon_deg": 151.25}),
        ({5: b"\x01", 6: 12.5}, "", {"alt_m": -12.5}),
        (
            {1: "S", 2: (1.0, 30.0, 0.0), 3: "E", 4: (2.0, 0.0, 0.0)},
            "",
            {"lat_deg": -1.5, "lon_deg": 2},
        ),
        ({1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}, "", None),
        ({16: "T", 17: 271.0}, "", {"yaw_deg": 271}),
        ({16: "M", 17: 271.0}, "", None),
        (
            {16: "T", 17: 271.0},
            DJI.replace("Absolute", "No"),
            {"yaw_deg": 45, "pitch_deg": -89.9, "roll_deg": 0},
        ),
    ],
)
def test_what_is_said_and_what_not(
    tmp_path: Path, gps: dict[int, Any], xmp: str, known: dict[str, float] | None
) -> None:
    found = read_still(save(tmp_path / "a.jpg", gps, xmp))
    assert (found and found.known()) == (known and pytest.approx(known))


def test_what_is_broken_says_nothing(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", NORTH_WEST, DJI).read_bytes()
    for size in range(0, len(whole), 7):
        (tmp_path / "a.jpg").write_bytes(whole[:size])
        found = read_still(tmp_path / "a.jpg")
        assert found is None or isinstance(found, Telemetry)
    assert read_still(tmp_path / "gone.jpg") is None


@pytest.mark.skipif(not BRIGHTON.is_dir(), reason=f"the photographs are not in {BRIGHTON}")
def test_a_real_drone_s_photographs() -> None:
    found = [read_still(path) for path in sorted(BRIGHTON.glob("*.JPG"))]
    assert len(found) == 8
    for one in found:
        assert one is not None
        assert one.known().keys() == {
            *("lat_deg", "lon_deg", "alt_m", "yaw_deg", "pitch_deg", "roll_deg")
        }
        assert one.lat_deg == pytest.approx(46.843, abs=1e-3)
        assert one.lon_deg == pytest.approx(-91.994, abs=1e-3)
        assert one.pitch_deg == pytest.approx(-90, abs=0.2)
