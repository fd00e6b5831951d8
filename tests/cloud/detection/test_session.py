import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sparsight.errors import DataError, UsageError
from sparsight.settings import DetectSettings
from sparsight_cloud.detection.judging import read_labels
from sparsight_cloud.detection.session import Screens, run_session
from sparsight_cloud.detection.sources import find_sources
from sparsight_cloud.detection.wishes import Wishes, chosen_labels

from .squares import CLASSES, SquareFinder, paint

SQUARES = {
    "a.png": ((10, 20, 30, "red"), (80, 40, 12, "green")),
    "b.png": ((100, 60, 20, "red"),),
    "c.png": ((30, 30, 20, "blue"),),
}


class Session:
    """One run over the pictures of a folder, and what it said."""

    def __init__(self, folder: Path, machine: bool = False, terminal: bool = False) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.finder = SquareFinder()
        self.said, self.shown = StringIO(), StringIO()
        self.screens = Screens(
            Console(file=self.said, width=100, force_terminal=terminal),
            Console(file=self.shown, width=100),
            machine,
        )

    def run(
        self,
        *given: str,
        conf: float = 0.25,
        classes: str | None = None,
        judge_by: Path | None = None,
        class_map: dict[str, str] | None = None,
    ) -> int:
        sources = find_sources([str(self.folder / one) for one in given or [""]], self.out)
        wishes = Wishes(DetectSettings(), conf, chosen_labels(classes, CLASSES))
        labels = read_labels(judge_by, sources, class_map or {}) if judge_by else None
        return run_session(self.finder, sources, wishes, self.out, self.screens, labels)

    @property
    def results(self) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = json.loads((self.out / "detections.json").read_text())
        return out

    @property
    def lines(self) -> list[list[str]]:
        """Words of each line of the tables, frames taken off."""
        return [re.sub(r"[│┃]", " ", line).split() for line in self.shown.getvalue().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, squares in SQUARES.items():
        paint(tmp_path / name, *squares)
    return tmp_path


def annotations(folder: Path, **changes: Any) -> Path:
    """The squares as they are, red ones called cars, blue ones ships."""
    ids = {name: 11 * i for i, name in enumerate(SQUARES, start=1)}
    content: dict[str, Any] = {
        "images": [
            {"id": ids[name], "file_name": name, "width": 160, "height": 120} for name in SQUARES
        ],
        "annotations": [
            {
                "id": 10 * ids[name] + i,
                "image_id": ids[name],
                "category_id": 1 + CLASSES.index(colour),
                "bbox": [x, y, side, side],
            }
            for name, squares in SQUARES.items()
            for i, (x, y, side, colour) in enumerate(squares)
        ],
        "categories": [
            {"id": 1, "name": "car"},
            {"id": 2, "name": "Green"},
            {"id": 3, "name": "ship"},
        ],
    }
    content |= changes
    path = folder / "labels" / "boxes.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    return path


def test_results_and_table(folder: Path) -> None:
    session = Session(folder)
    assert session.run() == 0
    assert [(one["image_id"], one["file_name"], one["bbox"]) for one in session.results] == [
        (1, "a.png", [10, 20, 30, 30]),
        (1, "a.png", [80, 40, 12, 12]),
        (2, "b.png", [100, 60, 20, 20]),
    ]
    assert ["file", "objects", "patches", "occupancy", "ms"] in session.lines
    assert [line[:4] for line in session.lines if line[:1] == ["a.png"]] == [
        ["a.png", "2", "1", "0.33"]
    ]
    (totals,) = (line for line in session.lines if line[:2] == ["3", "pictures"])
    assert totals[2:7] == ["3", "mean", "1.0", "mean", "0.33"]
    assert ["2", "red,", "1", "green"] in session.lines
    assert session.said.getvalue() == ""


def test_a_bad_file_has_its_line_and_code_4(folder: Path) -> None:
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:100])
    session = Session(folder)
    assert session.run() == 4
    (line,) = session.said.getvalue().splitlines()
    assert line.startswith(f"failed: {folder / 'b.png'}: truncated or damaged")
    assert {one["file_name"] for one in session.results} == {"a.png"}
    assert any(line[:4] == ["2", "pictures,", "1", "failed"] for line in session.lines)


def test_only_bad_files(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"")
    session = Session(folder, machine=True)
    assert session.run("a.png") == 4
    assert session.results == []
    summary = json.loads(session.shown.getvalue())
    assert summary["totals"]["ms_per_picture"] is None


def test_json_is_all_that_is_shown(folder: Path) -> None:
    (folder / "b.png").write_text("no picture")
    session = Session(folder, machine=True)
    assert session.run(judge_by=annotations(folder), class_map={"red": "car"}) == 4
    summary = json.loads(session.shown.getvalue())
    assert summary["totals"]["objects_by_class"] == {"red": 1, "green": 1}
    assert summary["totals"]["failed"] == 1
    assert [one["objects"] for one in summary["pictures"]] == [2, 0]
    assert summary["pictures"][0]["annotated"] == "a.jpg"
    assert summary["failed"][0]["file_name"] == "b.png"
    assert summary["ap"]["per_class"]["car"]["detected_as"] == ["red"]
    assert (summary["interrupted"], summary["conf"]) == (False, 0.25)
    assert Path(summary["results"]) == folder / "out" / "detections.json"


def test_ctrl_c_leaves_what_was_done(folder: Path) -> None:
    session = Session(folder, terminal=True)

    def interrupt(call: int) -> None:
        if call == 3:  # the first frame runs twice: this is b.png's
            raise KeyboardInterrupt

    session.finder.before = interrupt
    assert session.run(judge_by=annotations(folder), class_map={"red": "car"}) == 130
    assert {one["file_name"] for one in session.results} == {"a.png"}
    assert sorted(path.name for path in session.out.iterdir()) == ["a.jpg", "detections.json"]
    assert "interrupted: 1 of 3 pictures were done" in session.said.getvalue()
    assert "AP50" not in session.shown.getvalue()


def test_ap_is_of_every_score_and_says_of_what(folder: Path) -> None:
    session = Session(folder)
    assert session.run(conf=0.99, judge_by=annotations(folder), class_map={"red": "car"}) == 0
    assert session.results == []
    shown = session.shown.getvalue()
    assert "judged on 3 annotated pictures, with objects of every score" in shown
    assert "car (detected as red)" in shown
    assert "not judged, for want of a class: ship" in shown
    lines = [" ".join(line) for line in session.lines]
    assert "Green (detected as green) 1 100.0 % 100.0 %" in lines
    assert "mean of the classes 3 100.0 % 100.0 %" in lines


def test_ap_of_a_missed_object(folder: Path) -> None:
    paint(folder / "b.png")
    session = Session(folder, machine=True)
    session.run(judge_by=annotations(folder), class_map={"red": "car"})
    ap = json.loads(session.shown.getvalue())["ap"]
    assert ap["per_class"]["car"]["ap50"] == pytest.approx(0.505, abs=0.01)  # one of two found
    assert ap["ap50"] == pytest.approx((0.505 + 1) / 2, abs=0.01)
    assert (ap["boxes"], ap["pictures"], ap["not_judged"]) == (3, 3, ["ship"])


def test_classes_that_are_not_looked_for_are_not_judged(folder: Path) -> None:
    session = Session(folder, machine=True)
    session.run(classes="green", judge_by=annotations(folder), class_map={"red": "car"})
    ap = json.loads(session.shown.getvalue())["ap"]
    assert list(ap["per_class"]) == ["Green"]
    assert ap["not_judged"] == ["car", "ship"]


def test_pictures_without_annotations_are_shown_but_not_judged(folder: Path) -> None:
    paint(folder / "0.png", (10, 20, 30, "red"))
    session = Session(folder)
    assert (
        session.run("0.png", "b.png", judge_by=annotations(folder), class_map={"red": "car"}) == 0
    )
    assert [(one["file_name"], one["image_id"]) for one in session.results] == [
        ("0.png", 23),
        ("b.png", 22),
    ]
    assert "judged on 1 of 3 annotated pictures" in session.shown.getvalue()


def test_annotations_of_other_pictures_are_refused_before_the_work(folder: Path) -> None:
    paint(folder / "0.png")
    session = Session(folder)
    with pytest.raises(
        DataError,
        match=r"none of 1 pictures is in .*boxes\.json, which speaks of a\.png and 2 more",
    ):
        session.run("0.png", judge_by=annotations(folder))
    assert session.finder.calls == []


def test_annotations_of_another_size_are_refused_when_all_is_written(folder: Path) -> None:
    paint(folder / "b.png", (50, 60, 20, "red"), hw=(120, 180))
    session = Session(folder)
    with pytest.raises(DataError, match=r"b\.png: 180x120 px, but annotated as 160x120"):
        session.run(judge_by=annotations(folder))
    assert {one["file_name"] for one in session.results} == {"a.png", "b.png"}
    assert ["2", "red,", "1", "green"] in session.lines


def test_which_of_two_pictures_is_meant_must_be_clear(folder: Path) -> None:
    paint(folder / "again" / "a.png")
    session = Session(folder)
    with pytest.raises(DataError, match=r"could both be a\.png"):
        session.run("a.png", "again", judge_by=annotations(folder))


def test_pictures_of_one_name_are_told_apart_by_their_folders(folder: Path) -> None:
    for name in ("one", "two", "three"):
        paint(folder / name / "a.png", (10, 20, 30, "red"))
    images = [
        {"id": i, "file_name": f"{name}/a.png", "width": 160, "height": 120}
        for i, name in ((1, "one"), (2, "two"))
    ]
    boxes = [{"id": 1, "image_id": 2, "category_id": 2, "bbox": [10, 20, 30, 30]}]
    session = Session(folder, machine=True)
    path = annotations(folder, images=images, annotations=boxes)
    assert session.run("two", "three", judge_by=path, class_map={"red": "Green"}) == 0
    assert json.loads(session.shown.getvalue())["ap"]["pictures"] == 1
    assert [one["image_id"] for one in session.results] == [2, 3]


def test_an_output_folder_that_is_a_file(folder: Path) -> None:
    (folder / "out").touch()
    session = Session(folder)
    with pytest.raises(UsageError, match="give another --out"):
        session.run("a.png")
    assert session.finder.calls == []


def test_a_long_table_is_cut(folder: Path) -> None:
    for i in range(45):
        paint(folder / "many" / f"{i:02}.png", hw=(20, 20))
    session = Session(folder)
    assert session.run("many") == 0
    assert ["and", "5", "more"] in session.lines
    assert any(line[:2] == ["45", "pictures"] for line in session.lines)
