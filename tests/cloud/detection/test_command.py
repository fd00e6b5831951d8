"""`sparsight detect` as it is typed, with a real detector of untrained weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from sparsight.bundle import WEIGHTS, write_bundle
from sparsight.cli import run
from sparsight.model.detector import Detector as RealDetector
from sparsight.model.detector import save_weights
from sparsight.model.network import Network
from sparsight.settings import DetectSettings, ModelSettings
from sparsight.slicer import SlicerSettings
from sparsight_cloud.commands.detect import detect
from sparsight_cloud.detection.run import Detector, FrameResult


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    settings = ModelSettings(neck_channels=8, classes=("pedestrian", "car"))
    network = Network(settings)
    network.fold()
    save_weights(network, folder / WEIGHTS)
    # Thresholds that noise reaches, so that there are patches and objects.
    slicer = SlicerSettings(threshold=0.05)
    settings_of_use = DetectSettings(long_side_px=256, mark=0.001, slicer=slicer)
    write_bundle(folder, settings, settings_of_use, name="untrained", card="")
    return folder


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        noise = random.integers(0, 256, (144, 192, 3), np.uint8)
        (tmp_path / "flight").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "flight" / name)
    return tmp_path / "flight"


def app() -> typer.Typer:
    out = typer.Typer()
    out.command("detect")(detect)
    return out


def sparsight_detect(flight: Path, bundle: Path, *more: str) -> int:
    arguments = [str(flight), "--out", str(flight.parent / "out"), "--bundle", str(bundle), *more]
    return run(app(), arguments)


def test_the_real_detector_answers_as_expected_of_one(bundle: Path) -> None:
    detector = RealDetector.from_bundle(bundle)
    assert isinstance(detector, Detector)
    (result,) = detector.detect([np.zeros((90, 120, 3), np.uint8)])
    assert isinstance(result, FrameResult)


def test_a_folder(flight: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sparsight_detect(flight, bundle, "--conf", "0.001") == 0
    out = flight.parent / "out"
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "b.jpg", "detections.json"]
    results = json.loads((out / "detections.json").read_text())
    assert results
    assert {one["category_name"] for one in results} <= {"pedestrian", "car"}
    for one in results:
        x, y, width, height = one["bbox"]
        assert -0.01 <= x <= x + width <= 192.01
        assert -0.01 <= y <= y + height <= 144.01
        assert 0.001 <= one["score"] <= 1
    assert "2 pictures" in capsys.readouterr().out


def test_options_reach_the_detector(
    flight: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (flight / "b.jpg").unlink()

    def picture(*more: str) -> dict[str, Any]:
        assert sparsight_detect(flight, bundle, "--json", *more) == 0
        (out,) = json.loads(capsys.readouterr().out)["pictures"]
        return dict(out)

    assert picture("--max-patches", "0", "--show-heat")["patches"] == 0
    assert picture("--mode", "dense")["occupancy"] == 1
    # A patch of 16x16 cells holds all of an input of 128x96 px; an object needs no high score.
    whole = picture("--long-side", "128", "--conf", "0.001", "--classes", "Car")
    assert (whole["patches"], whole["occupancy"]) == (1, 1.0)
    assert list(whole["objects_by_class"]) == ["car"]


def test_bad_files_among_good_ones(
    flight: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (flight / "c.jpg").write_text("no picture")
    (flight / "d.png").touch()
    (flight / "e.tif").write_bytes((flight / "a.png").read_bytes()[:2000])
    Image.new("L", (2000, 1000)).save(flight / "f.bmp")
    assert sparsight_detect(flight, bundle, "--max-pixels", "1000000") == 4
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert len(lines) == 4
    for line, name, reason in zip(
        lines, "cdef", ("not a picture", "empty", "truncated", "over the limit"), strict=True
    ):
        assert f"{flight / name}." in line
        assert reason in line
    assert "2 pictures, 4 failed" in said.out


def test_ap_beside_the_table(
    flight: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 192, "height": 144}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20]}],
        "categories": [{"id": 1, "name": "lorry"}],
    }
    path = flight.parent / "boxes.json"
    path.write_text(json.dumps(content))
    more = ["--annotations", str(path)]
    assert sparsight_detect(flight, bundle, *more, "--class-map", "car=lorry") == 0
    assert "lorry (detected as car)" in capsys.readouterr().out
    assert sparsight_detect(flight, bundle, *more) == 3
    assert "no class in common" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--classes", "tank"], 2, "this bundle knows pedestrian, car"),
        (["--mode", "dense", "--max-patches", "3"], 2, "dense mode has no patches"),
        (["--annotations", "nowhere.json"], 3, "nowhere.json"),
        (["--bundle", "nowhere"], 5, "nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    flight: Path,
    bundle: Path,
    more: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sparsight_detect(flight, bundle, *more) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (flight.parent / "out").exists()


def test_no_source(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sparsight_detect(tmp_path / "gone", bundle) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no picture found" in line
    assert str(tmp_path / "gone") in line


def test_help_names_the_options() -> None:
    shown = CliRunner().invoke(app(), ["--help"], terminal_width=200, env={"COLUMNS": "200"}).output
    for option in ("--out", "--conf", "--classes", "--max-patches", "--show-heat", "--json"):
        assert option in shown
