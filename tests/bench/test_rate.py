"""What `make bench` asks of `sparsight bench rate`."""

from pathlib import Path

from bench.rate import MUNICH_CLASSES, arguments
from bench.table import MUNICH


def test_munich_stands_in_for_visdrone(tmp_path: Path) -> None:
    asked = arguments(["--limit", "2"], tmp_path / "val.json")
    assert asked[:2] == ["bench", "rate"]
    assert asked[asked.index("--data") + 1] == str(MUNICH)
    assert asked[asked.index("--class-map") + 1] == MUNICH_CLASSES
    assert asked[-2:] == ["--limit", "2"]
    (tmp_path / "val.json").touch()
    asked = arguments([], tmp_path / "val.json")
    assert asked[asked.index("--images") + 1] == str(tmp_path / "images")
    assert "--class-map" not in asked
    assert asked[asked.index("--sequence") + 1] == str(MUNICH.parent)
