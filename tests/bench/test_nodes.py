"""A cluster of real nodes whose nodes die, come back, and whose head remembers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from bench.nodes import HEAD, START_S, Nodes

from sparsight.errors import UsageError

ASK = """
import os, sys, ray
ray.init(os.environ["RAY_ADDRESS"], namespace="test", log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=0, resources={"node1": 1}, lifetime="detached", name="counter",
            get_if_exists=True)
class Counter:
    n = 0
    def add(self):
        self.n += 1
        return self.n

print(ray.get(Counter.remote().add.remote(), timeout=60))
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    try:
        nodes = Nodes(cpus=(0, 1))
    except UsageError as error:
        pytest.skip(f"NOT RUN: {error}")
    with nodes:
        yield nodes
    assert not nodes.folder.exists()
    assert (
        str(nodes.folder)
        not in subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout
    )


def ask(nodes: Nodes, name: str) -> str:
    asking = nodes.run_in(name, [sys.executable, "-c", ASK], stdout=subprocess.PIPE)
    return asking.communicate(timeout=START_S)[0].strip()


def test_a_head_that_starts_again_finds_what_it_knew(nodes: Nodes) -> None:
    assert nodes.alive() == {HEAD, "node1"}
    assert ask(nodes, HEAD) == "1"
    nodes.restart(HEAD)
    assert ask(nodes, "node1") == "2"  # the same actor, where it was


def test_a_node_that_is_cut_off_is_lost_in_seconds_and_can_be_started_again(nodes: Nodes) -> None:
    nodes.kill("node1")
    begin_s = time.monotonic()
    while "node1" in nodes.alive():
        assert time.monotonic() - begin_s < START_S
    assert nodes.pids("node1") == []
    nodes.start("node1")
    assert nodes.alive() == {HEAD, "node1"}
