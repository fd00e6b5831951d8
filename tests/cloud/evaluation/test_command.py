"""`sparsight eval` as it is typed, with a real detector of untrained weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from sparsight.bundle import WEIGHTS, write_bundle
from sparsight.cli import run
from sparsight.model.detector import save_weights
from sparsight.model.network import Network
from sparsight.settings import DetectSettings, ModelSettings
from sparsight.slicer import SlicerSettings
from sparsight_cloud.commands.evaluate import evaluate

BOXES = [[20, 20, 30, 30], [200, 100, 40, 20], [10, 150, 12, 12]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    settings = ModelSettings(neck_channels=8, classes=("pedestrian", "car"))
    network = Network(settings)
    network.fold()
    save_weights(network, folder / WEIGHTS)
    # A threshold that noise reaches, so that there are patches.
    detect = DetectSettings(long_side_px=256, slicer=SlicerSettings(threshold=0.05))
    write_bundle(folder, settings, detect, name="untrained", card="")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(rng.integers(0, 256, (192, 256, 3), np.uint8)).save(tmp_path / name)
    content = {
        "images": [
            {"id": i, "file_name": name, "width": 256, "height": 192}
            for i, name in enumerate(("a.png", "b.png", "c.png"), start=1)
        ],
        "annotations": [
            {"id": 10 * i + k, "image_id": i, "category_id": 1 + k % 2, "bbox": box}
            for i in (1, 2, 3)
            for k, box in enumerate(BOXES)
        ],
        "categories": [{"id": 1, "name": "Car"}, {"id": 2, "name": "ship"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    return tmp_path


def sparsight_eval(data: Path, bundle: Path, *more: str) -> int:
    app = typer.Typer()
    app.command("eval")(evaluate)
    given = ["--data", data / "val.json", "--images", data, "--bundle", bundle]
    given += ["--out", data / "out" / "report.json"]
    return run(app, [*map(str, given), *more])


def test_both_modes_report_what_they_did(
    data: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sparsight_eval(data, bundle) == 0
    split = json.loads((data / "out" / "report.json").read_text())
    shown = capsys.readouterr().out
    assert "split mode, 3 frames, 6 boxes" in shown
    assert "report.json" in shown
    assert split["bundle"]["name"] == "untrained"
    assert len(split["bundle"]["id"]) == 64
    assert (split["images"], split["boxes_judged"]) == (3, 6)  # ships are not held against it
    assert (split["classes_judged"], split["classes_unknown"]) == (["Car"], ["ship"])
    assert 0 < split["occupancy"] <= 2
    assert set(split["times_ms"]) == {"device", "slicer", "trunk", "head", "merge"}
    assert sparsight_eval(data, bundle, "--mode", "dense", "--json") == 0
    dense = json.loads(capsys.readouterr().out)
    assert dense == json.loads((data / "out" / "report.json").read_text())
    assert dense["mode"] == "dense"
    assert (dense["bpr"], dense["occupancy"], dense["patches_per_frame"]) == (1.0, 1.0, 1.0)
    assert dense["gflops_per_frame"] == dense["gflops_dense"] == split["gflops_dense"]


def test_options_change_how_the_bundle_runs(data: Path, bundle: Path) -> None:
    options = "--long-side 128 --threshold 0.01 --max-patches 0 --no-sparse-head --limit 1"
    assert sparsight_eval(data, bundle, *options.split(), "--class-map", "pedestrian=ship") == 0
    report = json.loads((data / "out" / "report.json").read_text())
    settings = report["settings"]
    assert (settings["long_side_px"], settings["sparse_head"]) == (128, False)
    assert (settings["slicer"]["threshold"], settings["slicer"]["max_patches"]) == (0.01, 0)
    assert (report["images"], report["patches_per_frame"], report["bpr"]) == (1, 0.0, 0.0)
    assert (report["ap"], report["classes_unknown"]) == (0.0, [])


def test_a_damaged_picture_ends_with_code_4_after_the_rest(
    data: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (data / "b.png").read_bytes()
    (data / "b.png").write_bytes(whole[: len(whole) // 2])
    assert sparsight_eval(data, bundle) == 4
    assert "b.png" in capsys.readouterr().err
    report = json.loads((data / "out" / "report.json").read_text())
    assert report["images"] == 2
    assert [one["file_name"] for one in report["images_failed"]] == ["b.png"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--mode", "dense", "--max-patches", "3"], 2, "dense mode has no patches"),
        (["--class-map", "car"], 2, "such as van=car"),
        (["--class-map", "tank=Car"], 3, "no class 'tank'"),
        (["--data", "nowhere.json"], 3, "nowhere.json"),
        (["--bundle", "nowhere"], 5, "nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    data: Path,
    bundle: Path,
    more: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sparsight_eval(data, bundle, *more) == code
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (data / "out" / "report.json").exists()
