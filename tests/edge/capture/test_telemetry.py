"""Telemetry rides along with the frames of every kind of source."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsight.errors import PictureError, UsageError
from sparsight.wire import Telemetry
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.source import Captured

from .films import write_film

SRT = """1
00:00:00,000 --> 00:00:00,500
[latitude: 48.0] [longitude: 11.0] [rel_alt: 1.0 abs_alt: 500.0]

2
00:00:01,000 --> 00:00:01,500
[latitude: 48.0] [longitude: 12.0] [rel_alt: 1.0 abs_alt: 500.0]
"""


def look(given: str, telemetry: Path | None = None, **options: object) -> list[Captured]:
    def refuse(error: PictureError) -> None:
        raise error

    source = open_source(given, threading.Event(), telemetry=telemetry, **options)  # type: ignore[arg-type]
    return list(source.frames(refuse))


def test_a_film_with_its_subtitles_looped_and_paced(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", 10, fps=10)
    assert [one.telemetry for one in look(str(tmp_path / "a.mp4"))] == [None] * 10
    (tmp_path / "a.SRT").write_text(SRT)
    frames = look(str(tmp_path / "a.mp4"), fps=100.0)
    lon = [one.telemetry.lon_deg or 0.0 for one in frames if one.telemetry]
    np.testing.assert_allclose(lon, 11 + np.arange(10) / 10, atol=1e-6)


def test_a_table_counts_more_than_the_subtitles(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", 3, fps=10)
    (tmp_path / "a.SRT").write_text(SRT)
    table = tmp_path / "a.csv"
    table.write_text("film_s,alt_m\n0,1\n1,2\n")
    for telemetry in (table, tmp_path / "a.SRT"):
        found = look(str(tmp_path / "a.mp4"), telemetry)[0].telemetry
        assert found is not None
        assert found.alt_m == (1 if telemetry == table else 500)


def test_pictures_by_their_names_else_by_their_headers(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({6: 7.0})
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (32, 32)).save(tmp_path / name, exif=exif)
    (tmp_path / "t.csv").write_text("name,alt_m\nb.jpg,8\n")
    frames = look(str(tmp_path), tmp_path / "t.csv")
    assert [one.telemetry for one in frames] == [Telemetry(alt_m=7), Telemetry(alt_m=8)]


def test_raw_frames_by_the_time_of_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, table = tmp_path / "raw", tmp_path / "t.csv"
    raw.write_bytes(bytes(4 * 4 * 3))
    now_s = time.time()
    table.write_text(f"unix_s,alt_m\n{now_s - 30},5\n" + "".join(
        f"{now_s + i},5\n" for i in range(-1, 60)
    ))  # fmt: skip
    with raw.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        (frame,) = look("-?size=4x4", table)
    assert frame.telemetry == Telemetry(alt_m=5)


def test_a_table_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", 1)
    Image.new("RGB", (32, 32)).save(tmp_path / "b.png")
    (tmp_path / "list.txt").write_text("a.mp4\nb.png\n")
    (tmp_path / "t.csv").write_text("name,alt_m\nb.png,8\n")
    for given, says in (
        (str(tmp_path / "a.mp4"), "of a film it must be film_s"),
        (str(tmp_path / "list.txt"), "for pictures or for one film"),
        ("http://127.0.0.1:1/", "of a camera it must be unix_s or time_utc"),
    ):
        with pytest.raises(UsageError, match=says):
            open_source(given, threading.Event(), telemetry=tmp_path / "t.csv")
