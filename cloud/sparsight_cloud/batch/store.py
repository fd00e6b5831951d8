"""Where results lie: a folder on a disk or below a URI, in files that are whole or not there.

Object stores show an object when all of it has come. Elsewhere a file is written beside its place
under a name of its own, then moved there, so two processes that write the same file at the same
time, one of them of a run that was just killed, leave one whole file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from sparsight.errors import UsageError

_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
_PART = ".part-"


def open_uri(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or URI, and its path there.

    Raises:
        UsageError: The URI can't be used here.
    """
    if "::" in uri:
        raise UsageError(f"{uri}: chained URIs are not taken; give what is inside as files")
    try:
        fs, path = url_to_fs(uri)
        kept = str(fs.unstrip_protocol(path))
        same = fs._get_kwargs_from_urls(uri) == fs._get_kwargs_from_urls(kept)  # noqa: SLF001
    except Exception as error:  # each kind of store has errors of its own
        raise UsageError(f"{uri}: can't be opened ({one_line(error)})") from error
    if not same:  # the list of items and the processes know the path alone
        raise UsageError(
            f"{uri}: URIs that name a host, a user or an account are not taken; mount the store "
            "or fetch the files"
        )
    return fs, str(path)


class Store:
    """Owns the folder of one run's results."""

    def __init__(self, uri: str) -> None:
        """A folder, which need not exist.

        Args:
            uri: A path, or a URI that fsspec knows.

        Raises:
            UsageError: The URI can't be used here.
        """
        self.uri = uri.rstrip("/") or uri
        self._fs, root = open_uri(uri)
        self._root = root.rstrip("/")
        protocols = self._fs.protocol
        named = {protocols} if isinstance(protocols, str) else set(protocols)
        self._whole = bool(named & _WHOLE)
        self.local = Path(self._root) if named & {"file", "local"} else None

    @property
    def address(self) -> str:
        """The same folder for a process with another working directory."""
        return str(self._fs.unstrip_protocol(self._root))

    def place(self, name: str) -> str:
        """What people call a file of it."""
        return f"{self.uri}/{name}"

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None if there is none.

        Raises:
            UsageError: It can't be read.
        """
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{self.place(name)}: can't be read ({one_line(error)})") from error

    def open(self, name: str) -> Any:
        """A file, to be read in parts; not `BinaryIO`, which fsspec's files resemble only."""
        return self._fs.open(f"{self._root}/{name}", "rb")

    def write(self, name: str, data: bytes) -> None:
        """Write a file, in place of one that may be there.

        Raises:
            UsageError: It can't be written.
        """
        self._try(name, lambda: self._place(name, lambda path: self._fs.pipe_file(path, data)))

    def copy(self, name: str, file: Path) -> None:
        """The same, with what a local file holds.

        Raises:
            UsageError: It can't be written.
        """
        self._try(name, lambda: self._place(name, lambda path: self._fs.put_file(file, path)))

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder of it, sorted; none if there is no such folder."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return sorted(
            name for one in found if _PART not in (name := str(one).rstrip("/").rsplit("/", 1)[-1])
        )

    def forget(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self._try(name, lambda: self._fs.rm_file(f"{self._root}/{name}"))

    def sweep(self, folder: str) -> None:
        """Remove what killed processes left half written in a folder of it."""
        if self.local is not None:
            for part in (self.local / folder).glob(f"*{_PART}*"):
                with suppress(OSError):
                    part.unlink()

    def _place(self, name: str, fill: Callable[[str], None], tries: int = 3) -> None:
        """Have a file filled where nobody looks for it, then move it to its place.

        More than one try: another run that starts on this folder now takes it for a leftover.
        """
        path = f"{self._root}/{name}"
        if self._whole:
            fill(path)
            return
        self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        part = f"{path}{_PART}{os.getpid()}-{secrets.token_hex(4)}"
        try:
            fill(part)
            if self.local is not None:
                os.replace(part, path)  # noqa: PTH105, a string is what there is
            else:
                self._fs.mv(part, path)
        except FileNotFoundError:
            if tries == 1:
                raise
            self._place(name, fill, tries - 1)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(part)
            raise

    def _try(self, name: str, do: Callable[[], None]) -> None:
        try:
            do()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UsageError(
                f"{self.place(name)}: can't be written ({one_line(error)}); "
                "make room or give another --out"
            ) from error


def one_line(error: BaseException) -> str:
    """An error's own words, without line breaks."""
    said = getattr(error, "strerror", None) or str(error)
    return " ".join(str(said).split())[:300] or type(error).__name__
