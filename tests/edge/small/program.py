"""`sparsight edge run` as a process of its own, as it is installed or not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

START = """
import sys
from importlib.metadata import EntryPoint
from sparsight.cli import ENTRY_POINT_GROUP, build_app, run
groups = [EntryPoint("edge", "sparsight_edge.cli:register", ENTRY_POINT_GROUP)]
sys.exit(run(build_app(groups), sys.argv[1:]))
"""


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Begin `sparsight edge ...`; its output is to be read."""
    return subprocess.Popen(
        [sys.executable, "-c", START, "edge", *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": ":".join(filter(None, sys.path)),
            "COLUMNS": "120",
        },
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def finish(process: subprocess.Popen[str], seconds: float = 120) -> tuple[int, str, str]:
    """Wait for it: exit code, stdout, stderr."""
    with process:
        out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def memory_bytes(pid: int) -> int:
    """What a process has in memory, without the files it has mapped."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
