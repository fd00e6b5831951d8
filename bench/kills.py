"""Agents, their links and the cloud, killed at random moments: is each frame committed once?

    python -m bench.kills --kills 200 --seed 1

    pictures ─ edge run ─ cable ─┐              SIGKILL   an agent, or the cloud; it starts again
    pictures ─ edge run ─ cable ─┴─ cloud up    cut       a cable, for a moment

The real programs as processes: agents with their spools, and a cloud with its commit log, synced,
that computes in its own process (Ray would take minutes to start as often). What dies has been seen
at work since it was started: an agent has spooled, the cloud has committed. In the end everything
is sent, and what the cloud has on its disk is held against what the agents had spooled.

A frame was spooled if its `append` returned. The agent writes a line about each frame and flushes
it, then appends the frame, then goes on to the next: so all lines of a boot but the last are of
frames whose append returned, whatever the spool thinks. The last one of a boot that was killed
counts if the frame's bytes are in the spool's files right after the kill, which are searched for
its time of capture and the length of its payload, without the spool's code.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from bench.flat import Lines
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tests.e2e.programs import PATIENCE_S, Agent, CloudProgram, draw_scenes
from tests.edge.small.cable import Cable
from tests.split import write_split_bundle

from sparsight.wire import FrameKey

Victim: TypeAlias = Literal["agent", "link", "cloud"]
SHARES: dict[Victim, int] = {"agent": 3, "link": 2, "cloud": 1}
AGENTS, PICTURES = 2, 12
LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Target:
    """What can be killed.

    Attributes:
        victim: Its kind.
        works: Whether it was seen at work since it was started.
        kill: Kill it, and see to it that it comes back.
    """

    victim: Victim
    works: Callable[[], bool]
    kill: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Moments:
    """When things happen, seconds; each is drawn between 0 and this.

    Attributes:
        live_s: What is killed lives so long after it was seen at work.
        cloud_live_s: Likewise a cloud, whose start takes much longer than an agent's.
        cut_s: A link stays cut so long.
    """

    live_s: float = 1.5
    cloud_live_s: float = 5.0
    cut_s: float = 2.0


class Device:
    """An agent that is killed and started again, and its link.

    Attributes:
        agent: What it is started from.
        cable: Its link.
        boots: How often it was started.
        spooled: Of boots that were killed, the last frame, if it was seen on the disk.
        unseen: Likewise, if it was not.
    """

    def __init__(self, agent: Agent, cable: Cable, fps: float) -> None:
        """One that does not run yet."""
        self.agent = agent
        self.cable = cable
        self.boots = 0
        self.spooled: set[FrameKey] = set()
        self.unseen: set[FrameKey] = set()
        self._options = ("--loop", "--fps", fps)
        self._process: subprocess.Popen[str] | None = None
        self._file = agent.folder / "out" / "frames.jsonl"
        self._seen_bytes = 0
        self._mend_s = float("inf")

    def start(self) -> None:
        """Start it."""
        self.boots += 1
        self._seen_bytes = self._size()
        self._process = self.agent.start(self.cable.address, *self._options)

    def works(self) -> bool:
        """Whether it has spooled two frames or so since it was started."""
        assert self._process is not None
        if self._process.poll() is not None:
            log = (self.agent.folder / "agent.log").read_text()
            raise RuntimeError(f"{self.agent.name} ended by itself: {log[-2000:]}")
        return self._size() > self._seen_bytes + 600

    def kill(self) -> None:
        """Kill it, and see what became of its last frame."""
        assert self._process is not None
        self.agent.kill(self._process)
        last = json.loads(self._file.read_bytes().rpartition(b"\n")[0].rpartition(b"\n")[2])
        key = FrameKey(self.agent.name, last["epoch"], last["seq"])
        (self.spooled if self._on_disk(last) else self.unseen).add(key)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def cut(self, draw: random.Random, most_s: float) -> None:
        """Cut its link for a while; `mend` mends it."""
        self.cable.cut()
        self._mend_s = time.monotonic() + draw.uniform(0, most_s)

    def linked(self) -> bool:
        """Whether its link is whole."""
        return self._mend_s == float("inf")

    def mend(self) -> None:
        """Mend the link if it is time."""
        if time.monotonic() >= self._mend_s:
            self.cable.mend()
            self._mend_s = float("inf")

    def finish(self) -> dict[str, Any]:
        """Send what is left, with a run that captures nothing; its summary."""
        return self.agent.finish(self.agent.start(self.cable.address, "--max-frames", 0))

    def owed(self) -> set[FrameKey]:
        """Frames that were spooled."""
        return self.agent.frames().keys() - self.unseen

    def _size(self) -> int:
        return self._file.stat().st_size if self._file.exists() else 0

    def _on_disk(self, line: dict[str, Any]) -> bool:
        needle = struct.pack("<Q", line["captured_unix_ns"])  # a fixed64 of the message
        for file in self.agent.spool.glob("*.seg"):
            data = file.read_bytes()
            at = data.find(needle)
            if at >= 0:
                return len(data) - at >= len(needle) + int(line["payload_bytes"])
        return False


class Cloud:
    """The cloud, killed and started again."""

    def __init__(self, program: CloudProgram) -> None:
        """One that runs."""
        self.program = program
        self.starts = 1
        self._lines = Lines(program.out / "results")
        self._seen = 0

    def works(self) -> bool:
        """Whether it has committed frames since it was started."""
        return self._lines.count() > self._seen

    def kill(self) -> None:
        """Kill it and start it again, without waiting until it listens."""
        self.program.kill()
        self._seen = self._lines.count()
        self.starts += 1
        self.program.launch()


def deal(kills: int) -> Counter[Victim]:
    """How often each is killed, by `SHARES`."""
    whole = sum(SHARES.values())
    dealt = Counter({victim: kills * share // whole for victim, share in SHARES.items()})
    dealt["agent"] += kills - dealt.total()
    return dealt


def measure(
    kills: int, seed: int, fps: float = 8.0, tell: Callable[[Victim], None] = lambda victim: None
) -> dict[str, Any]:
    """Kill a cloud and agents that are made for it, and count.

    Args:
        kills: How many, of all together.
        seed: Of who is killed and when.
        fps: Frames a second of each agent.
        tell: Told of each kill.
    """
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        write_split_bundle(home / "bundle")
        draw_scenes(home / "scenes", PICTURES)
        with CloudProgram(home / "cloud", home / "bundle", "--in-process") as program:
            devices = []
            for i in range(AGENTS):
                agent = Agent(home / f"a{i}", home / "bundle", home / "scenes", f"agent-{i}")
                devices.append(Device(agent, Cable(program.port), fps))
            return kill(Cloud(program), devices, kills, random.Random(seed), Moments(), tell)


def kill(
    cloud: Cloud,
    devices: Sequence[Device],
    kills: int,
    draw: random.Random,
    moments: Moments,
    tell: Callable[[Victim], None] = lambda victim: None,
) -> dict[str, Any]:
    """Start devices, kill them, their links and the cloud, let all of it drain, and count.

    Args:
        cloud: It runs, and does so afterwards.
        devices: They don't, nor do they afterwards.
        kills: How many, of all together.
        draw: Who is killed and when.
        moments: How long things live.
        tell: Told of each kill.
    """
    begin_s = time.monotonic()
    targets = [Target("cloud", cloud.works, cloud.kill)]
    for device in devices:
        device.start()
        targets.append(Target("agent", device.works, device.restart))
        cut = partial(device.cut, draw, moments.cut_s)
        targets.append(Target("link", device.linked, cut))
    left = deal(kills)
    while left.total():
        target = _choose(targets, left, draw, devices)
        live_s = moments.cloud_live_s if target.victim == "cloud" else moments.live_s
        _rest(draw.uniform(0, live_s), devices)
        target.kill()
        left[target.victim] -= 1
        tell(target.victim)
    _until(lambda: all(device.linked() for device in devices), devices)
    _until(cloud.works, devices)
    for device in devices:
        device.kill()
    summaries = [device.finish() for device in devices]
    for device in devices:
        device.cable.cut()
    return {
        "kills": kills,
        "of": dict(deal(kills)),
        "boots": sum(device.boots for device in devices),
        "cloud_starts": cloud.starts,
        "seconds": round(time.monotonic() - begin_s, 1),
        "damaged_in_the_last_runs": sum(s["frames_damaged"] for s in summaries),
        "left": sum(s["frames_left"] for s in summaries),
        **_count(devices, cloud.program),
    }


def _choose(
    targets: Sequence[Target],
    left: Counter[Victim],
    draw: random.Random,
    devices: Sequence[Device],
) -> Target:
    """One of those that work now, by how often its like are still to be killed."""
    ready: list[Target] = []

    def look() -> bool:
        ready[:] = [target for target in targets if left[target.victim] and target.works()]
        return bool(ready)

    _until(look, devices)
    return draw.choices(ready, [left[target.victim] for target in ready])[0]


def _rest(seconds: float, devices: Sequence[Device]) -> None:
    end_s = time.monotonic() + seconds
    _until(lambda: time.monotonic() >= end_s, devices)


def _until(true: Callable[[], bool], devices: Sequence[Device]) -> None:
    """Wait, and mend links meanwhile."""
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end_s:
            raise RuntimeError("what was killed does not come back")
        for device in devices:
            device.mend()
        time.sleep(LOOK_S)


def _count(devices: Sequence[Device], program: CloudProgram) -> dict[str, Any]:
    """What was spooled against what was committed."""
    total: Counter[str] = Counter()
    for device in devices:
        committed, owed = Counter(program.keys(device.agent.name)), device.owed()
        answered = {key for key, _ in device.agent.answers()}
        total += Counter(
            spooled=len(owed),
            committed=len(committed),
            lost=len(owed - committed.keys()),
            twice=sum(count > 1 for count in committed.values()),
            unknown=len(committed.keys() - device.agent.frames().keys()),
            unanswered=len(owed - answered),
            last_seen_on_disk=len(device.spooled),
            last_unseen=len(device.unseen),
            last_unseen_but_committed=len(device.unseen & committed.keys()),
        )
    names = ("spooled", "committed", "lost", "twice", "unknown", "unanswered")
    lasts = ("last_seen_on_disk", "last_unseen", "last_unseen_but_committed")
    return {name: total[name] for name in (*names, *lasts)}


def table_of(result: dict[str, Any]) -> Table:
    """For people."""
    table = Table(title="random kills", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    kills = ", ".join(f"{count} of the {victim}" for victim, count in result["of"].items())
    for name, value in (
        ("kills", f"{result['kills']} ({kills})"),
        ("agents started", result["boots"]),
        ("clouds started", result["cloud_starts"]),
        ("frames spooled", result["spooled"]),
        ("frames committed", result["committed"]),
        ("frames lost", result["lost"]),
        ("frames committed twice", result["twice"]),
        ("frames committed that nobody captured", result["unknown"]),
        ("frames whose answer no agent wrote down", result["unanswered"]),
        ("frames being captured at a kill, not spooled", result["last_unseen"]),
        ("seconds", result["seconds"]),
    ):
        table.add_row(name, str(value))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table or JSON; 1 if a frame was lost or came twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fps", type=float, default=8.0, help="of each of the two agents")
    parser.add_argument("--json", action="store_true", help="no table")
    options = parser.parse_args(arguments)
    if options.kills < 1:
        parser.error("--kills: expected at least 1")
    columns = (TextColumn("kills"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=options.kills)
        result = measure(
            options.kills,
            options.seed,
            options.fps,
            tell=lambda victim: bar.update(task, advance=1, description=victim),
        )
    if options.json:
        json.dump(result, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        Console().print(table_of(result))
    return int(any(result[name] for name in ("lost", "twice", "unknown", "unanswered", "left")))


if __name__ == "__main__":
    sys.exit(main())
