"""How small and how sparse a set is: figures that can be worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sparsight.errors import UsageError
from sparsight.slicer import SlicerSettings
from sparsight_cloud.commands.data import data_app
from sparsight_cloud.data.dataset import Dataset, LabelledImage
from sparsight_cloud.data.stats import Stats, dataset_stats


def a_set(*boxes: list[list[float]]) -> Dataset:
    images = tuple(
        LabelledImage(
            path=Path(f"{i}.png"),
            file_name=f"{i}.png",
            image_id=i,
            frame_hw=(640, 1280),
            xyxy=np.array(one, np.float32).reshape(-1, 4),
            labels=np.zeros(len(one), np.int64),
            ignore_xyxy=np.zeros((0, 4), np.float32),
        )
        for i, one in enumerate(boxes)
    )
    return Dataset(images, ("car",), (1,))


def stats_of(dataset: Dataset, long_side_px: int = 640) -> Stats:
    return dataset_stats(dataset, long_side_px, SlicerSettings(), lambda items: items)


def test_sizes_are_those_at_the_input() -> None:
    told = stats_of(a_set([[0, 0, 20, 20], [100, 100, 164, 164]], []))
    assert (told.images, told.boxes) == (2, 2)
    assert told.side_px.mean == pytest.approx(21)  # 10 and 32 px
    assert {one.name: one.boxes for one in told.sizes if one.boxes} == {"8 to 12": 1, "32 to 48": 1}
    assert [one.boxes for one in told.coco] == [1, 1, 0]
    assert told.objects.median == 1


def test_cells_under_boxes_and_what_is_kept() -> None:
    # 640x320 px at the input are 20 x 10 cells of 32 px; this box touches two of them.
    told = stats_of(a_set([[50, 10, 80, 30]]))
    assert told.covered.mean == pytest.approx(2 / 200)
    assert told.patches.mean == 1
    assert told.kept.mean == pytest.approx(16 * 16 / (80 * 40))
    assert told.kept.mean > told.covered.mean
    empty = stats_of(a_set([]))
    assert (empty.covered.mean, empty.kept.mean, empty.side_px.mean) == (0, 0, 0)


def test_the_command_prints_and_tells(coco_set: tuple[Path, Path]) -> None:
    path, images = coco_set
    run = ["stats", str(path), "--images", str(images)]
    result = CliRunner().invoke(data_app, run, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "kept by the slicer" in result.stdout
    assert "█" in result.stdout
    told = json.loads(CliRunner().invoke(data_app, [*run, "--json"]).stdout)["stats"]
    assert told["boxes"] == sum(one["boxes"] for one in told["sizes"]) == 3


def test_a_size_that_no_detector_takes_is_refused(coco_set: tuple[Path, Path]) -> None:
    path, images = coco_set
    run = ["stats", str(path), "--images", str(images), "--long-side", "3000000"]
    with pytest.raises(UsageError, match="expected 64 to 16384 pixels, got 3000000"):
        CliRunner().invoke(data_app, run, catch_exceptions=False)
