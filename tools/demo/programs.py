"""The real programs as processes of their own, and that none of them outlives us.

    start ─> folder/NAME.out, NAME.err ... end: SIGINT in reverse order, SIGKILL for what stays

Each runs in a session of its own: Ctrl-C on the terminal is for the demo, which ends them in order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.demo.interrupts import Interrupts

from sparsight.errors import SparsightError, UsageError

_LOOK_S = 0.05
_STOP_S = 60.0  # a Ray cluster takes ten on a busy machine


class ProgramError(SparsightError):
    """A program ended that should not have, or did not do what it should in time."""

    exit_code = 1


class Program:
    """One `sparsight ...` that was started.

    Attributes:
        name: For people.
    """

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        """Start it; what it says goes to files in the folder."""
        self.name = name
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        script = Path(sys.executable).with_name("sparsight")
        if not script.exists():
            raise UsageError(f"{script}: not there; run the demo by `make demo`, which installs it")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [str(script), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> list[str]:
        """The whole lines of its standard output so far."""
        return self._out.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]

    @property
    def ended(self) -> str:
        """How it ended, in one line."""
        words = self._err.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(words) if line.strip()), "it said nothing")
        return f"{self.name} ended with exit code {self.code}: {last}"

    def wait(self) -> None:
        """Let it end by itself.

        Raises:
            ProgramError: It failed.
        """
        if self._process.wait():
            raise ProgramError(self.ended)

    def wait_for(self, beginning: str, limit_s: float) -> str:
        """Wait for a line of its output.

        Args:
            beginning: How the line begins.
            limit_s: How long.

        Returns:
            The line.

        Raises:
            ProgramError: It ended instead, or took too long.
        """
        end_s = time.monotonic() + limit_s
        while True:
            code = self.code  # before looking, for its last words count
            if line := next((one for one in self.said if one.startswith(beginning)), None):
                return line
            if code is not None:
                raise ProgramError(self.ended)
            if time.monotonic() > end_s:
                raise ProgramError(f"{self.name} was not ready within {limit_s:.0f} s")
            time.sleep(_LOOK_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it and what it started."""
        if self.code is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Programs:
    """Starts programs, and ends those that still run when the block is left.

    Attributes:
        folder: For their files.
    """

    def __init__(self, folder: Path, interrupts: Interrupts) -> None:
        """None yet.

        Args:
            folder: For their files; it exists.
            interrupts: Held while one is started or ended.
        """
        self.folder = folder
        self._interrupts = interrupts
        self._programs: list[Program] = []

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        with self._interrupts.held():
            try:
                for program in reversed(self._programs):
                    self.end(program)
            finally:
                for program in self._programs:
                    program.kill()

    def start(self, name: str, *arguments: str) -> Program:
        """Start `sparsight` with these arguments."""
        with self._interrupts.held():
            program = Program(name, arguments, self.folder)
            self._programs.append(program)
        return program

    def end(self, program: Program) -> None:
        """Ask a program to end and wait for it; a signal meanwhile cuts the waiting short."""
        with self._interrupts.held():
            before, end_s = self._interrupts.count, time.monotonic() + _STOP_S
            if program.code is None:
                program.signal(signal.SIGINT)
            while program.code is None:
                if self._interrupts.count > before or time.monotonic() > end_s:
                    program.kill()
                time.sleep(_LOOK_S)
