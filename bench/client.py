"""A device that sends what it is given as fast as its credit lets it, to bench the cloud."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from sparsight.wire import (
    STREAM_METHOD,
    Ack,
    Credit,
    FrameFeatures,
    FrameResult,
    FrameStatus,
    Hello,
    pack_device_message,
    unpack_cloud_message,
)

ACK_EVERY = 32


@dataclass
class Tally:
    """What devices saw."""

    answered: int = 0
    round_trips_ms: list[float] = field(default_factory=list)
    bytes_up: int = 0
    bytes_down: int = 0


async def device(
    channel: grpc.aio.Channel,
    hello: Hello,
    frames: int,
    frame: Callable[[int], FrameFeatures],
    tally: Tally,
    unanswered_max: int | None = None,
) -> None:
    """Send frames as credit comes, and acknowledge what was answered.

    Args:
        channel: To the cloud.
        hello: Who it is.
        frames: How many it sends.
        frame: What it sends, by number.
        tally: Told of every answer.
        unanswered_max: It has so many frames under way at most, whatever its credit.

    Raises:
        RuntimeError: A frame was not answered OK.
    """
    call: Any = channel.stream_stream(STREAM_METHOD)()
    credit, sent, cost, answered = Credit(0, 0), 0, 0, 0
    since_s: dict[int, float] = {}
    unacknowledged: list[int] = []

    async def say(message: Hello | FrameFeatures | Ack) -> None:
        data = pack_device_message(message)
        tally.bytes_up += len(data)
        await call.write(data)

    await say(hello)
    while answered < frames:
        while sent < frames and (unanswered_max is None or sent - answered < unanswered_max):
            next_frame = frame(sent)
            if not credit.allows(sent + 1, cost + next_frame.cost_bytes):
                break
            since_s[next_frame.key.seq] = time.perf_counter()
            await say(next_frame)
            sent, cost = sent + 1, cost + next_frame.cost_bytes
        data: bytes = await call.read()
        tally.bytes_down += len(data)
        message = unpack_cloud_message(data)
        if isinstance(message, Credit):
            credit = message
        elif isinstance(message, FrameResult):
            if message.status is not FrameStatus.OK:
                raise RuntimeError(f"expected OK, got {message.status}: {message.detail}")
            answered += 1
            tally.answered += 1
            seq = message.key.seq
            tally.round_trips_ms.append((time.perf_counter() - since_s.pop(seq)) * 1e3)
            unacknowledged.append(seq)
            if len(unacknowledged) == ACK_EVERY:
                await say(Ack(hello.epoch, tuple(unacknowledged)))
                unacknowledged.clear()
    await call.done_writing()
    await call.read()
