import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsight.errors import UsageError
from sparsight.settings import DetectSettings
from sparsight_cloud.detection.run import Done, Failed, detect_sources
from sparsight_cloud.detection.sources import Source, find_sources
from sparsight_cloud.detection.wishes import Wishes, chosen_labels, least_score

from .squares import CLASSES, SquareFinder, paint


def wishes(conf: float = 0.25, classes: str | None = None, **more: bool | int) -> Wishes:
    return Wishes(DetectSettings(), conf, chosen_labels(classes, CLASSES), **more)  # type: ignore[arg-type]


def run(
    folder: Path, wanted: Wishes | None = None, finder: SquareFinder | None = None
) -> list[Done | Failed]:
    sources = find_sources([str(folder)], folder / "out")
    return list(
        detect_sources(finder or SquareFinder(), sources, wanted or wishes(), folder / "out")
    )


def test_outcomes_come_in_order_and_a_bad_file_stops_nobody(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", (10, 20, 30, "red"), (80, 40, 12, "green"))
    (tmp_path / "b.jpg").write_text("no picture")
    paint(tmp_path / "c.png")
    first, second, third = run(tmp_path)
    assert isinstance(first, Done)
    assert first.shown.xyxy.tolist() == [[10, 20, 40, 50], [80, 40, 92, 52]]
    assert (first.frame_hw, first.patches, first.occupancy) == ((120, 160), 1, 256 / (24 * 32))
    assert isinstance(second, Failed)
    assert second.reason.startswith(f"{tmp_path / 'b.jpg'}: not a picture")
    assert isinstance(third, Done)
    assert len(third.shown) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "c.jpg"]


def test_annotated_pictures_show_the_frame_upright_with_a_legend(tmp_path: Path) -> None:
    path = paint(tmp_path / "a.png", (10, 20, 30, "red"))
    with Image.open(path) as image:
        exif = Image.Exif()
        exif[274] = 6
        image.save(path, exif=exif)
    (done,) = run(tmp_path)
    assert isinstance(done, Done)
    assert done.frame_hw == (160, 120)
    assert done.shown.xyxy.tolist() == [[120 - 50, 10, 120 - 20, 40]]
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        drawn = np.asarray(image).astype(int)
    assert drawn.shape[0] > 160
    assert drawn[25, 85, 0] - drawn[25, 85, 1] > 150  # the square
    assert drawn[25, 70].tolist() != pytest.approx(drawn[25, 85].tolist(), abs=60)  # its outline


def test_what_is_not_wanted_is_not_shown(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", (10, 20, 30, "red"), (60, 20, 20, "green"), (100, 20, 20, "blue"))

    def outcome(wanted: Wishes) -> tuple[list[int], list[int]]:
        (done,) = run(tmp_path, wanted)
        assert isinstance(done, Done)
        return done.found.labels.tolist(), done.shown.labels.tolist()

    assert outcome(wishes()) == ([0, 1, 2], [0, 1])
    assert outcome(wishes(conf=0.7)) == ([0, 1, 2], [0])
    assert outcome(wishes(conf=0.05, classes="blue, RED")) == ([0, 2], [0, 2])


def test_heat_is_drawn_on_request(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", hw=(160, 160))
    for show_heat, dark in ((False, 60), (True, 33)):
        run(tmp_path, wishes(show_heat=show_heat))
        with Image.open(tmp_path / "out" / "a.jpg") as image:
            assert np.asarray(image)[150, 150, 0] == pytest.approx(dark, abs=3)


def test_of_several_frames_the_first_is_not_timed_cold(tmp_path: Path) -> None:
    def compile_once(call: int) -> None:
        time.sleep(0.3 if call == 1 else 0)

    paint(tmp_path / "a.png")
    alone = SquareFinder()
    run(tmp_path, finder=alone)
    assert len(alone.calls) == 1
    paint(tmp_path / "b.png")
    finder = SquareFinder(before=compile_once)
    assert all(isinstance(one, Done) and one.ms < 250 for one in run(tmp_path, finder=finder))
    assert len(finder.calls) == 3


def test_the_next_picture_is_read_while_the_detector_works(tmp_path: Path) -> None:
    """A pipe opens for writing only while somebody is reading it."""
    paint(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    opened: list[int] = []

    def while_at_work(call: int) -> None:
        if call > 1:
            return
        deadline_s = time.monotonic() + 5
        while not opened and time.monotonic() < deadline_s:
            try:
                opened.append(os.open(tmp_path / "b.png", os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                time.sleep(0.01)
        os.close(opened[0])

    sources = find_sources([str(tmp_path / "a.png"), str(tmp_path / "b.png")], tmp_path / "out")
    outcomes = detect_sources(
        SquareFinder(before=while_at_work), sources[:2], wishes(), tmp_path / "out"
    )
    assert isinstance(next(outcomes), Done)
    outcomes.close()
    assert opened


def test_the_pixel_limit_is_the_wishes(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    (failed,) = run(tmp_path, wishes(max_pixels=120 * 160 - 1))
    assert isinstance(failed, Failed)
    assert "over the limit" in failed.reason


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match=r"can't be written .*another --out"):
        run(tmp_path)


def test_pictures_of_one_name_end_up_in_folders(tmp_path: Path) -> None:
    for folder, name in (("one", "red"), ("two", "green")):
        paint(tmp_path / folder / "a.png", (10, 20, 30, name))
    sources = find_sources([str(tmp_path / "*" / "a.png")], tmp_path / "out")
    list(detect_sources(SquareFinder(), sources, wishes(), tmp_path / "out"))
    for folder, channel in (("one", 0), ("two", 1)):
        with Image.open(tmp_path / "out" / folder / "a.jpg") as image:
            assert np.asarray(image)[35, 25].argmax() == channel


def test_least_score() -> None:
    settings = DetectSettings(score_min=0.005)
    assert least_score(settings, 0.25, judged=False).score_min == 0.25
    assert least_score(settings, 0.25, judged=True).score_min == 0.005
    assert least_score(settings, 0.001, judged=True).score_min == 0.001


@pytest.mark.parametrize(
    ("typed", "says"), [("red,cyan", "unknown 'cyan'; .* red, green, blue"), (" ,", "expected")]
)
def test_classes_that_are_none(typed: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        chosen_labels(typed, CLASSES)


def test_a_source_is_named_in_its_outcome(tmp_path: Path) -> None:
    gone = Source(tmp_path / "gone.png", "gone.png", Path("gone.jpg"))
    (failed,) = detect_sources(SquareFinder(), [gone], wishes(), tmp_path)
    assert failed == Failed(
        gone, f"{tmp_path / 'gone.png'}: can't be opened: No such file or directory"
    )
