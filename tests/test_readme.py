"""The README is true: its tree is what is on the disk, its commands run."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PLACES = ("proto", "shared", "edge", "cloud")


def tree() -> Iterator[str]:
    """Paths of the annotated tree, folders with a slash at the end; a name may be a pattern."""
    block = re.search(r"```text\nsparsight/\n(.*?)```", README, re.DOTALL)
    assert block, "README.md has no ```text block that begins with sparsight/"
    folders: list[str] = []
    for line in block.group(1).splitlines():
        entry = re.match(r"((?:│   |    )*)[├└]── (\S+)", line)
        assert entry, f"not a line of a tree: {line!r}"
        depth, name = len(entry.group(1)) // 4, entry.group(2)
        folders[depth:] = [name.rstrip("/")]
        yield "/".join(folders) + ("/" if name.endswith("/") else "")


def on_disk() -> list[PurePosixPath]:
    """Every file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: what belongs to it is unknown")
    return [PurePosixPath(name) for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def commands() -> Iterator[str]:
    """Commands of the shell blocks below a `<!-- run -->`."""
    for block in re.findall(r"<!-- run -->\n```sh\n(.*?)```", README, re.DOTALL):
        yield from (line.split("  #")[0].strip() for line in block.splitlines() if line.strip())


def test_every_path_of_the_tree_exists() -> None:
    assert [path for path in tree() if not any(ROOT.glob(path.rstrip("/")))] == []


def test_every_top_level_entry_is_in_the_tree() -> None:
    shown = {path.split("/")[0] for path in tree()}
    assert sorted({path.parts[0] for path in on_disk()} - shown) == []


def test_every_module_is_in_the_tree() -> None:
    shown = [path for path in tree() if not path.endswith("/")]
    modules = [
        path
        for path in on_disk()
        if path.parts[0] in PLACES and path.suffix in {".py", ".proto"}
        if path.name != "__init__.py"
    ]
    missing = [
        str(path)
        for path in modules
        if not any(PurePosixPath(path).match(pattern) for pattern in shown)
    ]
    assert missing == []


def test_every_make_target_of_the_readme_is_one() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= targets


def test_places_hold_one_package_and_a_readme() -> None:
    for place in PLACES:
        entries = {path.parts[1] for path in on_disk() if path.parts[0] == place}
        packages = {entry for entry in entries if (ROOT / place / entry).is_dir()}
        assert (len(packages), entries - packages) == (1, {"README.md"}), place


@pytest.mark.parametrize("command", list(commands()))
def test_command_runs(command: str, tmp_path: Path) -> None:
    # Where the README's paths are what they are in the repository, and what is written is dropped.
    for name in ("samples", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    scripts = str(Path(sys.executable).parent)
    done = subprocess.run(
        shlex.split(command),
        cwd=tmp_path,
        env={**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
