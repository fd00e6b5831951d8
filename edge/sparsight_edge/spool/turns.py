"""Which frame is sent next.

    oldest-first    whatever waits longest
    live-first      the newest few of this boot ── 3 of 4 ──┐
                    the backlog, in order ──────── 1 of 4 ──┴─> next

Live are the newest `LIVE_FRAMES`, in order among themselves: more than one, so that an answer that
is late for a moment does not scramble them; few, so that on a link too slow for the camera the
answer to a new frame is about as young as can be. A frame that is passed by newer ones joins the
backlog. That gets every fourth turn even while live frames wait: so it never starves, and live
frames keep three quarters of a link that is too slow for both. When no live frame waits, which is
most of the time on a link that is fast enough, all turns are the backlog's.
"""

from __future__ import annotations

from sparsight_edge.spool.segment import PENDING
from sparsight_edge.spool.settings import Order
from sparsight_edge.spool.shelf import Place, Shelf

LIVE_FRAMES = 4
BACKLOG_EVERY = 4


class Turns:
    """Chooses the next frame; not for threads."""

    def __init__(self, shelf: Shelf, order: Order) -> None:
        """Turns of the frames in these files."""
        self._shelf = shelf
        self._order = order
        self._passed = 0  # live frames that went since the backlog's turn

    def next(self, next_seq: int) -> Place | None:
        """The frame whose turn it is, or None if none waits.

        Args:
            next_seq: Number of the frame that this boot appends next.
        """
        oldest = self._shelf.oldest_pending()
        if oldest is None or self._order == "oldest-first":
            return oldest
        live = self._live(next_seq) if self._passed < BACKLOG_EVERY - 1 else None
        self._passed = 0 if live is None else self._passed + 1
        return live or oldest

    def _live(self, next_seq: int) -> Place | None:
        for seq in range(max(0, next_seq - LIVE_FRAMES), next_seq):
            found = self._shelf.find(self._shelf.epoch, seq)
            if found is not None and found[0].states[found[1]] == PENDING:
                return found
        return None
