"""Where Ray Train writes: files that are whole or not there, also on a disk.

Ray writes its list of checkpoints in place. A kill between two bytes would leave a list that can't
be read, and checkpoints that nobody finds any more. Object stores show whole objects by themselves.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from pyarrow import PythonFile
from pyarrow.fs import FSSpecHandler, PyFileSystem


def file_system(fs: AbstractFileSystem) -> PyFileSystem:
    """A file system as Ray Train takes it."""
    kind = _WholeFiles if isinstance(fs, LocalFileSystem) else FSSpecHandler
    return PyFileSystem(kind(fs))


class _WholeFiles(FSSpecHandler):  # type: ignore[misc]
    """Files of this machine, each of which appears when it is closed."""

    def open_output_stream(self, path: str, metadata: Any) -> PythonFile:
        """A file to write, beside the one that may be there."""
        return PythonFile(_Placed(Path(path)), mode="w")


class _Placed(io.BufferedWriter):
    """Is moved to its place by `close`."""

    def __init__(self, place: Path) -> None:
        self._place, self._part = place, place.with_name(f"{place.name}.part")
        super().__init__(io.FileIO(self._part, "wb"))

    def close(self) -> None:
        """As of files; once."""
        if not self.closed:
            super().close()
            self._part.replace(self._place)
