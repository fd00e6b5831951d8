from pathlib import Path

import pytest
import yaml

from sparsight.errors import TrainingError
from sparsight_cloud.training.config import find_config, load_config

GOOD = {"data": {"annotations": "a.json", "images": "pics"}, "minutes": 5}


def written(tmp_path: Path, raw: object) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def test_paths_are_relative_to_the_file_and_defaults_fill_the_rest(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, {**GOOD, "model": {"pretrained": "w.safetensors"}}))
    assert config.data.annotations == tmp_path / "a.json"
    assert config.model.pretrained == tmp_path / "w.safetensors"
    assert config.out == tmp_path / "runs/default"
    assert load_config(written(tmp_path, GOOD)).model.pretrained == "efficientnet-lite0"


def test_changes_replace_the_files_values_and_steps_take_minutes_out(tmp_path: Path) -> None:
    changes = {"steps": 7, "out": Path("/elsewhere")}
    config = load_config(written(tmp_path, GOOD), base=Path("/data"), changes=changes)
    assert (config.steps, config.minutes, config.out) == (7, None, Path("/elsewhere"))
    assert config.data.images == Path("/data/pics")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"steps": 10}, ["`minutes` or `steps`", "got both"]),
        ({"minutes": None}, ["`minutes` or `steps`", "got neither"]),
        ({"minutes": -1}, ["minutes", "greater than 0", "got -1"]),
        ({"optimizer": {}}, ["optimizer: no such key, did you mean optimiser"]),
        ({"crop": {"side_pixels": 512}}, ["crop.side_pixels: no such key", "side_px"]),
        ({"crop": {"side_px": 500}}, ["crop.side_px", "multiple of 32", "got 500"]),
        ({"crop": {"scale": [2, 1]}}, ["crop.scale", "low <= high", "got (2.0, 1.0)"]),
        ({"patches": {"cells": [10]}}, ["patches.cells", "multiples of 4", "got (10,)"]),
        ({"batch": 3}, ["batch", "multiple of processes (2)", "got 3"]),
        ({"model": {"learn": "cloud"}}, ["model.start", "expected a bundle", "got none"]),
        ({"seeker_loss": "mse"}, ["seeker_loss", "'bce' or 'focal_dice'", "got 'mse'"]),
        ({"data": {"annotations": "a.json"}}, ["data.images", "missing"]),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected(
    tmp_path: Path, change: dict[str, object], told: list[str]
) -> None:
    file = written(tmp_path, {**GOOD, **change})
    with pytest.raises(TrainingError) as error:
        load_config(file)
    assert str(error.value).startswith(f"{file}: ")
    for part in told:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"a: [", "no valid YAML"), (b"- 1", "got list"), (b"\xff\xfe\x00", "can't read")],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(TrainingError, match=told):
        load_config(file)


def test_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"coco.* recipes tinyperson, uavdt, visdrone"):
        find_config("coco")
    with pytest.raises(TrainingError, match=r"nowhere\.yaml: can't read"):
        load_config(find_config("nowhere.yaml")[0])
