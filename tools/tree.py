"""Bring the README's annotated tree up to date: new modules in, vanished paths out, notes kept.

A new module's note is the first line of its docstring; shorten it by hand where it is too long.
`tests/test_readme.py` holds the tree against the disk and says when this is due.
"""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {"proto", "shared", "edge", "cloud"}
BLOCK = re.compile(r"(?<=```text\nsparsight/\n).*?(?=```)", re.DOTALL)
LINE = re.compile(r"((?:│   |    )*)[├└]── (\S+) *(.*)")
NOTE_COLUMN = 40


def parse(block: str) -> dict[str, str]:
    """Notes of a drawn tree by path, in its order; a folder's path ends with a slash."""
    notes: dict[str, str] = {}
    folders: list[str] = []
    for line in block.splitlines():
        entry = LINE.fullmatch(line)
        if entry is None:
            raise SystemExit(f"not a line of a tree: {line!r}")
        depth = len(entry.group(1)) // 4
        folders[depth:] = [entry.group(2)]
        notes["".join(folders)] = entry.group(3)
    return notes


def due() -> list[str]:
    """Paths that must be in the tree: top-level entries, and the modules of the places."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = sorted(path for path in listed.splitlines() if (ROOT / path).exists())
    top = [path.split("/")[0] + "/" * ("/" in path) for path in paths]
    modules = [
        path
        for path in paths
        if path.split("/")[0] in PLACES and path.endswith((".py", ".proto"))
        if not path.endswith("__init__.py") and "_pb2" not in path
    ]
    return list(dict.fromkeys([*top, *modules]))


def note(path: str) -> str:
    """The first line of a module's docstring."""
    if not path.endswith(".py"):
        return ""
    text = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    return text.partition("\n")[0].rstrip(".")


def draw(notes: dict[str, str]) -> str:
    """A tree of these paths; siblings stand in the order they come in."""
    children: dict[str, list[str]] = {}
    for path in notes:
        parts = re.findall(r"[^/]+/?", path)
        for depth in range(len(parts)):
            siblings = children.setdefault("".join(parts[:depth]), [])
            if parts[depth] not in siblings:
                siblings.append(parts[depth])

    lines: list[str] = []

    def walk(folder: str, indent: str) -> None:
        names = children.get(folder, [])
        for name in names:
            last = name is names[-1]
            entry = f"{indent}{'└' if last else '├'}── {name}"
            lines.append(f"{entry:{NOTE_COLUMN}} {notes.get(folder + name, '')}".rstrip())
            walk(folder + name, indent + ("    " if last else "│   "))

    walk("", "")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the tree in the README."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    block = BLOCK.search(text)
    if block is None:
        raise SystemExit("README.md has no ```text block that begins with sparsight/")
    notes = {
        path: told
        for path, told in parse(block.group()).items()
        if any(ROOT.glob(path.rstrip("/")))
    }
    for path in due():
        notes.setdefault(path, note(path))
    readme.write_text(text[: block.start()] + draw(notes) + text[block.end() :])


if __name__ == "__main__":
    main()
