"""The cloud as a process, killed and restarted, while devices go on sending everything twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from sparsight.wire import FrameKey, FrameResult, FrameStatus

from .devices import Device, a_hello, calling, eventually
from .devices import deliver as deliver_to
from .hashes import a_frame
from .test_gateway import assert_right, lines_of

SCRIPT = Path(__file__).with_name("gateway_process.py")


class Cloud:
    """A gateway that can be killed."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.address = "127.0.0.1:0"
        self.metrics = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> int:
        """Start, on the port of before; how many frames it knows of."""
        path = os.pathsep.join(p for p in sys.path if p)
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self.out), self.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().split()
        assert line, "did not start"
        self.address, self.metrics, committed = line
        return int(committed)

    def stop(self, number: signal.Signals) -> int:
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process.stdout.close()
        return code

    def rss_bytes(self) -> int:
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path / "out")
    yield cloud
    if cloud.process is not None and cloud.process.poll() is None:
        cloud.stop(signal.SIGKILL)


async def deliver(
    cloud: Cloud, name: str, n: int, *, copies: int = 1
) -> dict[FrameKey, FrameResult]:
    frames = [a_frame(seq, device=name) for seq in range(n)]
    return await deliver_to(lambda: cloud.address, a_hello(name), frames, copies=copies)


def assert_each_once(out: Path, devices: dict[str, int]) -> None:
    counts = Counter((row["device"], row["seq"]) for row in lines_of(out))
    assert set(counts.values()) == {1}
    assert set(counts) == {(name, seq) for name, n in devices.items() for seq in range(n)}


def test_killed_and_restarted_again_and_again_every_frame_is_committed_once(
    gateway: Cloud,
) -> None:
    devices = {"drone-1": 300, "drone-2": 300}

    async def kill_sometimes() -> None:
        for lines in (20, 150, 330, 500):
            await eventually(lambda n=lines: len(lines_of(gateway.out)) >= n)  # type: ignore[misc]
            await asyncio.to_thread(gateway.stop, signal.SIGKILL)
            await asyncio.sleep(0.1)
            committed = await asyncio.to_thread(gateway.start)
            assert committed >= lines

    async def run() -> None:
        gateway.start()
        killing = asyncio.create_task(kill_sometimes())
        delivered = await asyncio.gather(
            *(deliver(gateway, name, n, copies=2) for name, n in devices.items())
        )
        await killing
        for results in delivered:
            for key, result in results.items():
                # An answer that was acknowledged before its second copy came is not sent again.
                if result.status is not FrameStatus.ALREADY_DONE:
                    assert_right(a_frame(key.seq, device=key.device), result)

    asyncio.run(run())
    assert gateway.stop(signal.SIGTERM) == 0
    assert_each_once(gateway.out, devices)


def test_told_to_end_it_ends_in_good_order(gateway: Cloud) -> None:
    gateway.start()
    asyncio.run(deliver(gateway, "drone-1", 50))
    assert gateway.stop(signal.SIGINT) == 0
    assert_each_once(gateway.out, {"drone-1": 50})
    assert gateway.start() == 50
    assert gateway.stop(signal.SIGTERM) == 0


def test_two_do_not_share_a_folder_or_a_port(gateway: Cloud, tmp_path: Path) -> None:
    gateway.start()
    for arguments, says in (
        ([str(gateway.out), "127.0.0.1:0"], "another cloud"),
        ([str(tmp_path / "other"), gateway.address], "can't be listened on"),
    ):
        second = subprocess.run(
            [sys.executable, str(SCRIPT), *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert says in second.stderr
        assert "Traceback" not in second.stderr
    asyncio.run(deliver(gateway, "drone-1", 5))


def test_a_crowd_that_never_reads_does_not_make_it_grow(gateway: Cloud) -> None:
    """Forty devices send all they can and read nothing: bounded, and an honest one gets through."""
    gateway.start()

    async def flood(name: str) -> None:
        async with calling(gateway.address) as channel:
            device = Device(channel)
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.TimeoutError):
                await device.say(a_hello(name))
                for seq in range(200):
                    frame = a_frame(seq, device=name, thumbnail=bytes(200_000))
                    await asyncio.wait_for(device.say(frame), 2)

    async def run() -> None:
        await deliver(gateway, "honest", 200)
        before = gateway.rss_bytes()
        floods = [asyncio.create_task(flood(f"drone-{i}")) for i in range(40)]
        await asyncio.sleep(1)
        await deliver(gateway, "honest too", 200)
        peak = gateway.rss_bytes()
        await asyncio.gather(*floods)
        peak = max(peak, gateway.rss_bytes())
        # 40 x 200 x 200 kB is 1.6 GB; allowed in flight are 128 frames, and a transport's buffers.
        assert peak - before < 300 << 20

    asyncio.run(run())
