"""Programs that are started are ended, and say why they ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tools.demo.interrupts import Interrupts
from tools.demo.programs import ProgramError, Programs

LINE = '{"device":"drone","epoch":1,"seq":0}'


def watch(folder: Path) -> list[str]:
    """A program of ours that says `LINE` and goes on until it is told to end."""
    (folder / "results").mkdir()
    (folder / "results" / "000001.jsonl").write_text(LINE + "\n")
    return ["cloud", "watch", str(folder), "--json", "--all"]


def test_a_program_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Interrupts() as interrupts, Programs(tmp_path, interrupts) as programs:
        program = programs.start("watch", "cloud", "watch", "nowhere")
        with pytest.raises(ProgramError, match=r"^watch ended with exit code 2: .*no results here"):
            program.wait()
        with pytest.raises(ProgramError, match="exit code 2"):
            program.wait_for("listening", 60)


def test_a_line_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    with Interrupts() as interrupts, Programs(tmp_path, interrupts) as programs:
        program = programs.start("version", "--version")
        assert program.wait_for("sparsight", 60).split()[0] == "sparsight"
        endless = programs.start("watch", *watch(tmp_path))
        with pytest.raises(ProgramError, match="watch was not ready within 0 s"):
            endless.wait_for("never", 0.2)


def test_when_the_block_is_left_all_have_ended(tmp_path: Path) -> None:
    with Interrupts() as interrupts:
        with Programs(tmp_path, interrupts) as programs:
            running = programs.start("watch", *watch(tmp_path))
            running.wait_for(LINE, 60)
            assert running.code is None
        assert running.code == 0


def test_one_that_does_not_end_is_killed_by_a_second_signal(tmp_path: Path) -> None:
    with Interrupts() as interrupts:
        with suppress(KeyboardInterrupt), Programs(tmp_path, interrupts) as programs:
            stubborn = programs.start("watch", *watch(tmp_path))
            stubborn.wait_for(LINE, 60)
            stubborn.signal(signal.SIGSTOP)  # deaf to SIGINT from here on
            # The second signal comes while it is being waited for: from here, in a second.
            before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
            signal.setitimer(signal.ITIMER_REAL, 1.0)
            begin_s = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)
        signal.signal(signal.SIGALRM, before)
        assert interrupts.count == 2
    assert time.monotonic() - begin_s < 30
    assert stubborn.code == -signal.SIGKILL
