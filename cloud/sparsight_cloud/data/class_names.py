"""Names of the classes beside text labels: `data.yaml`, or a list with a name on each line."""

from pathlib import Path
from typing import Any

import yaml

from sparsight.errors import DataError

NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
"""Files that a folder's class names are looked for in, in this order."""


def find_names(annotations: Path) -> Path:
    """The file that names the classes.

    Args:
        annotations: That file, or a folder that has it or has it above.

    Raises:
        DataError: There is none.
    """
    if not annotations.is_dir():
        return annotations
    folders = [annotations, *annotations.absolute().parents[:2]]
    for folder in folders:
        for name in NAME_FILES:
            if (folder / name).is_file():
                return folder / name
    raise DataError(
        f"{annotations}: expected the names of the classes in {', '.join(NAME_FILES)}, in it or in "
        "one of the two folders above; found none"
    )


def read_names(path: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of the classes and their COCO ids.

    Args:
        path: A `data.yaml` with `names` as a list or by index, or a text file with a name a line.

    Raises:
        DataError: The file can't be read or doesn't name the classes from 0 on, each once.
    """
    raw = _load(path)
    names = raw.get("names")
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        names = [names[key] for key in sorted(names, key=int)]
    if not isinstance(names, list) or not names:
        raise DataError(
            f"{path}: expected `names`, a list or a table from 0 on without gaps, got "
            f"{str(names)[:80]}"
        )
    found = tuple(str(name) for name in names)
    if len(set(found)) < len(found):
        raise DataError(f"{path}: expected names of their own, got {', '.join(found)}")
    stated = raw.get("nc", len(found))
    if stated != len(found):
        raise DataError(f"{path}: expected as many names as nc says, {stated}, got {len(found)}")
    ids = raw.get("category_ids", list(range(1, len(found) + 1)))
    if not isinstance(ids, list) or len(set(map(str, ids))) != len(found):
        raise DataError(f"{path}: expected category_ids, one for each name, got {str(ids)[:80]}")
    if not all(isinstance(key, int) for key in ids):
        raise DataError(f"{path}: expected category_ids that are integers, got {str(ids)[:80]}")
    return found, tuple(ids)


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix not in (".yaml", ".yml"):
            return {"names": [line.strip() for line in text.splitlines() if line.strip()]}
        raw = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: can't read the names of the classes: {reason}") from error
    return raw if isinstance(raw, dict) else {}
