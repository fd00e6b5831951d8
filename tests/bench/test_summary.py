import pytest
from bench.peak import Peak
from bench.shots import Shot
from bench.summary import pick, rounded, rows, spread
from bench.variants import Answer

from sparsight.detections import Detections


def shot(ms: float, gflops: float, kept: float | None) -> Shot:
    times_ms = {"stem": ms / 2, "trunk": ms / 4}
    return Shot("frame", ms, Answer(Detections.empty(), gflops, times_ms, kept, kept))


DENSE = [shot(100, 20, 1.0), shot(200, 20, 1.0), shot(600, 20, 1.0)]
SPARSE = [shot(40, 6, 0.2), shot(60, 8, 0.4), shot(50, 10, 0.6)]


def test_figures_and_their_ratios_to_dense() -> None:
    peaks = {"dense": [Peak(1, 100, 80), Peak(1, 300, 240)], "sparse": [Peak(1, 50, 8)]}
    row = rows({"dense": DENSE, "sparse": SPARSE}, peaks)["sparse"]
    assert row["ms_mean"] == 50 and row["ms_mean_ratio"] == pytest.approx(50 / 300)
    assert row["ms_median"] == 50 and row["ms_median_ratio"] == 0.25
    assert row["gflops_ratio"] == pytest.approx(0.4)
    assert row["kept_area"] == pytest.approx(0.4)
    assert row["stages_ms"] == {"stem": 25, "trunk": 12.5} and row["model_ms"] == 37.5
    assert row["peak_bytes_ratio"] == 0.25
    assert row["peak_deep_bytes_ratio"] == pytest.approx(8 / 160)


def test_what_was_not_measured_is_none() -> None:
    row = rows({"dense": DENSE, "sahi": [shot(900, 70, None)]}, {})["sahi"]
    assert row["kept_area"] is None and row["peak_bytes_ratio"] is None


def test_frames_are_picked_in_every_way() -> None:
    lot = pick({"dense": DENSE, "sparse": SPARSE}, [2, 0])
    assert [one.ms for one in lot["dense"]] == [600, 100]
    assert [one.ms for one in lot["sparse"]] == [50, 40]


def test_spread_leaves_the_ends_out() -> None:
    assert spread(30, 3) == [5, 15, 25]
    assert spread(2, 5) == [0, 1]


def test_reports_keep_six_digits() -> None:
    assert rounded({"a": [1 / 3, 7, None], "b": "x"}) == {"a": [0.333333, 7, None], "b": "x"}
