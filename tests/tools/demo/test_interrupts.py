"""Signals as one exception, and not in the middle of what is held."""

from __future__ import annotations

import os
import signal

import pytest
from tools.demo.interrupts import Interrupts, private_folder


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_an_exception_and_the_next_ones_count(number: signal.Signals) -> None:
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            send(number)
        send(number)
        assert interrupts.count == 2


def test_what_is_held_ends_first() -> None:
    done = []
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.held():  # noqa: PT012
            with interrupts.held():
                send(signal.SIGINT)
            done.append("inner")
            send(signal.SIGINT)
            done.append("outer")
        assert done == ["inner", "outer"] and interrupts.count == 2
        with interrupts.held():  # once is enough
            send(signal.SIGINT)


def test_the_handlers_of_before_come_back_and_what_is_ignored_stays_so() -> None:
    before = signal.getsignal(signal.SIGTERM)
    hup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            send(signal.SIGHUP)
            assert interrupts.count == 0
            assert signal.getsignal(signal.SIGTERM) != before
    finally:
        signal.signal(signal.SIGHUP, hup)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_folder_is_private_and_goes_whatever_ends_the_block() -> None:
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), private_folder(interrupts) as folder:  # noqa: PT012
            (folder / "deep").mkdir()
            assert folder.stat().st_mode & 0o077 == 0
            send(signal.SIGINT)
        assert not folder.exists()
