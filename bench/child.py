"""A program beside the bench: started, heard once, ended as Ctrl-C would end it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def child(arguments: Sequence[str], threads: int) -> Iterator[str]:
    """Run Python on something while the block runs.

    Args:
        arguments: Of the interpreter.
        threads: That torch and BLAS may take there.

    Yields:
        The first line that it says.

    Raises:
        RuntimeError: It ended without a word.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(threads),
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(arguments)[:200]}: did not start")
        yield line
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        process.stdout.close()


def environment(threads: int) -> dict[str, str]:
    """This process's environment, its import path, and so many threads."""
    path = os.pathsep.join(p for p in sys.path if p)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
