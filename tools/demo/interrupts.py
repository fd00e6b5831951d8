"""Ctrl-C, SIGTERM and a closed terminal as one exception, never where it would leave a mess."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """The first signal is a KeyboardInterrupt, once nothing is held; the others only count.

    Attributes:
        count: How many signals came.
    """

    def __init__(self) -> None:
        self.count = 0
        self._held = False
        self._raised = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        # What whoever started us wants ignored (nohup, a job in the background) stays ignored.
        chosen = [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._obey) for number in chosen}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the block end first: it starts or ends something that must not be half done.

        Raises:
            KeyboardInterrupt: After the block, for a first signal within it.
        """
        outer, self._held = self._held, True
        try:
            yield
        finally:
            self._held = outer
        if self.count and not (self._held or self._raised):
            self._raise()

    def _obey(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if not (self._held or self._raised):
            self._raise()

    def _raise(self) -> None:
        self._raised = True
        raise KeyboardInterrupt


@contextmanager
def private_folder(interrupts: Interrupts) -> Iterator[Path]:
    """A new folder for this user only; it goes after the block, whatever ends it."""
    folder = None
    try:
        with interrupts.held():
            folder = Path(tempfile.mkdtemp(prefix="sparsight-demo-"))
        yield folder
    finally:
        if folder is not None:
            with interrupts.held():
                shutil.rmtree(folder, ignore_errors=True)
