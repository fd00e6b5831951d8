"""The page: it stands alone, escapes what it is told, and shows what it should."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.cloud.evaluation.test_faults import a_frame, some

from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.coco_ap import average_precision
from sparsight_cloud.evaluation.coverage import coverage
from sparsight_cloud.evaluation.run import Evaluation
from sparsight_cloud.page.charts import Axis, Line, chart
from sparsight_cloud.page.html import Story, page

EVIL = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Keeps tags, and what they point to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]


@pytest.fixture
def story(tmp_path: Path) -> Story:
    picture = tmp_path / "a.png"
    Image.fromarray(np.full((512, 512, 3), 90, np.uint8)).save(picture)
    frame = a_frame(some((1, 0.9, 0), (200, 0.8, 0)))
    image = replace(frame.image, path=picture, file_name=f"{EVIL}.png")
    frame = replace(frame, image=image, payload_bytes=1200)
    dataset = Dataset((image,), (EVIL, "bus"), (1, 2))
    evaluation = Evaluation(
        ap=average_precision(dataset, [frame.detections]),
        coverage=coverage([frame.coverage]),
        gflops_per_frame=1.0,
        gflops_dense=2.0,
        ms_per_frame=1.0,
        ms_median=1.0,
        times_ms={},
        payload_bytes=1200.0,
        images=1,
        failed=(),
        classes_judged=(EVIL, "bus"),
        classes_unknown=(),
        frames=(frame,),
    )
    rates: dict[str, dict[str, Any]] = {
        "none": {"ap": 0.4, "payload_bytes_per_frame": None},
        "0": {"ap": 0.35, "payload_bytes_per_frame": 2400.0},
        "1": {"ap": 0.3, "payload_bytes_per_frame": 1200.0},
    }
    rows = [{"step": 20 * i, "loss_boxes": 1 / i, "gradient_norm": 3.0} for i in (1, 2, 3)]
    return Story(f"farm {EVIL}", "a & b", {EVIL: rows}, dataset, evaluation, rates)


def test_the_page_stands_alone_and_escapes(story: Story) -> None:
    text = page(story)
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags
    assert "&lt;script&gt;" in text
    assert "a &amp; b" in text
    assert reader.addresses
    assert all(a.startswith("data:image/jpeg;base64,") for a in reader.addresses)
    assert "default-src 'none'" in text
    assert not re.search(r"https?://", text)
    jpeg = base64.b64decode(reader.addresses[0].partition(",")[2])
    assert jpeg[:2] == b"\xff\xd8"


def test_the_page_shows_curves_faults_and_what_the_seeker_missed(story: Story) -> None:
    text = page(story)
    assert text.count("<svg") == 3  # losses, precision, rates
    assert "2 missed" in text
    assert "1 false" in text
    assert "1 found" in text
    assert "1 of 3 objects lie in no patch" in text


def test_of_a_run_without_codec_and_faults_the_rest_is_told(story: Story) -> None:
    frame = story.evaluation.frames[0]
    right = some((0, 0.9, 0), (100, 0.9, 0), (300, 0.9, 1))
    evaluation = replace(story.evaluation, frames=(replace(frame, detections=right),))
    text = page(replace(story, evaluation=evaluation, rates={"none": {"ap": 0.4}}, losses={}))
    assert text.count("<svg") == 1
    assert "Pictures with most errors" not in text


def test_lines_lie_where_they_should() -> None:
    drawn = chart(
        [Line("a<b", ((0.0, 0.0), (1.0, 1.0)), dots=True)], Axis("x", 0, 1), Axis("y", 0, 1)
    )
    (points,) = re.findall(r'points="([^"]+)"', drawn)
    assert points == "48.0,230.0 428.0,12.0"
    assert "a&lt;b" in drawn
    assert drawn.count("<circle") == 2


def test_axes_have_round_numbers_and_a_width() -> None:
    assert Axis.over("x", [3.0, 3.0]).high == 4.0
    assert Axis.over("x", []).ticks() == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Axis("x", 0, 1234).ticks() == [0, 500, 1000]
