from __future__ import annotations

from pathlib import Path

import pytest

from sparsight.wire import Telemetry
from sparsight_edge.telemetry.srt import read_srt, subtitles_of

# As the firmwares write them, with other places.
MAVIC_3 = """1
00:00:00,000 --> 00:00:00,033
<font size="28">FrameCnt: 1, DiffTime: 33ms
2026-06-01 12:00:00.000
[iso: 100] [shutter: 1/1000.0] [fnum: 2.8] [ev: 0] [ct: 5500] [color_md: default] [focal_len: 24.00]
[latitude: 48.100000] [longitude: -11.500000] [rel_alt: 9.100 abs_alt: 528.300]
[gb_yaw: -67.6 gb_pitch: -30.0 gb_roll: 0.5] </font>

2
00:00:00,033 --> 00:00:00,066
<font size="28">FrameCnt: 2, DiffTime: 33ms
[latitude: 48.100330] [longitude: -11.500000] [rel_alt: 9.100 abs_alt: 528.300] </font>
"""
MAVIC_2 = """1
00:00:00,000 --> 00:00:00,033
<font size="36">FrameCnt : 1, DiffTime : 33ms
2026-06-01 12:00:00,000,000
[iso : 110] [shutter : 1/200.0] [latitude : 48.1] [longtitude : 11.5] [altitude: 51.773998] </font>
"""
MINI = """1
00:00:00,000 --> 00:00:01,000
F/2.8, SS 206.14, ISO 150, EV 0, GPS (11.5000, 48.1000, 14), D 26.90m, H 6.00m, H.S 2.10m/s
"""
PHANTOM = """1
00:00:00,000 --> 00:00:01,000
HOME(11.4000,48.0000) 2026.06.01 12:00:00
GPS(11.5000,48.1000,16) BAROMETER:1.9
"""
MATRICE = """1
00:00:00,000 --> 00:00:01,000
GPS (11.5, 48.1, 21), D 80.5m, H 45.00m, F.PRY (1.0°, 2.0°, 3.0°), G.PRY (-90.0°, 0.5°, 12.0°)
"""


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (
            MAVIC_3,
            Telemetry(
                lat_deg=48.1, lon_deg=-11.5, alt_m=528.3, yaw_deg=-67.6, pitch_deg=-30, roll_deg=0.5
            ),
        ),
        (MAVIC_2, Telemetry(lat_deg=48.1, lon_deg=11.5)),
        (MINI, Telemetry(lat_deg=48.1, lon_deg=11.5)),
        (PHANTOM, Telemetry(lat_deg=48.1, lon_deg=11.5)),
        (
            MATRICE,
            Telemetry(lat_deg=48.1, lon_deg=11.5, yaw_deg=12, pitch_deg=-90, roll_deg=0.5),
        ),
        (PHANTOM.replace("GPS(11.5000,48.1000,16)", "GPS(0.0000,0.0000,0)"), None),
        ("1\n00:00:00,000 --> 00:00:02,000\nGood evening. Latitude is the theme tonight.\n", None),
        ("", None),
        ("no subtitles at all", None),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_each_firmware(tmp_path: Path, text: str, known: Telemetry | None, encoding: str) -> None:
    file = tmp_path / "a.SRT"
    file.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    found = read_srt(file).at(0.0)
    if known is None:
        assert found is None
    else:
        assert found is not None and found.known() == pytest.approx(known.known())


def test_blocks_are_joined_by_time(tmp_path: Path) -> None:
    file = tmp_path / "a.SRT"
    file.write_text(MAVIC_3)
    between = read_srt(file).at(0.0165)
    assert between is not None and between.lat_deg == pytest.approx(48.100165)


def test_damage_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    file.write_bytes(bytes(range(256)) * 100 + b"\n" + MAVIC_3.encode() + b"x" * 100_000)
    assert len(read_srt(file)) == 2


def test_subtitles_lie_beside_their_film(tmp_path: Path) -> None:
    assert subtitles_of(tmp_path / "a.MP4") is None
    (tmp_path / "a.SRT").write_text(MAVIC_3)
    assert subtitles_of(tmp_path / "a.MP4") == tmp_path / "a.SRT"
