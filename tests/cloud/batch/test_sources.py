"""What was typed to items, from a disk and from fsspec's memory."""

import json
import os
import secrets
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparsight.errors import PictureError, UsageError
from sparsight_cloud.batch.items import Item
from sparsight_cloud.batch.reading import read_items
from sparsight_cloud.batch.sources import Taking, find_items

from .films import write_film

FILES = ["b.jpg", "a.png", "._a.png", "notes.txt", "deep/c.JPG", "deep/d.tif"]


@pytest.fixture(params=["disk", "memory"])
def flight(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    top = f"memory:///{secrets.token_hex(4)}" if request.param == "memory" else str(tmp_path)
    for name in FILES:
        put(f"{top}/{name}", name.encode())
    return top


def put(uri: str, data: bytes) -> None:
    with fsspec.open(uri, "wb", auto_mkdir=True) as file:
        file.write(data)


def names(items: list[Item], top: str) -> list[str]:
    assert all(item.path.startswith(top) for item in items)
    return [item.path[len(top) + 1 :] for item in items]


@pytest.mark.parametrize(
    ("given", "taking", "expected"),
    [
        (["."], Taking(), ["a.png", "b.jpg"]),
        (["."], Taking(recursive=True), ["a.png", "b.jpg", "deep/c.JPG", "deep/d.tif"]),
        (["*.jpg", "deep"], Taking(), ["b.jpg", "deep/c.JPG", "deep/d.tif"]),
        (["**/*.tif"], Taking(), ["deep/d.tif"]),
        (["b.jpg", ".", "b.jpg"], Taking(), ["b.jpg", "a.png"]),
        (["notes.txt"], Taking(), ["notes.txt"]),
        (["gone.jpg", "a.png"], Taking(), ["gone.jpg", "a.png"]),
    ],
)
def test_folders_patterns_and_files(
    flight: str, given: list[str], taking: Taking, expected: list[str]
) -> None:
    items = find_items([f"{flight}/{one}".removesuffix("/.") for one in given], taking)
    assert names(items, flight) == expected
    assert all(item.frame is None for item in items)
    for item, name in zip(items, expected, strict=True):
        assert item.size_bytes == (-1 if "gone" in name else len(name))
        assert bool(item.changed) == ("gone" not in name)


def test_a_file_that_is_written_anew_is_another_item(flight: str) -> None:
    before = find_items([flight], Taking())
    put(f"{flight}/a.png", b"a longer one")
    after = find_items([flight], Taking())
    assert before[0] != after[0] and before[1] == after[1]


def test_a_link_changes_with_what_it_leads_to(tmp_path: Path) -> None:
    real, link = tmp_path / "real.jpg", tmp_path / "links" / "a.jpg"
    real.write_bytes(b"one")
    link.parent.mkdir()
    link.symlink_to(real)
    (before,) = find_items([str(link.parent)], Taking())
    os.utime(real, (1.0, 1.0))
    (after,) = find_items([str(link.parent)], Taking())
    assert before.size_bytes == after.size_bytes == 3 and before.changed != after.changed
    assert after.path == str(link)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", [None, "frame_of"])
def test_manifests(flight: str, suffix: str, column: str | None, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where.png"
    elsewhere.write_bytes(b"here")
    files = ["b.jpg", "deep/../deep/c.JPG", f"file://{elsewhere}", f"{flight}/gone.jpg"]
    name = column or "path"
    if suffix == "csv":
        data = f"id,{name}\n" + "".join(f'{i},"{file}"\n' for i, file in enumerate(files))
        put(f"{flight}/list.csv", data.encode())
    elif suffix == "jsonl":
        lines = [json.dumps({"id": i, name: file}) for i, file in enumerate(files)]
        put(f"{flight}/list.jsonl", "\n".join([*lines, ""]).encode())
    else:
        with fsspec.open(f"{flight}/list.parquet", "wb") as file:
            pq.write_table(pa.table({"id": [0, 1, 2, 3], name: files}), file)
    items = find_items([f"{flight}/list.{suffix}"], Taking(column=column))
    assert [item.path for item in items] == [
        f"{flight}/b.jpg",
        f"{flight}/deep/c.JPG",
        str(elsewhere),
        f"{flight}/gone.jpg",
    ]
    assert [item.size_bytes for item in items] == [5, 10, 4, -1]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", b"id,picture\n1,b.jpg\n", "it has id, picture; say which with --column"),
        ("a.csv", b"id,path\n1,b.jpg\n2,\n", "row 2 names no file in column path"),
        ("a.csv", b"\xff\xfe\x00path", "can't be read as csv"),
        ("a.jsonl", b'{"path": "b.jpg"}\n{"path": 7}\n', "row 2 names no file"),
        ("a.jsonl", b"[1, 2]\n", "expected a JSON object a line"),
        ("a.jsonl", b'{"path": \n', "can't be read as jsonl"),
        ("a.parquet", b"PAR1 it is not", "can't be read as parquet"),
        ("a.csv", b"path\ngone.jpg\n", "no file that .*a.csv names is there"),
    ],
)
def test_manifests_that_can_not_be_used(flight: str, name: str, data: bytes, said: str) -> None:
    put(f"{flight}/{name}", data)
    with pytest.raises(UsageError, match=said):
        find_items([f"{flight}/{name}"], Taking())


def test_films_are_taken_frame_by_frame(tmp_path: Path) -> None:
    write_film(tmp_path / "b.mp4", 10)
    (tmp_path / "a.mov").write_bytes(b"no film")
    items = find_items([str(tmp_path)], Taking(every=4))
    assert [(Path(item.path).name, item.frame) for item in items] == [
        ("a.mov", None),
        ("b.mp4", 0),
        ("b.mp4", 4),
        ("b.mp4", 8),
    ]
    assert items[0].stamp is None
    assert len({item.stamp for item in items[1:]}) == 3


def test_results_are_not_taken_for_sources(tmp_path: Path) -> None:
    for name in ("a.jpg", "out/samples/000000.jpg", "outer/b.jpg"):
        put(str(tmp_path / name), b"x")
    taking = Taking(recursive=True, leave_out=str(tmp_path / "out"))
    assert names(find_items([str(tmp_path)], taking), str(tmp_path)) == ["a.jpg", "outer/b.jpg"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("gone.jpg", "is neither a file nor a folder"),
        ("*.webp", "nothing matches"),
        ("empty", "holds no picture and no film, folders in it apart"),
    ],
)
def test_nothing_is_said_to_be_there(tmp_path: Path, given: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=said):
        find_items([str(tmp_path / given)], Taking())


def test_a_film_that_is_read_in_part_is_no_short_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_film(tmp_path / "a.mkv", 9)

    def failing(file: object, name: str) -> list[int | None]:
        raise OSError("the store had a bad moment")

    monkeypatch.setattr("sparsight_cloud.batch.sources.frame_stamps", failing)
    items = find_items([str(film)], Taking())
    (row,) = read_items(items, 10**6)
    assert isinstance(row, PictureError) and "could not be listed" in str(row)


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 5000 + ".png"])
def test_a_name_that_no_disk_has_is_an_item(tmp_path: Path, name: str) -> None:
    put(f"{tmp_path}/a.png", b"a")
    put(
        f"{tmp_path}/list.jsonl",
        "\n".join(json.dumps({"path": n}) for n in ["a.png", name]).encode(),
    )
    items = find_items([str(tmp_path / "list.jsonl")], Taking())
    assert [item.size_bytes for item in items] == [1, -1]
    assert all(isinstance(one, PictureError) for one in read_items(items, 10**6))


def test_a_manifest_that_is_too_deep(tmp_path: Path) -> None:
    put(f"{tmp_path}/list.jsonl", b'{"path":' + b"[" * 200_000)
    with pytest.raises(UsageError, match="can't be read as jsonl"):
        find_items([str(tmp_path / "list.jsonl")], Taking())
