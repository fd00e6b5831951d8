"""What was typed, to the list of items.

    "flight1/a.jpg" "flight2" "s3://north/*.png" film.mp4 day.csv ──> items, each once

A file is taken as it is; from a folder or a pattern come the files that end like pictures or films,
in the order of their names. Of a film every n-th frame is taken. A manifest (CSV, JSON lines or
Parquet) names files in one of its columns; relative names are looked for beside the manifest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from sparsight.errors import SparsightError, UsageError
from sparsight.pictures import SUFFIXES
from sparsight_cloud.batch.films import FILM_SUFFIXES, frame_stamps
from sparsight_cloud.batch.items import Item
from sparsight_cloud.batch.manifests import MANIFEST_SUFFIXES, read_manifest
from sparsight_cloud.batch.store import one_line, open_uri

_CHANGED = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
_ASKED_AT_ONCE = 16  # files of a manifest: an object store answers each after tens of milliseconds


@dataclass(frozen=True, slots=True)
class Taking:
    """How sources are taken.

    Attributes:
        recursive: Look into the folders of folders as well.
        every: Of a film, take one frame of so many.
        column: Column of manifests that names the files; None takes the first that sounds like it.
        leave_out: A local folder whose files are not taken from folders and patterns.
    """

    recursive: bool = False
    every: int = 1
    column: str | None = None
    leave_out: str | None = None


@dataclass(frozen=True, slots=True)
class _File:
    """A file that was found; `info` is None where it could not be asked."""

    path: str
    info: dict[str, Any] | None


def find_items(given: Sequence[str], taking: Taking) -> list[Item]:
    """List everything that is meant, each file once.

    Args:
        given: Files, folders, patterns and manifests, on disks or below URIs.
        taking: How.

    Returns:
        At least one item; a file that is not there or can't be read is one, too, and will be a row
        with an error.

    Raises:
        UsageError: Nothing was found, or a manifest or a URI can't be used.
    """
    found: dict[str, _File] = {}
    for one in given:
        for file in _expand(one, taking):
            found.setdefault(file.path, file)
    if not any(file.info is not None for file in found.values()):
        raise UsageError(
            f"nothing found: {', '.join(_nothing(one, taking.recursive) for one in given)}"
        )
    return [item for file in found.values() for item in _items_of(file, taking.every)]


def _expand(given: str, taking: Taking) -> Iterator[_File]:
    try:
        fs, path = open_uri(given)
        if fs.isdir(path):
            yield from _in_folder(fs, path, taking)
        elif fs.exists(path) or not _is_pattern(path):
            if _suffix(path) in MANIFEST_SUFFIXES and fs.exists(path):
                yield from _of_manifest(fs, path, given, taking)
            else:
                yield _file(fs, path)
        else:
            for match, info in sorted(fs.glob(path, detail=True).items()):
                if info["type"] == "directory":  # a shell would have handed it on, too
                    yield from _in_folder(fs, match, taking)
                elif _is_taken(match, taking):
                    yield _File(_name(fs, match), info)
    except SparsightError:
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise UsageError(f"{given}: can't be listed ({one_line(error)})") from error


def _in_folder(fs: fsspec.AbstractFileSystem, folder: str, taking: Taking) -> Iterator[_File]:
    depth = None if taking.recursive else 1
    for path, info in sorted(fs.find(folder, maxdepth=depth, detail=True).items()):
        if _is_taken(path, taking):
            yield _File(_name(fs, path), info)


def _of_manifest(
    fs: fsspec.AbstractFileSystem, path: str, given: str, taking: Taking
) -> Iterator[_File]:
    named = read_manifest(fs.cat_file(path), given, _suffix(path), taking.column)
    beside = path.rsplit("/", 1)[0]

    def ask(name: str) -> _File:
        if "://" in name:
            return _file(*open_uri(name))
        return _file(fs, name if name.startswith("/") else os.path.normpath(f"{beside}/{name}"))

    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        yield from pool.map(ask, named)


def _file(fs: fsspec.AbstractFileSystem, path: str) -> _File:
    try:
        return _File(_name(fs, path), fs.info(path))
    except Exception:  # as above; reading it will say why
        return _File(_name(fs, path), None)


def _items_of(file: _File, every: int) -> Iterator[Item]:
    info = file.info or {}
    if info.get("islink"):  # what the link leads to is what may change
        info = {**info, "mtime": _changed_behind(file.path)}
    size = info.get("size")
    changed = next((str(info[key]) for key in _CHANGED if info.get(key)), "")
    size_bytes = size if isinstance(size, int) else -1
    if _suffix(file.path) not in FILM_SUFFIXES or file.info is None:
        yield Item(file.path, None, None, size_bytes, changed)
        return
    stamps = _stamps(file.path)
    if stamps is None:
        yield Item(file.path, None, None, size_bytes, changed)
        return
    for place, stamp in list(enumerate(stamps))[::every]:
        yield Item(file.path, place, stamp, size_bytes, changed)


def _changed_behind(link: str) -> float | None:
    try:
        return Path(link).stat().st_mtime
    except OSError:
        return None


def _stamps(path: str) -> list[int | None] | None:
    """Of a film's frames; None of one that can't be read to its end: reading it will say why."""
    fs, place = open_uri(path)
    try:
        with fs.open(place, "rb") as file:
            return frame_stamps(file, path)
    except Exception:  # as above
        return None


def _name(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """The path itself where it is a local file's, a URI elsewhere."""
    uri = str(fs.unstrip_protocol(path))
    return uri.removeprefix("file://")


def _is_taken(path: str, taking: Taking) -> bool:
    if taking.leave_out is not None and path.startswith(taking.leave_out.rstrip("/") + "/"):
        return False
    # macOS leaves "._a.jpg" beside "a.jpg" on memory cards: no picture, in spite of its name.
    name = PurePosixPath(path).name
    return _suffix(path) in SUFFIXES | FILM_SUFFIXES and not name.startswith("._")


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _nothing(given: str, recursive: bool) -> str:
    fs, path = open_uri(given)
    if fs.isdir(path):
        deeper = "" if recursive else ", folders in it apart (--recursive)"
        return f"the folder {given} holds no picture and no film{deeper}"
    if _is_pattern(path):
        return f"nothing matches {given}"
    if _suffix(path) in MANIFEST_SUFFIXES and fs.exists(path):
        return f"no file that {given} names is there"
    return f"{given} is neither a file nor a folder"
