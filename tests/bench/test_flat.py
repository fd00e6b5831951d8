from pathlib import Path

import pytest
from bench.flat import SAMPLES, Lines, measure


@pytest.mark.slow
def test_both_programs_are_watched_to_the_end() -> None:
    found = measure(200)
    assert (found["frames"], found["frames_left"]) == (200, 0)
    for name in ("agent", "cloud"):
        rss_bytes = found[name]["rss_bytes"]
        assert len(rss_bytes) == SAMPLES and min(rss_bytes) > 30 << 20
        assert found[name]["growth"] < 0.5


def test_lines_are_counted_as_they_come(tmp_path: Path) -> None:
    lines = Lines(tmp_path)
    assert lines.count() == 0
    (tmp_path / "1.jsonl").write_text("a\nb\nhalf a")
    assert lines.count() == 2
    with (tmp_path / "1.jsonl").open("a") as file:
        file.write(" line\n")
    (tmp_path / "2.jsonl").write_text("c\n")
    assert lines.count() == lines.count() == 4
