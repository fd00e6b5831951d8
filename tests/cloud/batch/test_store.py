"""The folder of results, on a disk and in fsspec's memory, which is whole or not there, too."""

import os
import secrets
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from sparsight.errors import UsageError
from sparsight_cloud.batch.store import Store


@pytest.fixture(params=["disk", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return Store(f"memory://{secrets.token_hex(4)}/out")
    return Store(f"file://{tmp_path}/out" if request.param == "file" else str(tmp_path / "out"))


def test_what_is_written_is_read(store: Store, tmp_path: Path) -> None:
    assert store.read("run.json") is None
    store.write("run.json", b"one")
    store.write("run.json", b"two")
    (tmp_path / "made").write_bytes(b"three")
    store.copy("coco.json", tmp_path / "made")
    assert (store.read("run.json"), store.read("coco.json")) == (b"two", b"three")
    with store.open("coco.json") as file:
        assert file.read() == b"three"


def test_names_of_a_folder(store: Store) -> None:
    assert store.names("rows") == []
    store.write("rows/b", b"")
    store.write("rows/a", b"")
    assert store.names("rows") == ["a", "b"]
    store.forget("rows/a")
    store.forget("rows/never")
    assert store.names("rows") == ["b"]


def test_another_process_finds_the_same_folder(store: Store) -> None:
    store.write("a", b"here")
    assert Store(store.address).read("a") == b"here"


def test_a_relative_folder_is_the_same_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("out")
    monkeypatch.chdir("/")
    store.write("a", b"here")
    assert (tmp_path / "out/a").read_bytes() == b"here"


def test_half_written_files_are_no_files_and_are_swept(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("rows/a", b"whole")
    (tmp_path / "rows/b.part-123-abcd").write_bytes(b"ha")
    assert store.names("rows") == ["a"]
    store.sweep("rows")
    assert os.listdir(tmp_path / "rows") == ["a"]  # noqa: PTH208


def test_a_folder_that_can_not_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match=r"out/run.json: can't be written .*give another --out"):
        Store(str(tmp_path / "out")).write("run.json", b"")


@pytest.mark.parametrize("uri", ["nowhere://a/b", "zip://a::file:///b.zip"])
def test_a_uri_that_is_not_known(uri: str) -> None:
    with pytest.raises(UsageError, match=uri[:7]):
        Store(uri)


@pytest.mark.parametrize("uri", ["ftp://127.0.0.1:1/a", "zip://", "reference://a"])
def test_what_can_not_be_opened_is_said_in_a_line(uri: str) -> None:
    with pytest.raises(UsageError, match="can't be opened"):
        Store(uri)


def test_a_uri_whose_host_would_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dropped(MemoryFileSystem):  # type: ignore[misc]  # as sftp, ftp and smb are
        protocol = "dropped"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/a"

        @staticmethod
        def _get_kwargs_from_urls(path: str) -> dict[str, str]:
            return {"host": "host"} if "@" in path else {}

    monkeypatch.setattr("sparsight_cloud.batch.store.url_to_fs", lambda _: (Dropped(), "/a"))
    with pytest.raises(UsageError, match="name a host, a user"):
        Store("dropped://user:word@host/a")


def test_a_file_that_another_start_took_for_a_leftover_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = Store(str(tmp_path)), Store(str(tmp_path))
    fill = store._fs.pipe_file
    swept: list[str] = []

    def fill_and_sweep(path: str, data: bytes) -> None:
        fill(path, data)
        if not swept:
            swept.append(path)
            other.sweep("rows")

    monkeypatch.setattr(store._fs, "pipe_file", fill_and_sweep)
    store.write("rows/a", b"whole")
    assert swept and store.names("rows") == ["a"] and store.read("rows/a") == b"whole"
