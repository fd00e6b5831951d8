"""Several gateways behind a balancer: what one leaves undone another does, and it counts once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsight_cloud.sinks.logs import all_records, ends_of, logs_of

from .programs import Agent, CloudProgram, draw_scenes, until


@contextmanager
def balancer(*gateways: str) -> Iterator[str]:
    """One that runs; where it listens."""
    command = [sys.executable, "-m", "bench.balancer", "--listen", "127.0.0.1:0", *gateways]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.kill()


def test_a_gateway_dies_and_its_device_goes_to_the_other_one(
    split_bundle: Path, tmp_path: Path
) -> None:
    draw_scenes(tmp_path / "scenes", 6)
    root = tmp_path / "root"
    gateways = [CloudProgram(tmp_path / name, split_bundle, "--in-process") for name in "ab"]
    for gateway, name in zip(gateways, "ab", strict=True):
        gateway.out = root / name
    a, b = gateways
    with a, b, balancer(a.address, b.address) as address:
        agent = Agent(tmp_path / "agent", split_bundle, tmp_path / "scenes", "drone-1")
        running = agent.start(address, "--loop", "--fps", 10, "--max-frames", 60)
        until(lambda: any(gateway.records("drone-1")[8:] for gateway in gateways), "answers")
        first = a if a.records("drone-1") else b
        first.kill()
        summary = agent.finish(running)
        assert summary["frames_left"] == 0
        first.launch()  # for the end, which is a clean one
        until(lambda: first.log.read_text().count("gateway listens") == 2, "it is back")
    assert logs_of(root) == [root / "a", root / "b"]
    counted = Counter(record.result.key for record in all_records(ends_of(root)))
    assert counted == Counter(agent.frames().keys())
    assert len(a.keys("drone-1")) > 0 < len(b.keys("drone-1"))
