"""A device that sends what it is given, as fast as its credit lets it or at given times.

frame(0), frame(1) ... ── when due, within the credit ──> cloud
Tally <── a trip each ── answers, acknowledged by the dozen <──┘
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from sparsight.wire import (
    STREAM_METHOD,
    Ack,
    Credit,
    FrameFeatures,
    FrameKey,
    FrameResult,
    FrameStatus,
    Hello,
    pack_device_message,
    unpack_cloud_message,
)

ACK_EVERY = 32


@dataclass(frozen=True, slots=True)
class Trip:
    """A frame there and its answer back.

    Attributes:
        key: Of the frame.
        since_s: When it was due, or sent if nothing was due; by `time.monotonic`.
        until_s: When its answer was there.
    """

    key: FrameKey
    since_s: float
    until_s: float


@dataclass
class Tally:
    """What devices saw."""

    trips: list[Trip] = field(default_factory=list)
    bytes_up: int = 0
    bytes_down: int = 0

    @property
    def answered(self) -> int:
        """Frames that were answered."""
        return len(self.trips)

    @property
    def round_trips_ms(self) -> list[float]:
        """What each took."""
        return [(trip.until_s - trip.since_s) * 1e3 for trip in self.trips]


async def device(
    channel: grpc.aio.Channel,
    hello: Hello,
    frames: int,
    frame: Callable[[int], FrameFeatures],
    tally: Tally,
    unanswered_max: int | None = None,
    due_s: Sequence[float] | None = None,
) -> None:
    """Send frames as credit comes, and acknowledge what was answered.

    Args:
        channel: To the cloud.
        hello: Who it is.
        frames: How many it sends.
        frame: What it sends, by number.
        tally: Told of every answer.
        unanswered_max: It has so many frames under way at most, whatever its credit.
        due_s: Each frame is sent then and no sooner, by `time.monotonic`. One that had to wait for
            credit was due all the same: its trip began then.

    Raises:
        RuntimeError: A frame was not answered OK.
    """
    call: Any = channel.stream_stream(STREAM_METHOD)()
    one_at_a_time, news = asyncio.Lock(), asyncio.Event()
    credit, answered = Credit(0, 0), 0
    since_s: dict[int, float] = {}

    async def say(message: Hello | FrameFeatures | Ack) -> None:
        data = pack_device_message(message)
        tally.bytes_up += len(data)
        async with one_at_a_time:
            await call.write(data)

    async def send() -> None:
        cost = 0
        for sent in range(frames):
            if due_s is not None:
                await asyncio.sleep(max(0.0, due_s[sent] - time.monotonic()))
            one = frame(sent)
            cost += one.cost_bytes
            while not credit.allows(sent + 1, cost) or (
                unanswered_max is not None and sent - answered >= unanswered_max
            ):
                news.clear()
                await news.wait()
            since_s[one.key.seq] = time.monotonic() if due_s is None else due_s[sent]
            await say(one)

    await say(hello)
    sending = asyncio.create_task(send())
    unacknowledged: list[int] = []
    try:
        while answered < frames:
            data: bytes = await call.read()
            tally.bytes_down += len(data)
            message = unpack_cloud_message(data)
            if isinstance(message, Credit):
                credit = message
            elif isinstance(message, FrameResult):
                if message.status is not FrameStatus.OK:
                    raise RuntimeError(f"expected OK, got {message.status}: {message.detail}")
                answered += 1
                seq = message.key.seq
                tally.trips.append(Trip(message.key, since_s.pop(seq), time.monotonic()))
                unacknowledged.append(seq)
                if len(unacknowledged) == ACK_EVERY:
                    await say(Ack(hello.epoch, tuple(unacknowledged)))
                    unacknowledged.clear()
            news.set()
        await sending
    finally:
        sending.cancel()
    await call.done_writing()
    await call.read()
