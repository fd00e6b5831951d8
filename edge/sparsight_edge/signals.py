"""What the outside asks of a running agent, by signals.

SIGTERM, SIGINT   once: capture no more, drain, end        twice: end without waiting
SIGHUP            read the settings again; on a terminal, which is gone then, as SIGTERM
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from sparsight_edge.agent import Stops


@dataclass(slots=True)
class Asked:
    """What was asked so far.

    Attributes:
        ends: Every signal to end, in order.
        reload: The settings are to be read again; false again for whoever does it.
    """

    ends: list[signal.Signals] = field(default_factory=list)
    reload: bool = False

    @property
    def exit_code(self) -> int:
        """As a shell gives it for the first signal; 0 if there was none."""
        return 128 + self.ends[0] if self.ends else 0


@contextmanager
def obey_signals(stops: Stops, *, hangs_up: bool) -> Iterator[Asked]:
    """Turn signals into wishes while the block runs.

    Args:
        stops: Set by the signals that end.
        hangs_up: SIGHUP says that our terminal is gone.
    """
    asked = Asked()

    def end(number: int, frame: FrameType | None) -> None:
        asked.ends.append(signal.Signals(number))
        # One handler may interrupt another, and an event's lock can't be taken twice.
        if len(asked.ends) == 1:
            stops.soon.set()
        elif len(asked.ends) == 2:
            stops.now.set()

    def reload(number: int, frame: FrameType | None) -> None:
        asked.reload = True

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield asked
        return
    handlers = {
        signal.SIGINT: end,
        signal.SIGTERM: end,
        signal.SIGHUP: end if hangs_up else reload,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
