"""`sparsight bench rate` as it is typed, on three small pictures with a small bundle."""

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console
from tests.split import scene

from sparsight.cli import run
from sparsight_cloud.commands.bench import bench_app
from sparsight_cloud.rates import rows, shots, sweep, worker
from sparsight_cloud.rates.shots import Shot
from sparsight_cloud.rates.tables import rate_tables

TIMES = ("encode_ms", "device_ms", "cloud_ms", "date", "threads")


def write_set(folder: Path, frames: list[np.ndarray], boxes: list[int], name: str) -> None:
    """Pictures, and some boxes on each: those of its largest detections would be luck."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, (frame, count) in enumerate(zip(frames, boxes, strict=True), 1):
        file = f"cam{i:02}.png"
        Image.fromarray(frame).save(folder / file)
        height, width = frame.shape[:2]
        images.append({"id": i, "file_name": file, "width": width, "height": height})
        for _ in range(count):
            x, y = int(rng.integers(0, width - 64)), int(rng.integers(0, height - 64))
            box = [x, y, int(rng.integers(10, 60)), int(rng.integers(10, 60))]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i, "category_id": 1, "bbox": box}
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "red"}],
    }
    (folder / name).write_text(json.dumps(content))


@pytest.fixture(scope="module", autouse=True)
def few_qualities() -> Iterator[None]:
    """Of each codec, or one: a curve is a curve, and the whole of them is a minute's work."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WHOLE", "VIDEO"):
            few = {codec: (all_[0], all_[-2]) for codec, all_ in getattr(rows, name).items()}
            patch.setattr(rows, name, few)
        patch.setattr(rows, "CROPS", dict.fromkeys(rows.CROPS, (50,)))
        patch.setattr(rows, "ROI", (35, 80))
        patch.setattr(rows, "TUNED", {codec: all_[1:2] for codec, all_ in rows.TUNED.items()})
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rates")
    frames = [scene(1), scene(2, (100, 180)), scene(3, (288, 512))]
    write_set(folder / "set", frames, [30, 0, 40], "val.json")
    still = scene(7)
    moving = [np.roll(still, 3 * i, axis=1) for i in range(3)]
    write_set(folder / "sequence", moving, [20, 20, 20], "annotations.json")
    return folder


def bench(data: Path, bundle: Path, out: Path, *more: str) -> int:
    app = typer.Typer()
    app.add_typer(bench_app, name="bench")
    given = ["--data", data / "set" / "val.json", "--images", data / "set", "--bundle", bundle]
    given += ["--out", out, "--processes", 1]
    return run(app, ["bench", "rate", *map(str, given), *more])


def told(out: Path) -> dict[str, Any]:
    """The report but for times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: timeless(one) for name, one in value.items() if name not in TIMES}
        return [timeless(one) for one in value] if isinstance(value, list) else value

    out_: dict[str, Any] = timeless(json.loads(out.read_text()))
    return out_


@pytest.fixture(scope="module")
def whole(data: Path, split_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of everything."""
    out = tmp_path_factory.mktemp("whole") / "rate.json"
    more = ["--pixel-bundle", split_bundle, "--sequence", data / "sequence"]
    assert bench(data, split_bundle, out, *map(str, more)) == 0
    return out


def test_the_report_has_every_row_and_figure(whole: Path) -> None:
    report = json.loads(whole.read_text())
    assert report["missing"] == []
    assert (report["frames"], report["boxes"]) == (3, 70)
    families = {row["family"] for row in report["rows"]}
    assert families == {"whole", "crops", "roi", "raw", "ours"}
    named = {row["name"]: row for row in report["rows"]}
    assert len(named) == len(report["rows"]) == 6 + 8 + 6 + 4 + 2 + 5
    for row in named.values():
        assert 100 < row["bytes_per_frame"] < 1e6
        assert 0 <= row["ap"] <= row["ap50"] <= 1
        assert row["encode_ms"] >= 0
    best = named["jpeg 75"]
    assert set(best["by_detector"]) == {"dense", "split"}
    assert best["ap"] == max(one["ap"] for one in best["by_detector"].values())
    assert named["jpeg_tuned 75"]["bytes_per_frame"] == best["bytes_per_frame"]
    assert sum(named["crops_jpeg_halo0 50"]["layouts"].values()) == pytest.approx(1)
    kinds = {"jpeg", "webp", "avif", "h265", "crops", "roi", "raw", "ours_whole"}
    kinds |= {f"{name}_tuned" for name in ("jpeg", "avif", "h265", "roi")}
    assert set(report["at_equal_ap"]) == set(report["bd_rate"]) == kinds
    assert report["target_ap"] == pytest.approx(report["reference"]["split"]["ap"] - 0.005)
    assert 20 < report["no_patches"]["payload_bytes"] < report["no_patches"]["wire_bytes"] < 200
    assert report["empty"]["frames"] == 1
    assert report["empty"]["bytes_per_frame"]["ours 0"] > 0
    assert (report["crowded"]["frames"], report["crowded"]["boxes"]) == (1, 40)
    device = report["device_ms"]
    assert min(device["stem_ms"], device["analysis_ms"], device["coding_ms"]) > 0
    assert {"pillow", "av", "torch", "libavif"} <= set(report["versions"])
    assert len(report["bundle"]["id"]) == 64


def test_a_sequence_is_sent_as_video(whole: Path) -> None:
    sequence = json.loads(whole.read_text())["sequence"]
    assert (sequence["frames"], sequence["videos"], sequence["fps"]) == (3, 1, 2.0)
    names = [row["name"] for row in sequence["rows"]]
    assert names[:3] == ["ours 2", "ours 1", "ours 0"]
    assert len(names) == 3 + 4
    assert set(sequence["at_equal_ap"]) == {"h264_video", "h265_video"}


def test_pictures_are_drawn_beside_it(whole: Path) -> None:
    for suffix in (".svg", ".sequence.svg"):
        root = ElementTree.fromstring(whole.with_suffix(suffix).read_text())
        assert root.tag.endswith("svg")


def test_stopped_anywhere_it_goes_on_to_the_same_report(
    data: Path,
    split_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    only = ["--only", "ours,raw", "--only", "roi", "--limit", "2"]
    assert bench(data, split_bundle, tmp_path / "a.json", *only) == 0
    left = iter(range(15))

    def stopping(*arguments: Any) -> Shot:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return shots.shoot(*arguments)

    monkeypatch.setattr(worker, "shoot", stopping)
    assert bench(data, split_bundle, tmp_path / "b.json", *only) == 130
    assert "goes on from it" in capsys.readouterr().err
    assert not (tmp_path / "b.json").exists()
    monkeypatch.setattr(worker, "shoot", shots.shoot)
    assert bench(data, split_bundle, tmp_path / "b.json", *only) == 0
    assert told(tmp_path / "a.json") == told(tmp_path / "b.json")
    monkeypatch.setattr(sweep, "Worker", None)  # nothing is left for it
    assert bench(data, split_bundle, tmp_path / "b.json", *only) == 0
    first, again = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "bb")
    assert first["rows"] == again["rows"]
    assert "crops_jpeg_halo0 50" in again["missing"]


def test_tables_fit_a_terminal(whole: Path) -> None:
    console = Console(width=200, file=StringIO())
    console.print(*rate_tables(json.loads(whole.read_text())), sep="\n")
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    for word in ("crops_avif_halo32 50", "BD-rate of ours", "the most crowded", "h265_video"):
        assert word in shown


def test_a_changed_picture_is_measured_anew(data: Path, split_bundle: Path, tmp_path: Path) -> None:
    work = ["--work", str(tmp_path / "work"), "--only", "raw", "--limit", "1"]
    assert bench(data, split_bundle, tmp_path / "a.json", *work) == 0
    other = tmp_path / "other"
    write_set(other / "set", [scene(9)], [5], "val.json")
    assert bench(other, split_bundle, tmp_path / "b.json", *work) == 0
    a, b = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert a["rows"] != b["rows"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--only", "whole,jpeg"], 2, "--only: expected some of whole"),
        (["--sequence", "nowhere"], 3, "annotations.json"),
        (["--bundle", "nowhere"], 5, "nowhere"),
        (["--class-map", "red"], 2, "such as van=car"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    data: Path,
    split_bundle: Path,
    tmp_path: Path,
    more: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench(data, split_bundle, tmp_path / "rate.json", *more) == code
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_picture_of_another_size_is_named(
    data: Path, split_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "set", [scene(1)], [5], "val.json")
    Image.fromarray(scene(1)[:100]).save(tmp_path / "set" / "cam01.png")
    assert bench(tmp_path, split_bundle, tmp_path / "rate.json", "--only", "raw") == 4
    assert "annotated as 256x144" in capsys.readouterr().err
