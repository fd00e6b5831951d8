"""A cloud on three Ray nodes that devices call through a balancer, for `bench.faults` to break."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.nodes import OUTSIDE, Nodes
from tests.e2e.programs import Agent, draw_scenes
from tests.split import write_split_bundle

from sparsight_cloud.serving.pki import write_dev_pki

FPS, PICTURES = 5.0, 12
PORT, APP = 7443, "fleet"
_PROGRAM = [sys.executable, "-c", "from sparsight.cli import main; main()"]


@dataclass(frozen=True)
class Site:
    """Where it all is.

    Attributes:
        nodes: The cluster.
        home: Folder of everything.
    """

    nodes: Nodes
    home: Path

    @property
    def address(self) -> str:
        """Where devices call."""
        return f"{self.nodes.ip(OUTSIDE)}:{PORT}"

    def sparsight(self, node: str, *words: object, **how: Any) -> subprocess.Popen[str]:
        """Start `sparsight ...` on a node."""
        with (self.home / f"{node}.log").open("a") as log:
            how.setdefault("stdout", log)
            return self.nodes.run_in(node, [*_PROGRAM, *map(str, words)], stderr=log, **how)

    def gateway(self, node: str, name: str) -> None:
        """Start a gateway, and wait until it listens; it lives as long as its node."""
        listen = f"{self.nodes.ip(node)}:{PORT}"
        how = ["--pki", self.home / "pki", "--listen", listen, "--out", self.home / "out" / name]
        where = ["--address", self.nodes.address, "--app", APP, "--replicas", 2]
        bundle = ["--bundle", self.home / "bundle"]
        started = self.sparsight(node, "cloud", "up", *how, *where, *bundle, stdout=subprocess.PIPE)
        assert started.stdout is not None
        if not started.stdout.readline().startswith("listening on "):
            raise RuntimeError((self.home / f"{node}.log").read_text()[-2000:])

    def replica_on(self, node: str) -> int:
        """The process of the replica on a node."""
        (pid,) = self.nodes.pids(node, "ray::ServeReplica")
        return pid


class Device:
    """An agent that runs; what it saw is in its files."""

    def __init__(self, site: Site, folder: Path, name: str) -> None:
        """Start it."""
        self.agent = Agent(folder, site.home / "bundle", site.home / "scenes", name)
        folder.mkdir(parents=True)
        pki = site.home / "pki"
        self._process = site.sparsight(
            *(OUTSIDE, "edge", "run", "--json", "--loop", "--fps", FPS, "--grace-s", 120),
            *("--cloud", site.address, "--ca", pki / "ca.crt", "--device", name),
            *("--cert", pki / f"{name}.crt", "--key", pki / f"{name}.key"),
            *("--source", self.agent.source, "--bundle", self.agent.bundle),
            *("--spool", self.agent.spool, "--out", folder / "out"),
            stdout=subprocess.PIPE,
        )

    def answered_s(self) -> list[float]:
        """When each answer came, in seconds since 1970."""
        file = self.agent.folder / "out" / "results.jsonl"
        if not file.exists():
            return []
        lines = [line for line in file.read_text().splitlines(True) if line.endswith("\n")]
        return [json.loads(line)["answered_unix_ns"] / 1e9 for line in lines]

    def finish(self) -> int:
        """Have it send what is left; how many frames it could not."""
        self._process.send_signal(signal.SIGTERM)
        said, _ = self._process.communicate(timeout=240)
        return int(json.loads(said)["frames_left"])


@contextmanager
def a_site(devices: Sequence[str]) -> Iterator[Site]:
    """A cluster with a gateway and a balancer.

    Args:
        devices: Names of those that may call.
    """
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_split_bundle(home / "bundle")
        write_split_bundle(home / "other", seed=4)
        draw_scenes(home / "scenes", PICTURES)
        nodes = stack.enter_context(Nodes(cpus=(0, 1, 1)))
        write_dev_pki(home / "pki", devices, hosts=[nodes.ip(OUTSIDE)])
        site = Site(nodes, home)
        site.gateway("node1", "a")
        gateways = [f"{nodes.ip(node)}:{PORT}" for node in ("node1", "node2")]
        with (home / "balancer.log").open("w") as log:
            nodes.run_in(
                OUTSIDE,
                [sys.executable, "-m", "bench.balancer", "--listen", site.address, *gateways],
                stdout=log,
                stderr=log,
            )
        yield site
