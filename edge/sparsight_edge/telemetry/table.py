"""A table of telemetry that a user gives: `--telemetry FILE`, CSV with a header.

    name,lat_deg,lon_deg,alt_m                      of pictures: which one
    film_s,lat_deg,lon_deg,alt_m,yaw_deg            of a film: seconds from its first frame
    unix_s,lat_deg,... or time_utc,lat_deg,...      of a camera: when; the file may be growing

Any of lat_deg, lon_deg, alt_m, yaw_deg, pitch_deg, roll_deg; an empty cell is unknown. A camera's
table is read on as it grows, for what another program writes of the flight meanwhile.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from sparsight.errors import UsageError, WireError
from sparsight.wire import Telemetry
from sparsight_edge.telemetry.track import FIELDS, SAMPLES_MAX, Field, Track

Key: TypeAlias = Literal["name", "film_s", "unix_s", "time_utc"]
KEYS: tuple[Key, ...] = get_args(Key)

LIVE_SAMPLES_MAX = 10_000
"""Samples of a camera's table that are remembered."""

_LINE_CHARS = 4096
_READ_LINES_MAX = 2_000  # of a growing table at a time: a frame must not wait for all of a long one


class Columns:
    """What the columns of a table are."""

    def __init__(self, file: Path, header: Sequence[str]) -> None:
        """Understand a header.

        Raises:
            UsageError: It is none.
        """
        names = [name.strip() for name in header]
        keys = [name for name in names if name in KEYS]
        unknown = [name for name in names if name not in (*KEYS, *FIELDS)]
        wrong = len(keys) != 1 or unknown or len(names) < 2 or len(set(names)) < len(names)
        if wrong:
            raise UsageError(
                f"{file}: expected a header with one of {', '.join(KEYS)} and some of "
                f"{', '.join(FIELDS)}, got {','.join(names)[:200]!a}"
            )
        self.key: Key = keys[0]
        self._names = names

    def row(self, cells: Sequence[str]) -> tuple[str, dict[Field, float]]:
        """A row's key, and what it knows.

        Raises:
            ValueError: It is no row of this table; says why.
        """
        if len(cells) != len(self._names):
            raise ValueError(f"expected {len(self._names)} cells, got {len(cells)}")
        given = dict(zip(self._names, (cell.strip() for cell in cells), strict=True))
        known = {name: float(given[name]) for name in FIELDS if given.get(name)}
        try:
            Telemetry(**known)
        except WireError as error:
            raise ValueError(str(error)) from error
        return given[self.key], known


def read_names(file: Path) -> dict[str, Telemetry]:
    """Telemetry of pictures by the names of their files.

    Raises:
        UsageError: The file can't be read, or is no such table; names the line.
    """
    found: dict[str, Telemetry] = {}
    for _, name, known in _rows(file, ("name",), "pictures"):
        if known:
            found[name] = Telemetry(**known)
    return found


def read_film(file: Path) -> Track:
    """Telemetry of a film, by seconds from its first frame.

    Raises:
        UsageError: As above, or the times don't grow.
    """
    track = Track()
    for number, text, known in _rows(file, ("film_s",), "a film"):
        try:
            grows = track.add(float(text), known)
        except ValueError:
            grows = False
        if not grows:
            raise UsageError(f"{file}: line {number}: expected seconds that grow, got {text!a}")
    return track


class LiveTable:
    """Telemetry of a camera, by the time of day, from a file that may be growing."""

    def __init__(self, file: Path) -> None:
        """Open the file and read its header.

        Raises:
            UsageError: It can't be read, or is no such table.
        """
        self._track = Track(LIVE_SAMPLES_MAX)
        self._half = ""
        try:
            self._file = file.open(encoding="utf-8-sig", errors="replace", newline="")
            header = self._file.readline(_LINE_CHARS)
        except OSError as error:
            raise UsageError(f"{file}: can't be read: {error.strerror}") from error
        try:
            self._columns = _header(file, header, ("unix_s", "time_utc"), "a camera")
        except UsageError:
            self._file.close()
            raise

    def at(self, unix_s: float) -> Telemetry | None:
        """Where the camera was; what came to the file since is read first."""
        if self._track.end_s < unix_s:
            self._read_on(unix_s)
        return self._track.at(unix_s)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _read_on(self, unix_s: float) -> None:
        for _ in range(_READ_LINES_MAX):
            if self._track.end_s >= unix_s:
                return  # what is later may still be wanted when these were forgotten
            line = self._half + self._file.readline(_LINE_CHARS)
            if not line.endswith("\n"):
                self._half = line if len(line) < _LINE_CHARS else ""
                return
            self._half = ""
            # A row that is none says nothing; the flight goes on.
            with contextlib.suppress(ValueError, csv.Error):
                text, known = self._columns.row(next(csv.reader([line])))
                self._track.add(_unix_s(self._columns.key, text), known)


def _rows(
    file: Path, keys: tuple[Key, ...], of: str
) -> Iterator[tuple[int, str, dict[Field, float]]]:
    """Number, key and knowledge of each row."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            columns = _header(file, lines.readline(_LINE_CHARS), keys, of)
            for number, line in enumerate(lines, start=2):
                if not line.strip():
                    continue
                if number > SAMPLES_MAX:
                    raise UsageError(f"{file}: expected at most {SAMPLES_MAX} lines, got more")
                cells = next(csv.reader([line]))
                try:
                    text, known = columns.row(cells)
                except ValueError as error:
                    raise UsageError(f"{file}: line {number}: {error}") from error
                yield number, text, known
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file}: can't be read as CSV: {error}") from error


def _header(file: Path, line: str, keys: tuple[Key, ...], of: str) -> Columns:
    columns = Columns(file, next(csv.reader([line]), []))
    if columns.key not in keys:
        raise UsageError(
            f"{file}: a row's key is {columns.key}; of {of} it must be {' or '.join(keys)}"
        )
    return columns


def _unix_s(key: Key, text: str) -> float:
    if key == "unix_s":
        return float(text)
    # Python 3.10 does not know the Z.
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.timezone.utc)
    return at.timestamp()
