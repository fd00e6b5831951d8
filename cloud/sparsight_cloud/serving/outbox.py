"""What a stream has to say, in a queue that can't outgrow the device's reading.

    results ─ put ─> outbox ─ one write after the other ─> device
                        └── after each message: credit, if it is time

Credit for a frame comes back when its result was written. Whoever reads the device's messages waits
for `room` first, so a device that sends without credit and never reads stops at a bounded queue and
then at gRPC's flow control, not in our memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from sparsight.wire import CloudMessage, pack_cloud_message
from sparsight_cloud.serving.credit import Ledger, Window


class Outbox:
    """Owns the messages that wait for one device, and its ledger of credit."""

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        window: Callable[[], Window],
        wrote_bytes: Callable[[int], None],
    ) -> None:
        """An empty outbox; `run` empties it.

        Args:
            write: Writes a message; returns when there is room for the next.
            window: The device's share as things are.
            wrote_bytes: Told the size of every message written.
        """
        self.ledger = Ledger()
        self._write = write
        self._window = window
        self._wrote_bytes = wrote_bytes
        self._waiting: deque[tuple[CloudMessage, int | None]] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._finishing = False
        self._last: CloudMessage | None = None
        self._writing_since_s: float | None = None

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._waiting)

    def put(self, message: CloudMessage, answers_bytes: int | None = None) -> None:
        """Say something.

        Args:
            message: What to say.
            answers_bytes: If it answers a frame, what that took of the credit.
        """
        self._waiting.append((message, answers_bytes))
        self._wake.set()

    def finish(self, last: CloudMessage | None = None) -> None:
        """Let `run` return when all is said.

        Args:
            last: A last word.
        """
        self._last = last
        self._finishing = True
        self._wake.set()

    async def room(self, messages: int) -> None:
        """Wait until fewer than so many messages wait."""
        while len(self._waiting) >= messages:
            self._room.clear()
            await self._room.wait()

    def stuck_s(self) -> float:
        """For how long the device has not taken what is being written."""
        since_s = self._writing_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    async def run(self) -> None:
        """Write until `finish`."""
        while True:
            while self._waiting:
                message, answers_bytes = self._waiting.popleft()
                self._room.set()
                await self._send(message)
                if answers_bytes is not None:
                    self.ledger.answered(answers_bytes)
                credit = self.ledger.grant(self._window())
                if credit is not None:
                    await self._send(credit)
            if self._finishing:
                if self._last is not None:
                    await self._send(self._last)
                return
            self._wake.clear()
            await self._wake.wait()

    async def _send(self, message: CloudMessage) -> None:
        data = pack_cloud_message(message)
        self._writing_since_s = time.monotonic()
        await self._write(data)
        self._writing_since_s = None
        self._wrote_bytes(len(data))
