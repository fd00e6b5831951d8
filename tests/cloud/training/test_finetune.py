"""Fine-tuning as a person does it: one command, a bundle in two halves, a page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from sparsight.bundle import open_bundle
from sparsight.cli import run
from sparsight.errors import DataError
from sparsight_cloud.commands.finetune import PAGE, finetune
from sparsight_cloud.data.coco import read_coco
from sparsight_cloud.training.config import load_config
from sparsight_cloud.training.finetune import TRAIN, VAL, apart, held_out

from .scenes import draw_set


def typed(*arguments: str) -> int:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(finetune)
    return run(app, arguments)


def test_a_bundle_is_tuned_and_told_about(
    tmp_path: Path, split_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = draw_set(tmp_path / "set", pictures=10), tmp_path / "tuned"
    command = (
        str(data / "squares.json"),
        *("--images", str(data / "images"), "--out", str(out), "--bundle", str(split_bundle)),
        *("--device", "cpu", "--batch", "1", "--steps", "5", "--json"),
    )
    assert typed(*command) == 0
    told = json.loads(capsys.readouterr().out)
    bundle = open_bundle(out / "bundle")
    given = open_bundle(split_bundle)
    assert bundle.manifest.classes == ("red", "blue")
    assert len(bundle.manifest.rates) == len(given.manifest.rates)
    assert bundle.manifest.detect_settings().slicer == given.manifest.detect_settings().slicer
    # What a device is told to send, judged: not the detector alone.
    assert told["rate"] == bundle.manifest.default_rate
    judged = json.loads((out / "report.json").read_text())[str(told["rate"])]
    assert told["payload_bytes_per_frame"] == pytest.approx(judged["payload_bytes_per_frame"])
    assert told["payload_bytes_per_frame"] > 0
    assert told["ap"] == pytest.approx(judged["ap"], abs=1e-4)
    assert "<svg" in (out / PAGE).read_text()
    assert len(read_coco(out / VAL, data / "images").images) == 1
    assert len(read_coco(out / TRAIN, data / "images").images) == 9
    first, second = (load_config(out / f"{name}.yaml") for name in ("detector", "codec"))
    assert (first.steps, second.steps, second.stage) == (3, 2, "joint")
    assert second.out == out


def test_the_same_pictures_are_held_out_each_time(tmp_path: Path) -> None:
    data = draw_set(tmp_path / "set", pictures=20)
    dataset = read_coco(data / "squares.json", data / "images")
    train, val = held_out(dataset, 0.2)
    assert (len(train.images), len(val.images)) == (16, 4)
    names = {image.file_name for image in val.images}
    assert not names & {image.file_name for image in train.images}
    turned = replace(dataset, images=dataset.images[::-1])
    assert {image.file_name for image in held_out(turned, 0.2)[1].images} == names
    with pytest.raises(DataError, match="too few to hold some out; name others by --val"):
        held_out(replace(dataset, images=dataset.images[:1]), 0.1)


def test_what_cannot_be_asked_for_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    common = ["a.json", "--images", "b", "--out", "c"]
    for more, told in (
        (["--storage", "s3://a/b"], "are for --workers"),
        (["--val-images", "d"], "--val-images is for --val"),
    ):
        assert typed(*common, *more) == 2
        assert told in capsys.readouterr().err


def test_no_picture_is_trained_and_judged_on(tmp_path: Path) -> None:
    data = draw_set(tmp_path / "set", pictures=5)
    dataset = read_coco(data / "squares.json", data / "images")
    val = replace(dataset, images=dataset.images[1:3])
    assert apart(dataset, val).images == (dataset.images[0], *dataset.images[3:])
    with pytest.raises(
        DataError, match="boxes to train on outside the pictures to judge on, got none of 20"
    ):
        apart(dataset, dataset)


def test_names_need_not_be_unicode(tmp_path: Path) -> None:
    data = draw_set(tmp_path / "set", pictures=4)
    dataset = read_coco(data / "squares.json", data / "images")
    odd = tuple(replace(image, file_name=f"\udcff{image.file_name}") for image in dataset.images)
    assert len(held_out(replace(dataset, images=odd), 0.25)[1].images) == 1


def test_what_would_fail_after_hours_is_told_before(
    tmp_path: Path, split_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = draw_set(tmp_path / "set", pictures=4)
    raw = json.loads((data / "squares.json").read_text())
    (data / "none.json").write_text(json.dumps({**raw, "annotations": []}))
    cows = [{"id": 1, "name": "cow"}, {"id": 2, "name": "pig"}]
    (data / "cows.json").write_text(json.dumps({**raw, "categories": cows}))
    common = (
        *(str(data / "squares.json"), "--images", str(data / "images")),
        *("--out", str(tmp_path / "out"), "--bundle", str(split_bundle), "--batch", "1"),
    )
    assert typed(str(data / "none.json"), "--val", *common) == DataError.exit_code
    printed = capsys.readouterr().err
    assert "note: " in printed
    assert "4 of 4 pictures have no objects" in printed
    assert "expected boxes to train on" in printed
    for more, told in (
        (("--val", str(data / "none.json")), "expected objects of the classes red, blue"),
        (("--val", str(data / "cows.json")), "no class in common"),
        (("--workers", "3"), "batch: expected a multiple of processes (3), got 1"),
    ):
        assert typed(*common, *more) not in (0, 1)
        assert told in capsys.readouterr().err
