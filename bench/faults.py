"""Agents on a cloud of three Ray nodes, and what fails there: is each frame counted once, and when?

    python -m bench.faults --json bench/results/published-DATE-faults.json     all, five minutes
    python -m bench.faults replica head                                        some

    outside               node1                        node2                      head
     edge run ─┐ mTLS      cloud up --out OUT/a ─┐      cloud up --out OUT/b       GCS, Serve's
     edge run ─┼─ balancer ─>                    ├─ Ray Serve: a replica a node    controller, no
     edge run ─┘                                 ┘                                 processors

Everything is real (`bench.nodes`): agents with their spools, mutual TLS, gateways with their logs,
Ray nodes in namespaces of their own; only the model is a small untrained one. For each fault agents
are started anew. While they send, something fails; when answers have come again for a while they
are told to end, send what is left, and what they spooled is held against what gateways have on
disk, each key counted once over both logs. A stall is the longest time, from the fault on, in which
no agent got an answer; and in which some agent got none. The second gateway is there for the fault
that takes it away.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.fault_site import APP, Device, Site, a_site
from bench.nodes import HEAD
from rich.console import Console
from rich.table import Table
from tests.e2e.programs import until

from sparsight_cloud.serving.records import key_of_line
from sparsight_cloud.serving.segments import read_lines, segment_numbers
from sparsight_cloud.sinks.logs import all_records, ends_of, logs_of

AGENTS = 3
CALM_S = 5.0
"""Answers come for so long before something fails, and after."""

CUT_S = 15.0


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
    answered = [device.answered_s() for device in devices]
    return {
        "fault": name,
        "fault_s": round(failed_s, 1),
        **_count(site, devices),
        "left": left,
        "stall_s": longest_gap_s([at for each in answered for at in each], begin_s, end_s),
        "device_stall_s": max(longest_gap_s(each, begin_s, end_s) for each in answered),
    }


def longest_gap_s(answered_s: Sequence[float], begin_s: float, end_s: float) -> float:
    """The longest time without an answer."""
    during = sorted(at for at in answered_s if begin_s < at < end_s)
    return round(max(b - a for a, b in itertools.pairwise([begin_s, *during, end_s])), 2)


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
    stalls = ("longest stall, s", "of one device, s")
    for name in ("sent", "lost", "doubled", "in two logs, counted once", *stalls):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["fault"],
            *(str(row[name]) for name in ("sent", "lost", "doubled", "in_two_logs")),
            f"{row['stall_s']:.1f}",
            f"{row['device_stall_s']:.1f}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; 1 if a frame was lost or counted twice."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n".join(f"{name:10} {fault.__doc__}" for name, fault in FAULTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(FAULTS)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of {names}; all without")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args(arguments)
    if unknown := set(options.faults) - FAULTS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {names}")
    rows: list[dict[str, Any]] = []
    console = Console(stderr=True)
    devices = [f"{fault}-{i}" for fault in FAULTS for i in range(AGENTS)]
    with (
        console.status("starting three Ray nodes and a gateway") as status,
        a_site(devices) as site,
    ):
        for name in options.faults or FAULTS:
            status.update(f"{name} ({len(rows) + 1} of {len(options.faults or FAULTS)})")
            rows.append(measure(site, name))
            console.print(rows[-1])
    if options.json:
        options.json.write_text(json.dumps({"faults": rows}, indent=2) + "\n")
    Console().print(table_of(rows))
    return int(any(row[name] for row in rows for name in ("lost", "doubled", "left")))


if __name__ == "__main__":
    sys.exit(main())
