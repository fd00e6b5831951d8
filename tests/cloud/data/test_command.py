"""`sparsight data`: what it prints, writes and ends with."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sparsight.errors import DataError, UsageError
from sparsight_cloud.commands.data import data_app
from sparsight_cloud.data.coco import read_coco


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(data_app, [str(a) for a in arguments], env={"COLUMNS": "200"})


def test_convert_to_coco(visdrone_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "val.json"
    images = visdrone_set / "images"
    options = ("--from", "visdrone", "--to", "coco", "--images", images, "--out", out)
    result = run("convert", visdrone_set, *options)
    assert result.exit_code == 0, result.output
    assert "2 pictures, 3 boxes of 10 classes, 4 ignore regions" in result.stdout
    assert read_coco(out, images).boxes == 3
    again = run("convert", visdrone_set, *options)
    assert isinstance(again.exception, UsageError)
    assert "nothing is overwritten" in str(again.exception)


def test_convert_to_yolo_and_back(coco_set: tuple[Path, Path], tmp_path: Path) -> None:
    path, images = coco_set
    folder, back = tmp_path / "yolo", tmp_path / "back.json"
    there = ("--from", "coco", "--to", "yolo", "--images", images, "--out", folder)
    assert run("convert", path, *there).exit_code == 0
    home = ("--from", "yolo", "--to", "coco", "--images", folder / "images", "--out", back)
    result = run("convert", folder / "data.yaml", *home, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["out"] == str(back)
    assert told["summary"]["boxes"] == 3
    assert told["summary"]["ignore_regions"] == 3
    assert read_coco(back, images).category_ids == (4, 9)


def test_nothing_is_written_of_a_set_with_problems(visdrone_set: Path, tmp_path: Path) -> None:
    labels = visdrone_set / "annotations/0000364_01765_d_0000782.txt"
    labels.write_text("1,2,3,4,1,1,0\n")
    out = tmp_path / "val.json"
    images = visdrone_set / "images"
    options = ("--from", "visdrone", "--to", "coco", "--images", images, "--out", out)
    result = run("convert", visdrone_set, *options)
    assert result.exit_code == DataError.exit_code
    assert f"{visdrone_set}: 1 problem:\n  {labels}:1: expected 8 numbers" in result.stderr
    assert not out.exists()
    told = json.loads(run("convert", visdrone_set, *options, "--json").stdout)
    assert told["problem_count"] == 1
    assert told["problems"][0]["where"] == f"{labels}:1"


def test_uavdt_split(uavdt_set: Path, tmp_path: Path) -> None:
    options = ("--from", "uavdt", "--to", "coco", "--images", uavdt_set / "UAV-benchmark-M")
    result = run("convert", uavdt_set, *options, "--out", tmp_path / "o.json", "--split", "train")
    assert result.exit_code == 0, result.output
    assert "2 pictures, 3 boxes of 3 classes" in result.stdout


def test_notes_are_told(tinyperson_set: tuple[Path, Path], tmp_path: Path) -> None:
    path, images = tinyperson_set
    options = ("--from", "tinyperson", "--to", "coco", "--images", images)
    result = run("convert", path, *options, "--out", tmp_path / "o.json")
    assert result.exit_code == 0, result.output
    assert "note: 1 dense pictures left out" in result.stderr


@pytest.mark.parametrize(
    ("to", "out", "what"),
    [("coco", "val.txt", "a .json file"), ("yolo", "images", "there already")],
)
def test_out_must_be_free(coco_set: tuple[Path, Path], to: str, out: str, what: str) -> None:
    path, images = coco_set
    options = ("--from", "coco", "--to", to, "--images", images, "--out", path.parent / out)
    result = run("convert", path, *options)
    assert isinstance(result.exception, UsageError)
    assert what in str(result.exception)


def test_check_shows_figures(coco_set: tuple[Path, Path]) -> None:
    path, images = coco_set
    result = run("check", path, "--images", images)
    assert result.exit_code == 0, result.output
    rows = [" ".join(line.replace("│", " ").split()) for line in result.stdout.splitlines()]
    assert "pictures 2, 0 without boxes" in rows
    assert "ignore regions 3 in 1 pictures" in rows
    assert "tiny, 0 to 16 px 2 66.7%" in rows
    assert "bus 9 1 33.3% 1" in rows
    assert rows[-1] == "no problems"


def test_check_shows_problems_and_figures(
    coco_set: tuple[Path, Path], coco_raw: dict[str, Any]
) -> None:
    path, images = coco_set
    coco_raw["annotations"][0]["category_id"] = 77
    coco_raw["images"][0]["width"] = 170
    path.write_text(json.dumps(coco_raw))
    result = run("check", path, "--images", images)
    assert result.exit_code == DataError.exit_code
    assert "data set" in result.stdout
    assert "2 problems:" in result.stderr
    assert "annotations, id 1: expected one of the category ids [4, 9], got 77" in result.stderr
    assert "b.jpg: expected 170x90 as annotated, the picture has 160x90" in result.stderr
    told = run("check", path, "--images", images, "--json")
    assert told.exit_code == DataError.exit_code
    assert json.loads(told.stdout)["problem_count"] == 2


def test_help_has_examples() -> None:
    for command in ("convert", "check"):
        result = run(command, "--help")
        assert result.exit_code == 0
        assert f"sparsight data {command} " in result.stdout
