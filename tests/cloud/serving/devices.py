"""A cloud on loopback in this process, and devices that call it, honest and otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from sparsight.wire import (
    DETECT_METHOD,
    STREAM_METHOD,
    Ack,
    CloudMessage,
    Credit,
    DeviceMessage,
    FrameFeatures,
    FrameKey,
    FrameResult,
    Hello,
    Refusal,
    Welcome,
    pack_device_message,
    pack_frame,
    unpack_cloud_message,
    unpack_result,
)
from sparsight_cloud.serving.batching import BatchRule
from sparsight_cloud.serving.commit import CommitRule
from sparsight_cloud.serving.gateway import Door
from sparsight_cloud.serving.in_process import InProcessDispatch
from sparsight_cloud.serving.settings import GatewayLimits
from sparsight_cloud.serving.up import CloudSettings, MakeDispatch, Ready, cloud

from .hashes import BUNDLE, CODEC, HashReplica

PATIENCE_S = 60.0


def hashing(replica: HashReplica | None = None, rule: BatchRule | None = None) -> MakeDispatch:
    return lambda ears: InProcessDispatch(replica or HashReplica(), rule or BatchRule(8, 1.0), ears)


def run_cloud(
    out: Path,
    do: Callable[[Ready], Coroutine[Any, Any, None]],
    make_dispatch: MakeDispatch | None = None,
    *,
    pki: Path | None = None,
    listen: str = "127.0.0.1:0",
    limits: GatewayLimits | None = None,
    **settings: Any,
) -> None:
    """Do something to a cloud that runs."""
    settings.setdefault("commit", CommitRule(fsync=False))

    async def run() -> None:
        how = CloudSettings(
            door=Door(listen, pki),
            out=out,
            limits=limits or GatewayLimits(grace_s=5),
            **settings,
        )
        async with cloud(how, make_dispatch or hashing()) as ready:
            await asyncio.wait_for(do(ready), PATIENCE_S)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def calling(
    address: str, pki: Path | None = None, name: str = "drone-1", **options: Any
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel, with a device's certificate if there are any."""
    arguments = [("grpc.max_send_message_length", -1), *options.items()]
    if pki is None:
        channel = grpc.aio.insecure_channel(address, options=arguments)
    else:
        channel = grpc.aio.secure_channel(address, device_credentials(pki, name), options=arguments)
    try:
        yield channel
    finally:
        await channel.close()


def device_credentials(pki: Path, name: str | None) -> grpc.ChannelCredentials:
    authority = (pki / "ca.crt").read_bytes()
    if name is None:
        return grpc.ssl_channel_credentials(authority)
    key, certificate = ((pki / f"{name}.{ending}").read_bytes() for ending in ("key", "crt"))
    return grpc.ssl_channel_credentials(authority, key, certificate)


async def detect(channel: grpc.aio.Channel, frame: FrameFeatures | bytes) -> FrameResult:
    """The unary call."""
    data = frame if isinstance(frame, bytes) else pack_frame(frame)
    call: Any = channel.unary_unary(DETECT_METHOD)
    return unpack_result(await call(data))


def a_hello(device: str = "drone-1", **changes: Any) -> Hello:
    usual: dict[str, Any] = {
        "device": device,
        "epoch": 1,
        "bundle_id": BUNDLE,
        "codec_version": CODEC,
        "streams": ("cam",),
    }
    return Hello(**(usual | changes))


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until something is so that nobody tells of."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@dataclass
class Device:
    """One stream to a cloud, and what came on it."""

    channel: grpc.aio.Channel
    results: dict[FrameKey, FrameResult] = field(default_factory=dict)
    answers: list[FrameResult] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    credit: Credit = field(default_factory=lambda: Credit(0, 0))
    welcome: Welcome | None = None

    def __post_init__(self) -> None:
        self.call: Any = self.channel.stream_stream(STREAM_METHOD)()
        self.sent_frames = 0
        self.sent_bytes = 0

    async def say(self, message: DeviceMessage | bytes) -> None:
        """Send a message, or bytes that may be none."""
        if isinstance(message, FrameFeatures):
            self.sent_frames += 1
            self.sent_bytes += message.cost_bytes
        data = message if isinstance(message, bytes) else pack_device_message(message)
        await self.call.write(data)

    async def hear(self) -> CloudMessage | None:
        """The next message; None at the end of the stream."""
        data = await self.call.read()
        if not isinstance(data, bytes):
            return None
        message = unpack_cloud_message(data)
        if isinstance(message, FrameResult):
            self.results[message.key] = message
            self.answers.append(message)
        elif isinstance(message, Refusal):
            self.refusals.append(message)
        elif isinstance(message, Credit):
            assert message.frames >= self.credit.frames, "totals never shrink"
            assert message.cost_bytes >= self.credit.cost_bytes, "totals never shrink"
            self.credit = message
        else:
            self.welcome = message
        return message

    async def greet(self, hello: Hello | None = None) -> None:
        """Say Hello, and hear the Welcome and the first credit."""
        await self.say(hello or a_hello())
        while self.welcome is None or self.credit.frames == 0:
            if await self.hear() is None:
                raise AssertionError(f"sent away: {self.refusals}")

    async def send(self, frames: Iterable[FrameFeatures]) -> None:
        """Send frames as credit comes, and hear every answer; nothing may be unanswered before."""
        wanted = len(self.answers)
        for frame in frames:
            while not self.credit.allows(self.sent_frames + 1, self.sent_bytes + frame.cost_bytes):
                assert await self.hear() is not None
            await self.say(frame)
            wanted += 1
        await self.hear_answers(wanted)

    async def hear_answers(self, n: int) -> None:
        """Until so many frames were answered on this stream."""
        while len(self.answers) < n:
            assert await self.hear() is not None, f"the stream ended: {self.refusals}"

    async def acknowledge(self, keys: Iterable[FrameKey]) -> None:
        keys = list(keys)
        await self.say(Ack(keys[0].epoch, tuple(key.seq for key in keys)))

    async def end(self) -> grpc.StatusCode:
        """Half-close, hear the rest, and learn how it ended."""
        await self.call.done_writing()
        return await self.status()

    async def status(self) -> grpc.StatusCode:
        """How the stream ended, when it does."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await self.hear() is not None:
                pass
        code: grpc.StatusCode = await self.call.code()
        return code


async def deliver(
    address: Callable[[], str],
    hello: Hello,
    frames: Sequence[FrameFeatures],
    *,
    copies: int = 1,
    until_s: float = 90,
) -> dict[FrameKey, FrameResult]:
    """Send frames until each has its result, whatever becomes of the cloud meanwhile.

    Args:
        address: Where it is now.
        hello: Of the device.
        frames: What to send.
        copies: Each is sent so many times.
        until_s: It is a failure not to be done by then.
    """
    left = {frame.key: frame for frame in frames}
    results: dict[FrameKey, FrameResult] = {}
    end_s = time.monotonic() + until_s
    while left:
        assert time.monotonic() < end_s, f"{hello.device}: {len(results)} answered, {len(left)} not"
        async with calling(address()) as channel:
            device = Device(channel)
            with contextlib.suppress(
                grpc.aio.AioRpcError, asyncio.InvalidStateError, AssertionError
            ):
                await device.greet(hello)
                await device.send(frame for frame in left.values() for _ in range(copies))
            done = {r.key: r for r in device.answers if r.status.done}
            results |= done
            left = {key: frame for key, frame in left.items() if key not in done}
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                if done:
                    await device.acknowledge(done)
                    await device.end()
        await asyncio.sleep(0.05)
    return results
