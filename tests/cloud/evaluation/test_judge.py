import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sparsight.detections import Detections
from sparsight.errors import PictureError, UsageError
from sparsight.settings import DetectSettings
from sparsight_cloud.evaluation.judge import adjusted, judge
from sparsight_cloud.evaluation.report import require_writable, run_stamp, write_report
from sparsight_cloud.evaluation.tables import class_table, main_table

from .samples import FakeDetector, boxes, dataset_of, drawn, found, labels

PROMISED = [
    "ap",
    "ap50",
    "ap75",
    "ap_tiny",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar500",
    "bpr",
    "occupancy",
    "patches_per_frame",
    "gflops_per_frame",
    "gflops_dense",
    "ms_per_frame",
    "images",
    "kept_area",
    "per_class",
    "mode",
    "settings",
    "bundle",
    "versions",
    "commit",
    "date",
    "cpu",
    "threads",
    "boxes_judged",
    "classes_judged",
]
BUNDLE = {"bundle": {"name": "fake", "id": "0" * 64}}


def silent() -> Console:
    return Console(file=io.StringIO(), width=200)


def run(
    detector: FakeDetector, dataset: Any, limit: int | None = None, console: Console | None = None
) -> dict[str, Any]:
    return judge(
        detector, dataset, detector.settings, {}, limit, BUNDLE, console or silent()
    )  # fmt: skip


def test_a_report_says_what_was_measured(tmp_path: Path) -> None:
    # Frame 1: the box is covered and found. Frame 2: the box is in the far corner and missed.
    near, far = boxes((10, 10, 50, 50)), boxes((250, 180, 290, 220))
    dataset = dataset_of(drawn(tmp_path, 1, near), drawn(tmp_path, 2, far), classes=("car", "bus"))
    detector = FakeDetector({1: found(near, [0.9]), 2: Detections.empty()})
    report = run(detector, dataset)
    assert set(PROMISED) <= report.keys()
    assert report["ap"] == pytest.approx(51 / 101, abs=1e-6)
    assert report["per_class"] == {"car": {"boxes": 2, "ap": report["ap"], "ap50": report["ap50"]}}
    assert (report["bpr"], report["patches_per_frame"]) == (0.5, 1.0)
    assert report["occupancy"] == pytest.approx(16 * 16 / (32 * 40), abs=1e-6)
    assert report["gflops_per_frame"] == 3.5
    assert report["gflops_dense"] == 256 * 320 / 1000
    assert report["times_ms"] == {"stem": 2.5}
    assert report["ms_per_frame"] > 0
    assert (report["images"], report["boxes_judged"]) == (2, 2)
    assert (report["classes_judged"], report["classes_unknown"]) == (["car"], ["bus"])
    assert report["settings"]["slicer"]["patch_hw"] == (16, 16)
    assert report["bundle"]["name"] == "fake"
    assert detector.seen == [1, 1, 2]  # the first twice: it warms up


def test_the_report_is_json_and_the_tables_show_it(tmp_path: Path) -> None:
    near = boxes((10, 10, 50, 50))
    report = run(FakeDetector({1: found(near, [0.9])}), dataset_of(drawn(tmp_path, 1, near)))
    write_report(report, tmp_path / "report.json")
    back = json.loads((tmp_path / "report.json").read_text())
    assert back["ap"] == 1.0
    assert back["ap_large"] is None
    console = silent()
    console.print(main_table(back), class_table(back))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    rows = {line.split("│")[1].strip(): line for line in shown.splitlines() if "│" in line}
    assert "100.0 %" in rows["AP50"]
    assert "-" in rows["AP large (> 96 px)"]
    assert "81.92" in rows["the same frames dense"]
    assert "100.0 %" in rows["car"]


def test_pictures_that_cannot_be_read_are_named_and_the_others_judged(tmp_path: Path) -> None:
    near = boxes((10, 10, 50, 50))
    images = [drawn(tmp_path, key, near) for key in range(1, 7)]
    images[0].path.write_bytes(b"")
    images[2].path.write_text("no picture")
    images[3].path.unlink()
    drawn(tmp_path, 5, near, name="turned.png")
    (tmp_path / "turned.png").replace(images[4].path)
    from PIL import Image

    Image.open(images[4].path).rotate(90, expand=True).save(images[4].path)
    console = silent()
    # Both good frames are found exactly: judged in their own places, AP is 1.
    other = boxes((200, 100, 240, 140))
    images[5] = drawn(tmp_path, 6, other)
    detector = FakeDetector({2: found(near, [0.9]), 6: found(other, [0.8])})
    report = run(detector, dataset_of(*images), console=console)
    assert (report["images"], report["ap"], report["boxes_judged"]) == (2, 1.0, 2)
    names = [one["file_name"] for one in report["images_failed"]]
    assert names == ["frame1.png", "frame3.png", "frame4.png", "frame5.png"]
    assert "240x320 px, but annotated as 320x240" in report["images_failed"][3]["reason"]
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("not judged:") == 4


def test_no_readable_picture_is_an_error(tmp_path: Path) -> None:
    image = drawn(tmp_path, 1, boxes((1, 1, 9, 9)))
    image.path.write_bytes(b"")
    with pytest.raises(PictureError, match=r"none of 1 pictures can be read.*frame1\.png"):
        run(FakeDetector({}), dataset_of(image))


def test_a_limit_takes_the_first_pictures(tmp_path: Path) -> None:
    near = boxes((10, 10, 50, 50))
    images = [drawn(tmp_path, key, near) for key in (1, 2, 3)]
    detector = FakeDetector(dict.fromkeys((1, 2, 3), found(near, [0.9])))
    assert run(detector, dataset_of(*images), limit=2)["images"] == 2
    assert 3 not in detector.seen


def test_labels_of_the_bundle_become_those_of_the_data_set(tmp_path: Path) -> None:
    # The fake's class 0 is the car, the data set's class 1 is.
    near = boxes((10, 10, 50, 50))
    image = drawn(tmp_path, 1, near)
    moved = dataset_of(image, classes=("bus", "car"))
    moved.images[0].labels[:] = 1
    report = run(FakeDetector({1: found(near, [0.9], labels(0))}), moved)
    assert (report["ap"], report["classes_judged"]) == (1.0, ["car"])


def test_settings_are_the_bundles_where_nothing_is_given() -> None:
    bundle = DetectSettings(long_side_px=1280)
    assert adjusted(bundle) == bundle
    changed = adjusted(bundle, threshold=0.4, max_patches=0, sparse_head=False)
    assert (changed.long_side_px, changed.sparse_head) == (1280, False)
    assert (changed.slicer.threshold, changed.slicer.max_patches) == (0.4, 0)
    assert adjusted(bundle, mode="dense", long_side_px=640).long_side_px == 640
    with pytest.raises(UsageError, match="threshold"):
        adjusted(bundle, threshold=1.5)
    with pytest.raises(UsageError, match="dense mode has no patches"):
        adjusted(bundle, mode="dense", max_patches=3)


def test_a_report_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "folder" / "report.json")
    assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "report.json", tmp_path):
        with pytest.raises(UsageError, match="name another"):
            require_writable(place)


def test_the_stamp_says_where_and_with_what() -> None:
    stamp = run_stamp()
    assert stamp["date"].endswith("+00:00")
    assert stamp["cores"] >= 1
    assert stamp["cpu"] != ""
    assert stamp["versions"]["numpy"]
    json.dumps(stamp, allow_nan=False)
    repository = Path(__file__).parents[3]
    head = subprocess.run(
        ["git", "rev-parse", "--short=7", "HEAD"], cwd=repository, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if stamp["commit"] is None:
        pytest.skip("not a git checkout")
    assert head.stdout.strip() in stamp["commit"]
