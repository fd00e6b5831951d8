"""Items to pixels; what can't be read is an error in its place."""

import secrets
from io import BytesIO
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from sparsight.errors import PictureError
from sparsight_cloud.batch.reading import read_items
from sparsight_cloud.batch.sources import Taking, find_items

from .films import grey_of, write_film

MANY = 10**9


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_every_item_has_its_picture_or_its_error(where: str, tmp_path: Path) -> None:
    top = f"memory:///{secrets.token_hex(4)}" if where == "memory" else str(tmp_path / "flight")
    film = write_film(tmp_path / "made.mp4", 12).read_bytes()
    picture = BytesIO()
    Image.new("RGB", (30, 20), (1, 2, 3)).save(picture, "PNG")
    files = {
        "a.png": picture.getvalue(),
        "b.mp4": film,
        "c.png": picture.getvalue()[:60],
        "d.png": b"",
        "e.mp4": film[:40],
        "f.png": picture.getvalue(),
        "g.png": picture.getvalue(),
    }
    for name, data in files.items():
        with fsspec.open(f"{top}/{name}", "wb", auto_mkdir=True) as file:
            file.write(data)
    items = find_items([top], Taking(every=5))
    assert len(items) == 9
    fsspec.open(f"{top}/g.png").fs.rm_file(f"{top}/g.png")
    got = list(read_items(items, MANY))
    bad = [str(one) if isinstance(one, PictureError) else "" for one in got]
    assert [bool(one) for one in bad] == [False, False, False, False, True, True, True, False, True]
    for said, what in zip(
        bad[4:7], ["damaged", "the file is empty", "can't be read as a film"], strict=True
    ):
        assert what in said and said.startswith(top)
    assert "is not there (any more)" in bad[8]
    for place, frame in zip((0, 5, 10), got[1:4], strict=True):
        assert isinstance(frame, np.ndarray) and abs(frame.mean() - grey_of(place)) < 2.5
    assert isinstance(got[0], np.ndarray) and got[0].shape == (20, 30, 3)


def test_a_picture_over_the_limit_is_an_error(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (got,) = read_items(find_items([str(tmp_path)], Taking()), 599)
    assert isinstance(got, PictureError) and "over the limit" in str(got)
