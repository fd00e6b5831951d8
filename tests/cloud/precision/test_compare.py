"""Copies of a bundle judged side by side, and the table in their cards."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from tests.split import scene

from sparsight.bundle import CARD, Bundle, open_bundle, rewrite
from sparsight.errors import UsageError
from sparsight_cloud.data.coco import read_coco
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.precision.compare import HEADING, judge_precisions, to_table, write_cards
from sparsight_cloud.precision.export import export_bundle


@pytest.fixture
def bundles(split_bundle: Path, tmp_path: Path) -> list[Bundle]:
    first = open_bundle(shutil.copytree(split_bundle, tmp_path / "fp32"))
    export_bundle(first, "int8-x86", [scene(i) for i in range(4)], tmp_path / "int8")
    export_bundle(first, "fp16", [], tmp_path / "fp16")
    return [first, *(open_bundle(tmp_path / name) for name in ("int8", "fp16"))]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    pictures = tmp_path / "val"
    pictures.mkdir()
    images, boxes = [], []
    for i in range(3):
        Image.fromarray(scene(50 + i)).save(pictures / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 256, "height": 144})
        box = [20 * i + 10, 20, 30, 30]
        boxes.append(
            {"id": i, "image_id": i, "category_id": 1, "bbox": box, "area": 900, "iscrowd": 0}
        )
    classes = [{"id": 1, "name": "red"}]
    told = {"images": images, "annotations": boxes, "categories": classes}
    (tmp_path / "val.json").write_text(json.dumps(told))
    return read_coco(tmp_path / "val.json", pictures)


def test_side_by_side_and_into_the_cards(bundles: list[Bundle], dataset: Dataset) -> None:
    rows = judge_precisions(bundles, dataset, None, None, Console(quiet=True))
    assert [row.precision for row in rows] == ["fp32", "int8-x86", "fp16"]
    assert {row.rate for row in rows} == {1} and {row.images for row in rows} == {3}
    assert rows[0].time_ratio == 1 and rows[1].time_ratio and rows[2].time_ratio is None
    assert rows[0].payload_bytes == pytest.approx(rows[2].payload_bytes, rel=0.1)
    # The graph that is judged is the copy's own.
    assert rows[0].payload_bytes != rows[1].payload_bytes
    table = to_table(rows)
    assert len(table.splitlines()) == 5 and "| int8-x86 |" in table
    cards = [(bundle.folder / CARD).read_text() for bundle in bundles]
    for _ in range(2):  # the second time in its own place
        write_cards(bundles, rows, "val.json")
        for bundle, card in zip(bundles, cards, strict=True):
            text = (bundle.folder / CARD).read_text()
            assert text.count(HEADING) == 1 and table in text and text.startswith(card.rstrip())
            again = open_bundle(bundle.folder).manifest
            assert again.cloud_id == bundle.manifest.cloud_id and again.id != bundle.manifest.id


def test_a_section_behind_the_table_stays(bundles: list[Bundle], dataset: Dataset) -> None:
    card = bundles[0].folder / CARD
    card.write_text(f"# It\n\n{HEADING}\n\nold\n\n## Limits\n\nmany\n")
    first = bundles[0]
    first = Bundle(first.folder, rewrite(first.folder, first.manifest), first.model)
    rows = judge_precisions([first], dataset, 0, 1, Console(quiet=True))
    write_cards([first], rows, "val.json")
    text = card.read_text()
    assert "old" not in text and "## Limits\n\nmany" in text and text.count(HEADING) == 1
    with pytest.raises(UsageError, match="has 0 to 2, got 3"):
        judge_precisions([first], dataset, 3, None, Console(quiet=True))


def test_bundles_of_other_weights_are_not_compared(bundles: list[Bundle], dataset: Dataset) -> None:
    other = bundles[1].manifest.model_copy(update={"classes": ("a", "b", "c")})
    stranger = Bundle(bundles[1].folder, other, bundles[1].model)
    with pytest.raises(UsageError, match="is no copy of"):
        judge_precisions([bundles[0], stranger], dataset, 0, None, Console(quiet=True))
