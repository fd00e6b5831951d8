"""Agents on a cloud of three Ray nodes, and what fails there: is each frame counted once, and when?

    python -m bench.faults                      all faults, five minutes
    python -m bench.faults replica head --json

    outside               node1                        node2                      head
     edge run ─┐ mTLS      cloud up --out OUT/a ─┐      cloud up --out OUT/b       GCS, Serve's
     edge run ─┼─ balancer ─>                    ├─ Ray Serve: a replica a node    controller, no
     edge run ─┘                                 ┘                                 processors

Everything is real (`bench.nodes`): agents with their spools, mutual TLS, gateways with their logs,
Ray nodes in namespaces of their own; only the model is a small untrained one. For each fault agents
are started anew. While they send, something fails; when answers have come again for a while they
are told to end, send what is left, and what they spooled is held against what gateways have on
disk, each key counted once over both logs. `stall` is the longest time in which no agent got an
answer, from the fault on. The second gateway is there for the fault that takes it away.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.nodes import HEAD, OUTSIDE, Nodes
from rich.console import Console
from rich.table import Table
from tests.e2e.programs import Agent, draw_scenes, until
from tests.split import write_split_bundle

from sparsight_cloud.serving.pki import write_dev_pki
from sparsight_cloud.serving.records import key_of_line
from sparsight_cloud.serving.segments import read_lines, segment_numbers
from sparsight_cloud.sinks.logs import all_records, ends_of, logs_of

AGENTS, FPS, PICTURES = 3, 5.0, 12
CALM_S = 5.0
"""Answers come for so long before something fails, and after."""

CUT_S = 15.0
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


Fault = Callable[[Site], None]


def replica_killed(site: Site) -> None:
    """A replica's process ends."""
    os.kill(site.replica_on("node1"), signal.SIGKILL)


def node_killed(site: Site) -> None:
    """A node with a replica loses its power, and comes back later."""
    site.nodes.kill("node2")
    time.sleep(CUT_S)
    site.nodes.start("node2")


def partition(site: Site) -> None:
    """A node with a replica can't be reached; Ray gives it up, and it is started anew."""
    site.nodes.cut("node2")
    time.sleep(CUT_S)
    site.nodes.restart("node2")


def rolled_over(site: Site) -> None:
    """The replicas are replaced by ones that serve another bundle as well."""
    bundles = ["--bundle", site.home / "bundle", "--bundle", site.home / "other"]
    how = ["--address", site.nodes.address, "--app", APP, "--replicas", 2]
    with site.sparsight("node1", "cloud", "deploy", *bundles, *how) as deploy:
        if deploy.wait(240):
            raise RuntimeError((site.home / "node1.log").read_text()[-2000:])


def head_restarted(site: Site) -> None:
    """The head loses its power, and is started again over what it had on disk."""
    site.nodes.restart(HEAD)


def gateway_lost(site: Site) -> None:
    """A node with a gateway and a replica loses its power; its devices go to the other gateway."""
    site.nodes.kill("node2")


FAULTS: dict[str, Fault] = {
    "replica": replica_killed,
    "node": node_killed,
    "partition": partition,
    "rollover": rolled_over,
    "head": head_restarted,
    "gateway": gateway_lost,
}


@contextmanager
def a_site() -> Iterator[Site]:
    """A cluster with a gateway and a balancer."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_split_bundle(home / "bundle")
        write_split_bundle(home / "other", seed=4)
        draw_scenes(home / "scenes", PICTURES)
        nodes = stack.enter_context(Nodes(cpus=(0, 1, 1)))
        names = [f"{fault}-{i}" for fault in FAULTS for i in range(AGENTS)]
        write_dev_pki(home / "pki", names, hosts=[nodes.ip(OUTSIDE)])
        site = Site(nodes, home)
        site.gateway("node1", "a")
        gateways = [f"{nodes.ip(node)}:{PORT}" for node in ("node1", "node2")]
        with (home / "balancer.log").open("w") as log:
            nodes.run_in(
                OUTSIDE,
                [sys.executable, "-m", "bench.balancer", "--listen", site.address, *gateways],
                stderr=log,
            )
        yield site


def measure(site: Site, name: str) -> dict[str, Any]:
    """Let something fail under load, and count."""
    if name == "gateway":
        site.gateway("node2", "b")
    folder = site.home / name
    devices = [Device(site, folder / str(i), f"{name}-{i}") for i in range(AGENTS)]
    _calm(devices, time.time())
    begin_s = time.time()
    FAULTS[name](site)
    failed_s = time.time() - begin_s
    _calm(devices, time.time())
    end_s = time.time()
    left = sum(device.finish() for device in devices)
    answered = sorted(at for device in devices for at in device.answered_s())
    during = [begin_s, *(at for at in answered if begin_s < at < end_s), end_s]
    return {
        "fault": name,
        "fault_s": round(failed_s, 1),
        **_count(site, devices),
        "left": left,
        "stall_s": round(max(b - a for a, b in itertools.pairwise(during)), 2),
    }


def _calm(devices: Sequence[Device], since_s: float) -> None:
    """Wait until every device has had answers over a while since then."""

    def calm() -> bool:
        now_s = time.time()
        answers = [[at for at in device.answered_s() if at > since_s] for device in devices]
        return all(
            at and now_s - at[0] > CALM_S and now_s - at[-1] < CALM_S / 2 and len(at) > CALM_S
            for at in answers
        )

    until(calm, "answers to every agent")


def _count(site: Site, devices: Sequence[Device]) -> dict[str, Any]:
    """What was spooled against what counts."""
    out = site.home / "out"
    names = {device.agent.name for device in devices}
    sent = {key for device in devices for key in device.agent.frames()}
    counted = Counter(
        record.result.key
        for record in all_records(ends_of(out))
        if record.result.key.device in names
    )
    lines = Counter(
        (log, key_of_line(line))
        for log in logs_of(out)
        for number in segment_numbers(log)
        for _, line in read_lines(log, number)
    )
    in_logs = Counter(key for _, key in lines if key.device in names)
    return {
        "sent": len(sent),
        "lost": len(sent - counted.keys()),
        "doubled": sum(n > 1 for n in counted.values()) + sum(n > 1 for n in lines.values()),
        "in_two_logs": sum(n > 1 for n in in_logs.values()),
    }


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """For people."""
    table = Table(title="what fails under load", title_justify="left")
    table.add_column("fault")
    for name in ("sent", "lost", "doubled", "in two logs, counted once", "longest stall, s"):
        table.add_column(name, justify="right")
    for row in rows:
        what = (FAULTS[row["fault"]].__doc__ or "").strip().partition("\n")[0]
        table.add_row(
            what,
            *(str(row[name]) for name in ("sent", "lost", "doubled", "in_two_logs")),
            f"{row['stall_s']:.1f}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table or JSON; 1 if a frame was lost or counted twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faults", nargs="*", choices=[*FAULTS, []], help="all without")
    parser.add_argument("--json", action="store_true", help="no table")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    console = Console(stderr=True)
    with console.status("starting three Ray nodes and a gateway") as status, a_site() as site:
        for name in options.faults or FAULTS:
            status.update(f"{name} ({len(rows) + 1} of {len(options.faults or FAULTS)})")
            rows.append(measure(site, name))
            console.print(rows[-1])
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        Console().print(table_of(rows))
    return int(any(row[name] for row in rows for name in ("lost", "doubled", "left")))


if __name__ == "__main__":
    sys.exit(main())
