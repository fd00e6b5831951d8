"""The picture is a sound SVG that holds what it should."""

from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from sparsight_cloud.rates.chart import HEIGHT_PX, WIDTH_PX, chart

SVG = "{http://www.w3.org/2000/svg}"


def comparison(curves: dict[str, list[tuple[float, float | None]]]) -> dict[str, Any]:
    rows = [
        {"curve": name, "bytes_per_frame": size, "ap": ap}
        for name, points in curves.items()
        for size, ap in points
    ]
    rivals = {name: {"curve": name} for name in curves if name != "ours"}
    return {
        "frames": 3,
        "rows": rows,
        "rivals": rivals,
        "reference": {"split": {"ap": 0.172}},
        "target_ap": 0.167,
    }


def test_lines_dots_and_labels_are_on_the_paper() -> None:
    drawn = chart(
        comparison(
            {
                "ours": [(9e3, 0.13), (15e3, 0.15), (39e3, 0.16)],
                "jpeg": [(40e3, 0.12), (120e3, 0.16)],
                "avif": [(20e3, 0.11), (80e3, 0.159)],
                "raw": [(600e3, 0.17)],
            }
        ),
        "<bytes & AP>",
    )
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    assert root.tag == f"{SVG}svg"
    assert len(root.findall(f"{SVG}polyline")) == 4
    assert len(root.findall(f"{SVG}circle")) == 8
    texts = root.findall(f"{SVG}text")
    said = [one.text for one in texts]
    assert {"ours", "jpeg", "avif", "raw", "<bytes & AP>", "100"} <= set(said)
    for one in texts:
        assert 0 <= float(one.attrib["x"]) < WIDTH_PX
        assert 0 <= float(one.attrib["y"]) <= HEIGHT_PX
    ours, jpeg = (
        [float(dot.attrib["cx"]) for dot in root.findall(f"{SVG}circle")][i] for i in (0, 3)
    )
    assert ours < jpeg
    labels = sorted(float(t.attrib["y"]) for t in texts if t.text in ("ours", "jpeg", "avif"))
    assert min(b - a for a, b in pairwise(labels)) >= 14


def test_nothing_judged_is_nothing_drawn() -> None:
    assert chart(comparison({"ours": [(9e3, None)]}), "") is None
