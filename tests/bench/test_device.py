import json
from pathlib import Path

import pytest
from bench.device import OUTSIDE, main
from tests.edge.small.bundles import draw_pictures, write_small_bundle

from sparsight.errors import UsageError


def test_all_stages_of_all_frames_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_small_bundle(tmp_path / "bundle")
    draw_pictures(tmp_path / "in", 4)
    arguments = ["--bundle", str(tmp_path / "bundle"), "--frames", str(tmp_path / "in")]
    main([*arguments, "--rounds", "2", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["frames"], found["rounds"]) == (4, 2)
    cpu = found["cpu_ms_mean"]
    assert set(cpu) == {"capture", "engine", *OUTSIDE} and min(cpu.values()) > 0
    outside = sum(cpu[stage] for stage in OUTSIDE)
    assert found["outside_over_engine"] == pytest.approx(outside / cpu["engine"])
    assert [row["rate"] for row in found["codec"]] == [0, 1]
    for row in found["codec"]:
        assert 1 < row["coded_over_entropy"] < row["payload_over_entropy"]
    assert "outside / engine" in capsys.readouterr().out


def test_no_frame_is_said_so(tmp_path: Path) -> None:
    write_small_bundle(tmp_path / "bundle")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        main(["--bundle", str(tmp_path / "bundle"), "--frames", str(tmp_path / "gone")])
