"""`sparsight cloud up` on Ray as a program, and processes of it that are killed.

One cloud serves the tests one after the other: each leaves it running, the last ends it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.cloud.serving.device_half import DeviceHalf
from tests.cloud.serving.devices import Device, a_hello, calling, deliver
from tests.cloud.serving.processes import descendants, is_running, name_of
from tests.cloud.serving.test_gateway import lines_of

from sparsight.codec.payload import VERSION
from sparsight.wire import FrameFeatures, FrameKey, FrameResult, FrameStatus, Hello
from sparsight_cloud.serving.dispatch import Answered
from sparsight_cloud.serving.replica import BundleReplica

PATIENCE_S = 400.0
"""For what takes seconds: the machine may be busy."""


class Cloud:
    """The program, on a port that it keeps."""

    def __init__(self, bundle: Path, folder: Path, temporary: Path) -> None:
        self.out = folder / "out"
        self.temporary = temporary
        self.log = folder / "log"
        self.address = "127.0.0.1:0"
        self.metrics = ""
        self._bundle = bundle
        self.process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def launch(self) -> None:
        """Start the program, and don't wait for it."""
        code = "from sparsight.cli import main; main()"
        options = ["--replicas", "2", "--insecure", "--metrics", "127.0.0.1:0"]
        options += ["--out", str(self.out), "--bundle", str(self._bundle)]
        environment = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        environment |= {"TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, "cloud", "up", "--listen", self.address, *options],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **environment},
                text=True,
                start_new_session=True,
            )

    def start(self) -> int:
        """Start it; how many frames it knows of."""
        self.launch()
        assert self.process is not None and self.process.stdout is not None
        ready, shown = (self.process.stdout.readline().split() for _ in range(2))
        assert shown, self.log.read_text()
        self.address, self.metrics = ready[2].rstrip(","), shown[-1]
        return int(ready[-2].lstrip("("))

    def end(self, number: signal.Signals) -> int:
        """Send a signal to all of the terminal's processes, as Ctrl-C does, or to this one."""
        assert self.process is not None and self.process.stdout is not None
        if number is signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        return code

    def replicas(self) -> list[int]:
        return [pid for pid in descendants(self.pid) if "ServeReplica" in name_of(pid)]

    def in_flight(self) -> int:
        with urllib.request.urlopen(self.metrics) as answer:
            lines = answer.read().decode().splitlines()
        name = "sparsight_gateway_in_flight_frames "
        return int(float(next(line for line in lines if line.startswith(name)).split()[1]))


@pytest.fixture(scope="module")
def cloud(split_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    # A short name, as `/tmp` is: Ray's sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="s") as temporary:
        cloud = Cloud(split_bundle, tmp_path_factory.mktemp("cloud"), Path(temporary))
        cloud.start()
        yield cloud
        if cloud.process is not None and cloud.process.poll() is None:
            cloud.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def device(split_bundle: Path) -> DeviceHalf:
    return DeviceHalf(split_bundle)


@pytest.fixture(scope="module")
def right(split_bundle: Path) -> BundleReplica:
    return BundleReplica.from_bundles([split_bundle])


def hello_of(device: DeviceHalf) -> Hello:
    return a_hello(bundle_id=device.bundle_id, codec_version=VERSION)


def wait_for(condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it did not come to pass"
        time.sleep(0.1)


def assert_right(
    right: BundleReplica, frames: list[FrameFeatures], results: dict[FrameKey, FrameResult]
) -> None:
    """Each frame has the objects that its message holds; an acknowledged one may say just so."""
    for frame in frames:
        result, (want,) = results[frame.key], right.run([frame])
        assert isinstance(want, Answered)
        if result.status is not FrameStatus.ALREADY_DONE:
            assert result.status is FrameStatus.OK, result
            # The best tell one frame from another; far down the list near-equals change places.
            best = result.detections.scores[:20]
            np.testing.assert_allclose(best, want.detections.scores[:20], rtol=0, atol=1e-4)


def assert_each_once(cloud: Cloud, seqs: range) -> None:
    counts = Counter(row["seq"] for row in lines_of(cloud.out))
    assert counts == dict.fromkeys(seqs, 1)


def test_a_replica_killed_with_32_frames_in_flight(
    cloud: Cloud, device: DeviceHalf, right: BundleReplica
) -> None:
    frames = [device.frame(seq) for seq in range(40)]
    first, flying = frames[:8], frames[8:]

    async def run() -> dict[FrameKey, FrameResult]:
        await deliver(lambda: cloud.address, hello_of(device), first, until_s=PATIENCE_S)
        killed, spared = cloud.replicas()
        # Held, so that nothing of what is sent now is answered before the kill.
        os.kill(killed, signal.SIGSTOP)
        os.kill(spared, signal.SIGSTOP)
        async with calling(cloud.address) as channel:
            stream = Device(channel)
            await stream.greet(hello_of(device))
            for frame in flying:
                await stream.say(frame)
            await asyncio.to_thread(wait_for, lambda: cloud.in_flight() == 32)
            await asyncio.sleep(0.5)  # some are with one replica and some with the other
            assert cloud.in_flight() == 32
            os.kill(killed, signal.SIGKILL)
            os.kill(spared, signal.SIGCONT)
            await asyncio.wait_for(stream.hear_answers(32), PATIENCE_S)
            await stream.end()
            return stream.results

    results = asyncio.run(run())
    assert_right(right, flying, results)
    assert_each_once(cloud, range(40))
    wait_for(lambda: len(cloud.replicas()) == 2)  # Serve has put another in its place


def test_replicas_killed_one_after_the_other_while_frames_come(
    cloud: Cloud, device: DeviceHalf, right: BundleReplica
) -> None:
    frames = [device.frame(seq) for seq in range(40, 160)]

    def kill_sometimes() -> None:
        for lines in (60, 110):
            wait_for(lambda n=lines: len(lines_of(cloud.out)) >= n)  # type: ignore[misc]
            wait_for(cloud.replicas)
            os.kill(cloud.replicas()[0], signal.SIGKILL)

    async def run() -> dict[FrameKey, FrameResult]:
        killing = asyncio.create_task(asyncio.to_thread(kill_sometimes))
        results = await deliver(
            lambda: cloud.address, hello_of(device), frames, copies=2, until_s=PATIENCE_S
        )
        await killing
        return results

    assert_right(right, frames, asyncio.run(run()))
    assert_each_once(cloud, range(160))


def test_the_gateway_killed_and_started_again(
    cloud: Cloud, device: DeviceHalf, right: BundleReplica
) -> None:
    """Nothing is lost or doubled, and of the cloud that was killed nothing is left."""
    frames = [device.frame(seq) for seq in range(160, 280)]

    def kill_and_start() -> None:
        wait_for(lambda: len(lines_of(cloud.out)) >= 200)
        processes = descendants(cloud.pid)
        assert len(processes) > 6
        cloud.end(signal.SIGKILL)
        wait_for(lambda: not any(map(is_running, processes)))
        wait_for(lambda: not list(cloud.temporary.iterdir()))
        assert cloud.start() >= 200

    async def run() -> dict[FrameKey, FrameResult]:
        killing = asyncio.create_task(asyncio.to_thread(kill_and_start))
        results = await deliver(
            lambda: cloud.address, hello_of(device), frames, copies=2, until_s=PATIENCE_S
        )
        await killing
        return results

    assert_right(right, frames, asyncio.run(run()))
    assert_each_once(cloud, range(280))


def assert_no_traceback(cloud: Cloud) -> None:
    log = cloud.log.read_text()
    at = log.find("Traceback")
    assert at < 0, log[max(0, at - 600) :]


def test_ctrl_c_leaves_no_process_and_no_file(cloud: Cloud) -> None:
    processes = descendants(cloud.pid)
    assert len(processes) > 6
    assert cloud.end(signal.SIGINT) == 0
    wait_for(lambda: not any(map(is_running, processes)))
    assert list(cloud.temporary.iterdir()) == []
    assert_no_traceback(cloud)


def test_ctrl_c_while_it_starts_leaves_nothing_either(cloud: Cloud) -> None:
    cloud.launch()
    wait_for(lambda: len(descendants(cloud.pid)) > 2)
    processes = descendants(cloud.pid)
    assert cloud.end(signal.SIGINT) == 0
    wait_for(lambda: not any(map(is_running, processes)))
    assert list(cloud.temporary.iterdir()) == []
    assert_no_traceback(cloud)
