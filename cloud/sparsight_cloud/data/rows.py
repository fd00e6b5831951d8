"""Tables of numbers in text files, one row a line, and where each row came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from sparsight_cloud.data.reading import Reading


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a file that could be read.

    Attributes:
        path: The file.
        values: One column a field.
        lines: Number of each row's line in the file, from 1.
    """

    path: Path
    values: Float64[np.ndarray, "n fields"]
    lines: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.lines)

    @classmethod
    def none(cls, path: Path, fields: int) -> "Rows":
        """No rows, of a file that has or needs none.

        Args:
            path: The file.
            fields: How many columns there would be.
        """
        return cls(path, np.zeros((0, fields)), np.zeros(0, np.int64))

    def take(self, rows: Bool[np.ndarray, " n"]) -> "Rows":
        """The marked rows."""
        return Rows(self.path, self.values[rows], self.lines[rows])

    def refuse(self, rows: Bool[np.ndarray, " n"], expected: str, reading: Reading) -> None:
        """Records the marked rows as problems.

        Args:
            rows: Which ones.
            expected: What should have come.
            reading: Gets the problems.
        """
        for row in np.flatnonzero(rows):
            got = " ".join(f"{value:g}" for value in self.values[row])
            reading.problem(self.where(int(row)), f"expected {expected}, got {got}")

    def where(self, row: int) -> str:
        """Place of a row in the form that editors jump to, `file:line`."""
        return f"{self.path}:{self.lines[row]}"


def read_rows(
    path: Path,
    fields: Sequence[str],
    reading: Reading,
    separator: str | None = ",",
    further: bool = False,
    may_be_empty: bool = False,
) -> Rows:
    """Reads a table.

    Args:
        path: The file.
        fields: Names of the columns.
        reading: Gets what is wrong, with the line.
        separator: Between two fields; None for any white space. One more at a line's end is
            passed over, as VisDrone's own files have it.
        further: Whether a line may have more fields, which are not looked at.
        may_be_empty: Whether a file without rows is fine.

    Returns:
        The rows that are as they should be.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reading.problem(path, f"expected a text file, it can't be read: {error}")
        return Rows.none(path, len(fields))
    values: list[list[float]] = []
    lines: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        parts = line.split(separator)
        if separator and not parts[-1].strip():
            parts.pop()
        try:
            if len(parts) != len(fields) and not (further and len(parts) > len(fields)):
                raise ValueError
            values.append([float(part) for part in parts[: len(fields)]])
            lines.append(number)
        except ValueError:
            expected = f"{len(fields)} numbers ({', '.join(fields)})"
            shown = line.strip() if len(line) <= 80 else f"{line[:80].strip()} ..."
            reading.problem(f"{path}:{number}", f"expected {expected}, got {shown!r}")
    if not text.strip() and not may_be_empty:
        reading.problem(
            path,
            "expected a label on each line, the file is empty; if its picture has no objects, "
            "allow that (--allow-empty)",
        )
    if not values:
        return Rows.none(path, len(fields))
    return Rows(path, np.array(values), np.array(lines, np.int64))
