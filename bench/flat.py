"""Whether agent and cloud need the same memory after twenty thousand frames as after two thousand.

    python -m bench.flat --frames 20000

    small pictures, again and again ─ edge run ─ loopback gRPC ─ cloud up --in-process ─> results
                                         └───────── resident memory, twenty times ─────────┘

Both are the real programs, as processes, with a small untrained bundle of both halves: frames are
cheap, so that many of them go by. `growth` holds the last fifth of the frames against the second
tenth: before that, libraries still allocate for the first time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from subprocess import Popen
from typing import Any

from PIL import Image
from tests.e2e.programs import Agent, CloudProgram
from tests.split import DETECT, scene, write_split_bundle

SAMPLES = 20
EARLY, LATE = slice(1, 4), slice(16, None)
"""Of the samples, which are compared: 10 to 20 % of the frames, and the last fifth."""

LONG_SIDE_PX = 64
PICTURES = 8
LOOK_S = 0.05
TOLD_S = 30.0


@dataclass
class Lines:
    """Counts the lines of files that grow, reading each byte once.

    Attributes:
        folder: Of `*.jsonl`.
    """

    folder: Path
    _read: dict[Path, int] = field(default_factory=dict)
    _count: int = 0

    def count(self) -> int:
        """How many there are now."""
        for file in sorted(self.folder.glob("*.jsonl")):
            with file.open("rb") as stream:
                stream.seek(self._read.get(file, 0))
                data = stream.read()
            self._read[file] = self._read.get(file, 0) + len(data)
            self._count += data.count(b"\n")
        return self._count


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def measure(frames: int, bundle: Path | None = None) -> dict[str, Any]:
    """Run both programs over so many frames.

    Args:
        frames: At least `SAMPLES`.
        bundle: Of two halves; a small untrained one if None.
    """
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        if bundle is None:
            bundle = home / "bundle"
            write_split_bundle(bundle, detect=replace(DETECT, long_side_px=LONG_SIDE_PX))
        (home / "in").mkdir()
        for i in range(PICTURES):
            picture = scene(i, (40, LONG_SIDE_PX))
            Image.fromarray(picture).save(home / "in" / f"{i}.png")
        agent = Agent(home / "agent", bundle, home / "in", "flat")
        with CloudProgram(home / "cloud", bundle, "--in-process") as cloud:
            begin_s = time.monotonic()
            process = agent.start(cloud.address, "--loop", "--max-frames", frames, record=False)
            taken = _watch(frames, Lines(cloud.out / "results"), process, cloud.pid)
            summary = agent.finish(process)
            seconds = time.monotonic() - begin_s
    return {
        "frames": summary["frames_acknowledged"],
        "frames_left": summary["frames_left"],
        "seconds": round(seconds, 1),
        "payload_bytes": summary["payload_bytes"] / frames,
        **{
            name: {"rss_bytes": rss, "growth": median(rss[LATE]) / median(rss[EARLY]) - 1}
            for name, rss in taken.items()
        },
    }


def _watch(frames: int, lines: Lines, agent: Popen[str], cloud_pid: int) -> dict[str, list[int]]:
    taken: dict[str, list[int]] = {"agent": [], "cloud": []}
    told_s = time.monotonic()
    for sample in range(SAMPLES):
        # The last one a little before the end, while both still run.
        due = int((sample + 1) * frames / (SAMPLES + 0.5))
        while (count := lines.count()) < due:
            if agent.poll() is not None:
                raise RuntimeError(f"the agent ended with {agent.returncode} after {count} frames")
            if time.monotonic() - told_s > TOLD_S:
                told_s = time.monotonic()
                sys.stderr.write(f"{count} of {frames} frames\n")
            time.sleep(LOOK_S)
        taken["agent"].append(rss_bytes(agent.pid))
        taken["cloud"].append(rss_bytes(cloud_pid))
    return taken


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--bundle", type=Path, help="a small untrained one without")
    options = parser.parse_args(arguments)
    if options.frames < SAMPLES:
        parser.error(f"--frames: expected at least {SAMPLES}")
    json.dump(measure(options.frames, options.bundle), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
