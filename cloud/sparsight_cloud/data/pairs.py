"""Pictures and their label files, found by name: `images/a/b.jpg` and `labels/a/b.txt`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sparsight.errors import DataError
from sparsight_cloud.data.pictures import require_folder
from sparsight_cloud.data.reading import Reading


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and its labels.

    Attributes:
        file_name: The picture's name, relative to the folder of pictures.
        picture: The picture's path.
        labels: Its label file; None if it has none and need not.
    """

    file_name: str
    picture: Path
    labels: Path | None


def pair_up(
    pictures: Mapping[str, Path],
    labels: Path,
    reading: Reading,
    passed_over: Collection[str] = (),
) -> list[Pair]:
    """Finds the label file of each picture.

    Args:
        pictures: Path of each picture by its name.
        labels: Folder of the label files.
        reading: Gets pictures without a label file, label files without a picture, and pictures
            that would share one.
        passed_over: Names of text files that are no labels.

    Returns:
        The pictures that can be read, in their order.

    Raises:
        DataError: There is no such folder, or no label file at all: whatever is allowed, such a set
            is a mistake.
    """
    require_folder(labels, "label files")
    unused = {
        path.relative_to(labels).as_posix(): path
        for path in sorted(labels.rglob("*.txt"))
        if path.name not in passed_over
    }
    if not unused:
        raise DataError(f"{labels}: expected label files (*.txt), found none; wrong folder?")
    out: list[Pair] = []
    owner: dict[str, str] = {}
    for name, picture in pictures.items():
        wanted = str(PurePosixPath(name).with_suffix(".txt"))
        path = unused.pop(wanted, None)
        if wanted in owner:
            what = f"expected a label file of its own, it shares {wanted} with {owner[wanted]}"
            reading.problem(picture, what)
            continue
        owner[wanted] = name
        if path is None and not reading.allow_empty:
            what = f"expected the labels of {picture}, there is no such file"
            hint = "if the picture has no objects, allow that (--allow-empty)"
            reading.problem(labels / wanted, f"{what}; {hint}")
            continue
        out.append(Pair(name, picture, path))
    for path in unused.values():
        reading.problem(path, "expected a picture of that name, there is none")
    return out
