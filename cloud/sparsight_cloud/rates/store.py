"""Results on disk, one file for each row and frame, so that a run can be stopped at any moment.

    WORK / bundle ids / curve / quality / hash of the picture.npz

A file is there whole or not at all. Frames go by the hash of their bytes: a folder serves several
data sets, and a picture that was changed is measured anew.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparsight.detections import Detections
from sparsight.errors import PictureError, UsageError
from sparsight_cloud.rates.rows import Row
from sparsight_cloud.rates.shots import Shot

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise on damaged files."""

RECIPE = 2
"""Grows when rows of the same name come to mean something else; older results are left alone."""

_ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Store:
    """Where the results of some bundles are.

    Attributes:
        work: Folder of all results.
        bundle_id: Of the bundle.
        tuned_id: Of the one that learned from coded pictures; None without.
    """

    work: Path
    bundle_id: str
    tuned_id: str | None

    def has(self, row: Row, frame: str) -> bool:
        """Whether a row was done on a frame."""
        return self.file(row, frame).is_file()

    def load(self, row: Row, frame: str) -> Shot:
        """What came of it.

        Raises:
            UsageError: The file is damaged.
        """
        file = self.file(row, frame)
        try:
            with np.load(file, allow_pickle=False) as held:
                found = {
                    str(name): Detections(
                        held[f"{name}_xyxy"],
                        held[f"{name}_scores"],
                        held[f"{name}_labels"].astype(np.int64),
                    )
                    for name in held["judges"]
                }
                names, values = held["names"].tolist(), held["values"].tolist()
                return Shot(int(held["wire_bytes"]), found, dict(zip(names, values, strict=True)))
        except _UNREADABLE as error:
            raise UsageError(f"{file}: a damaged result; remove it and run again") from error

    def save(self, row: Row, frame: str, shot: Shot) -> None:
        """Keep a result.

        Raises:
            UsageError: It can't be written.
        """
        file = self.file(row, frame)
        boxes: dict[str, Any] = {
            f"{name}_{what}": value
            for name, one in shot.found.items()
            for what, value in (
                ("xyxy", one.xyxy),
                ("scores", one.scores),
                ("labels", one.labels.astype(np.int16)),
            )
        }
        # The file's own name ends the same on every process, the first one's does not.
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as out:
                np.savez(
                    out,
                    wire_bytes=np.int64(shot.wire_bytes),
                    judges=np.array(list(shot.found), np.str_),
                    names=np.array(list(shot.figures), np.str_),
                    values=np.array(list(shot.figures.values()), np.float64),
                    **boxes,
                )
            temporary.replace(file)
        except OSError as error:
            raise UsageError(
                f"{file}: can't write ({error.strerror}); name another folder by --work"
            ) from error

    def file(self, row: Row, frame: str) -> Path:
        """Where a result is, or would be."""
        ids = [self.bundle_id[:_ID_DIGITS]]
        if row.curve.tuned:
            ids.append((self.tuned_id or "")[:_ID_DIGITS])
        folder = self.work / f"{'+'.join(ids)}-r{RECIPE}" / row.curve.name / str(row.quality)
        return folder / f"{frame}.npz"


def frame_hashes(pictures: Sequence[Path]) -> Mapping[Path, str]:
    """The name of each picture in a store.

    Raises:
        PictureError: One can't be read.
    """
    return {picture: _hash(picture) for picture in pictures}


def joint_hash(frames: Sequence[str]) -> str:
    """The name of a frame within a video: what comes of it depends on those before it."""
    return hashlib.sha256("".join(frames).encode()).hexdigest()[:_ID_DIGITS]


def _hash(picture: Path) -> str:
    try:
        return hashlib.sha256(picture.read_bytes()).hexdigest()[:_ID_DIGITS]
    except OSError as error:
        raise PictureError(f"{picture}: can't be opened: {error.strerror or error}") from error
