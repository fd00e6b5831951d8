from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from sparsight_cloud.sinks.coco import CocoSink, export_coco

from .written import OTHER, a_record, a_refusal, write_results


def test_pycocotools_reads_it(tmp_path: Path) -> None:
    records = [a_record(0), a_record(1, 0), a_refusal(2), a_record(3, bundle_id=OTHER)]
    write_results(tmp_path, records)
    assert export_coco(tmp_path, tmp_path / "all.json") == 3
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "all.json"))
    assert [coco.imgs[i]["file_name"] for i in (1, 2, 3)] == [f"drone-1/1/{n}" for n in (0, 1, 3)]
    assert (coco.imgs[1]["width"], coco.imgs[1]["height"]) == (1920, 1080)
    assert [coco.imgs[i]["telemetry"] for i in (1, 2)] == [None, {"lat_deg": 48.1}]
    first = coco.anns[1]
    assert first["bbox"] == [0, 1, 11, 20] and first["area"] == 220
    assert first["score"] == pytest.approx(0.9)
    assert len(coco.anns) == 4 and coco.getAnnIds(imgIds=[2]) == []


def test_a_class_of_two_bundles_is_one_category(tmp_path: Path) -> None:
    write_results(tmp_path, [a_record(0), a_record(1, bundle_id=OTHER)])
    export_coco(tmp_path, tmp_path / "all.json")
    raw = json.loads((tmp_path / "all.json").read_text())
    assert [(c["id"], c["name"]) for c in raw["categories"]] == [
        (1, "car"),
        (2, "van"),
        (3, "person"),
    ]
    assert [a["category_id"] for a in raw["annotations"]] == [1, 2, 3, 1]


def test_no_results_are_an_empty_set(tmp_path: Path) -> None:
    write_results(tmp_path, [])
    CocoSink(tmp_path).catch_up()
    assert not (tmp_path / "coco.json").exists()
    CocoSink(tmp_path).finish()
    raw = json.loads((tmp_path / "coco.json").read_text())
    assert raw["images"] == raw["annotations"] == [] and len(raw["categories"]) == 3


def test_a_label_nobody_knows_is_its_number(tmp_path: Path) -> None:
    write_results(tmp_path, [a_record(0, bundle_id="ef" * 32)])
    export_coco(tmp_path, tmp_path / "all.json")
    raw = json.loads((tmp_path / "all.json").read_text())
    assert {c["name"] for c in raw["categories"]} >= {"0", "1"}
