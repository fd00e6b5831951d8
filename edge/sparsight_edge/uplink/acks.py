"""Which results the cloud is still to hear are stored here.

    add ─> waiting ─ sent ─> on the way ─ heard ─> forgotten
              ^                  │
              └───── lost ───────┘

The cloud does not answer an acknowledgement. But a stream keeps its order: once it answers a frame
that was sent after one, it has heard it. So a link that breaks costs no acknowledgement, and the
cloud has no results to keep for ever.
"""

from __future__ import annotations

from collections import deque

from sparsight.wire import ACK_SEQS_MAX, Ack


class Acks:
    """For one thread.

    Attributes:
        waiting: Results to be acknowledged.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._seqs: dict[int, list[int]] = {}
        self._on_the_way: deque[tuple[int, Ack]] = deque()

    def add(self, epoch: int, seq: int) -> None:
        """This frame's result is stored."""
        self._seqs.setdefault(epoch, []).append(seq)
        self.waiting += 1

    def next(self) -> Ack | None:
        """The next acknowledgement to send; the same until it is `sent`."""
        for epoch, seqs in self._seqs.items():
            return Ack(epoch, tuple(seqs[:ACK_SEQS_MAX]))
        return None

    def sent(self, ack: Ack, frames_before: int) -> None:
        """It went out.

        Args:
            ack: What `next` gave.
            frames_before: Frames that were sent before it on this stream.
        """
        seqs = self._seqs[ack.epoch]
        del seqs[: len(ack.seqs)]
        if not seqs:
            del self._seqs[ack.epoch]
        self.waiting -= len(ack.seqs)
        self._on_the_way.append((frames_before, ack))

    def heard(self, frame_number: int) -> None:
        """The cloud answered this frame of the stream, counted from 1."""
        while self._on_the_way and self._on_the_way[0][0] < frame_number:
            self._on_the_way.popleft()

    def lost(self) -> None:
        """The stream is over: what may not have been heard is to be sent on the next."""
        while self._on_the_way:
            _, ack = self._on_the_way.pop()
            self._seqs[ack.epoch] = [*ack.seqs, *self._seqs.get(ack.epoch, [])]
            self.waiting += len(ack.seqs)
