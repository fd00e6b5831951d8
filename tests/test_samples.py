"""The shipped frames: whole sequences, every box, and small enough for a clone."""

import re
from pathlib import Path

from tools.demo.plan import SAMPLES, SEQUENCES

from sparsight.pictures import read_picture
from sparsight_cloud.data.coco import read_coco

MB_MAX = 12


def test_every_frame_has_its_boxes_and_every_box_its_frame() -> None:
    dataset = read_coco(SAMPLES / "annotations.json", SAMPLES)
    assert dataset.boxes == 2084
    assert {image.path for image in dataset.images} == set(SAMPLES.glob("*.jpg"))
    for image in dataset.images[::11]:
        assert read_picture(image.path).shape[:2] == image.frame_hw


def test_both_sequences_are_whole() -> None:
    for pattern, first, last in zip(SEQUENCES.values(), (155, 74), (179, 93), strict=True):
        numbers = [number_of(path) for path in SAMPLES.glob(pattern)]
        assert sorted(numbers) == list(range(first, last + 1))


def test_they_are_small_enough_for_a_clone() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) <= MB_MAX * 1_000_000


def test_the_attribution_counts_what_is_there() -> None:
    dataset = read_coco(SAMPLES / "annotations.json", SAMPLES)
    said = dict(re.findall(r"^\| (\w+) \| (\d+) \|$", attribution(), re.MULTILINE))
    counted = {
        name: sum(int((image.labels == label).sum()) for image in dataset.images)
        for label, name in enumerate(dataset.classes)
    }
    assert said == {name: str(count) for name, count in counted.items() if count}
    assert f"All {len(dataset.images)} frames" in attribution()
    assert "CC BY 3.0" in attribution()


def number_of(path: Path) -> int:
    number = re.search(r"MOS(\d+)", path.name)
    assert number is not None
    return int(number[1])


def attribution() -> str:
    return (SAMPLES / "ATTRIBUTION.md").read_text()
