from __future__ import annotations

import math

import pytest

from sparsight.wire import Telemetry
from sparsight_edge.telemetry.track import GAP_S, NEAR_S, Track, known_only


def test_between_two_samples_on_the_line_and_the_shorter_way_round() -> None:
    track = Track()
    track.add(10, {"lat_deg": 48.0, "lon_deg": 179.999, "yaw_deg": 350, "alt_m": 100})
    track.add(11, {"lat_deg": 48.1, "lon_deg": -179.999, "yaw_deg": 10, "pitch_deg": -90})
    quarter = track.at(10.25)
    assert quarter is not None
    assert quarter.lat_deg == pytest.approx(48.025)
    assert quarter.lon_deg == pytest.approx(179.9995)
    assert quarter.yaw_deg == pytest.approx(-5)
    # Known by one of the two only: the nearer one's, if it knows.
    assert (quarter.alt_m, quarter.pitch_deg, quarter.roll_deg) == (100, None, None)
    late = track.at(10.75)
    assert late is not None and late.known() == pytest.approx(
        {"lat_deg": 48.075, "lon_deg": -179.9995, "yaw_deg": 5, "pitch_deg": -90}
    )
    first = track.at(10)
    assert first is not None and first.known() == pytest.approx(
        {"lat_deg": 48, "lon_deg": 179.999, "yaw_deg": -10, "alt_m": 100}
    )


def test_across_a_gap_and_past_the_ends_only_the_near_counts() -> None:
    track = Track()
    assert track.at(0) is None
    track.add(0, {"alt_m": 1})
    track.add(GAP_S + 1, {"alt_m": 2})
    assert track.at(NEAR_S) == Telemetry(alt_m=1)
    assert track.at(NEAR_S + 0.1) is None
    assert track.at(GAP_S + 1 - NEAR_S) == Telemetry(alt_m=2)
    assert track.at(GAP_S + 1 + NEAR_S) == Telemetry(alt_m=2)
    assert track.at(GAP_S + 1.1 + NEAR_S) is None and track.at(-NEAR_S - 0.1) is None


def test_samples_that_do_not_grow_are_left_out_and_old_ones_make_room() -> None:
    track = Track(100)
    assert track.add(5, {"alt_m": 1}) and not track.add(5, {"alt_m": 2})
    assert not track.add(math.nan, {"alt_m": 2}) and not track.add(math.inf, {"alt_m": 2})
    for i in range(1000):
        track.add(10 + i, {"alt_m": i})
        assert len(track) <= 100
    assert track.end_s == 1009 and track.at(1009) == Telemetry(alt_m=999)
    assert track.at(10) is None


def test_what_makes_no_sense_is_unknown() -> None:
    known = known_only({"lat_deg": 91, "lon_deg": 11, "alt_m": math.inf, "yaw_deg": math.nan})
    assert known == Telemetry(lon_deg=11)
    assert known_only({"lat_deg": 91}) is None
