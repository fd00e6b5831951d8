"""What was typed, to the pictures that are meant and the names of what comes of them.

    "flight1/a.jpg" "flight2" "north/*.png" ──> sources: path, name in reports, annotated picture

A file is taken as it is, whatever its ending; from a folder or a pattern come the files that end
like pictures, in the order of their names. A name in reports is the file's own, or its path below
the folder that was given; where two would be the same, both get the part of their paths that tells
them apart, so that nothing overwrites anything.
"""

import glob
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from sparsight.errors import UsageError
from sparsight.pictures import SUFFIXES

PICTURE_SUFFIX = ".jpg"
"""Ending of the annotated pictures."""


@dataclass(frozen=True, slots=True)
class Source:
    """One picture to look at.

    Attributes:
        path: Where it lies; what was named as a file need not exist.
        file_name: Its name in reports, with `/` between folders; no other source has it.
        picture: Where its annotated picture goes, below the output folder; no other source has it.
    """

    path: Path
    file_name: str
    picture: PurePath


def find_sources(given: Sequence[str], out: Path, recursive: bool = False) -> list[Source]:
    """Find every picture that is meant, each once.

    Args:
        given: Files, folders and patterns (`*`, `?`, `[...]`, `**`).
        out: The output folder; pictures in it are an earlier run's and not taken from folders and
            patterns.
        recursive: Look into the folders of folders as well.

    Returns:
        At least one, in the order in which they were given.

    Raises:
        UsageError: Nothing was found, or an annotated picture would overwrite its source.
    """
    found: dict[Path, tuple[Path, str]] = {}
    for one in given:
        for path, name in _expand(one, out.resolve(), recursive):
            found.setdefault(path.resolve(), (path, name))
    # A file that is not there is reported beside the others; alone it is a slip of the pen.
    if not any(path.exists() for path, _ in found.values()):
        raise UsageError(
            f"no picture found: {', '.join(_nothing(one, recursive) for one in given)}"
        )
    paths = [path for path, _ in found.values()]
    names = _apart(
        [name for _, name in found.values()],
        lambda group: _below_common_folder([paths[i] for i in group]),
    )
    pictures = _apart(
        [str(PurePath(name).with_suffix(PICTURE_SUFFIX)) for name in names],
        lambda group: [names[i] + PICTURE_SUFFIX for i in group],
    )
    for picture in pictures:
        if (out / picture).resolve() in found:
            raise UsageError(
                f"{out / picture} is one of the pictures to look at and would be overwritten; "
                "give another --out"
            )
    return [
        Source(path, PurePath(name).as_posix(), PurePath(picture))
        for path, name, picture in zip(paths, names, pictures, strict=True)
    ]


def _expand(given: str, out: Path, recursive: bool) -> Iterator[tuple[Path, str]]:
    """Pictures of one argument, each with its name."""
    path = Path(given)
    if path.is_dir():
        yield from _in_folder(path, out, recursive)
    elif path.exists() or not glob.has_magic(given):
        yield path, path.name
    else:
        # Not `Path.glob`, which takes no absolute patterns.
        for match in sorted(map(Path, glob.glob(given, recursive=True))):  # noqa: PTH207
            if match.is_dir():  # a shell would have handed it on, too
                yield from _in_folder(match, out, recursive)
            elif _is_picture(match) and out not in match.resolve().parents:
                yield match, match.name


def _in_folder(folder: Path, out: Path, recursive: bool) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        if _is_picture(path) and out not in path.resolve().parents:
            yield path, str(path.relative_to(folder))


def _is_picture(path: Path) -> bool:
    # macOS leaves "._a.jpg" beside "a.jpg" on memory cards: no picture, in spite of its name.
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._") and not path.is_dir()


def _nothing(given: str, recursive: bool) -> str:
    path = Path(given)
    if path.is_dir():
        deeper = "" if recursive else ", folders in it apart (--recursive)"
        return f"the folder {given} holds none{deeper}"
    if glob.has_magic(given):
        return f"nothing matches {given}"
    return f"{given} is neither a file nor a folder"


def _apart(names: Iterable[str], longer: Callable[[list[int]], list[str]]) -> list[str]:
    """The names, with those that are the same made longer and, if need be, numbered.

    Args:
        names: May repeat; case does not tell names apart, since not every disk knows it.
        longer: From places in the list, whose names are the same, to better names.
    """
    out = list(names)
    for group in _same(out):
        for i, name in zip(group, longer(group), strict=True):
            out[i] = name
    for group in _same(out):
        for i in group[1:]:
            taken = {name.casefold() for name in out}
            whole = PurePath(out[i])
            number = 2
            while str(whole.with_stem(f"{whole.stem}-{number}")).casefold() in taken:
                number += 1
            out[i] = str(whole.with_stem(f"{whole.stem}-{number}"))
    return out


def _same(names: list[str]) -> list[list[int]]:
    places = defaultdict(list)
    for i, name in enumerate(names):
        places[name.casefold()].append(i)
    return [group for group in places.values() if len(group) > 1]


def _below_common_folder(paths: list[Path]) -> list[str]:
    absolute = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100, links stay as typed
    top = os.path.commonpath([path.parent for path in absolute])
    return [str(path.relative_to(top)) for path in absolute]
