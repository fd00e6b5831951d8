"""What a real agent does on links that get worse and better: rate, queue, AP, and its promise.

    namespace device              bench.shaped              namespace cloud
    sparsight edge run ── mTLS ──> shaped link ──> sparsight cloud up --in-process
          │ --max-kbps                 │ interface's counter, 10 times a second
          └─ frames, answers ──────────┴──> worst 10 s, queue age, rates, AP of each step

    python -m bench.link --json bench/results/published-DATE-link.json --picture link.svg

Needs Linux, root, /dev/net/tun and iproute2: the two namespaces are made here and removed at the
end. Frames are Munich's, one after the other for ever, as from a camera: of those that a link has
no room for the control leaves some out. AP is of the frames that were taken in a step and answered
at all; the others are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench.link_chart import chart
from bench.link_report import Run, Sample, report
from bench.pipe import Shape
from bench.shaped import CLOUD_IP, Link, sent_bytes
from rich.console import Console
from rich.table import Table
from tools.demo.interrupts import Interrupts, private_folder
from tools.demo.judging import Judge
from tools.demo.outcomes import DeviceFiles
from tools.demo.plan import SAMPLES, labels_of, manifest_of, match_of, shipped_cameras

from sparsight.bundle import default_bundle
from sparsight.errors import SparsightError

DEVICE = "drone"
PROGRAM = "from sparsight.cli import main; main()"
SAMPLE_S = 0.1
READY_S = 300.0
STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Step:
    """What the link is like for a while."""

    name: str
    shape: Shape


DOWN_KBPS = 20_000.0
"""The way back is not what is looked at; answers with hundreds of boxes are larger than frames."""

STEPS = (
    Step("20 Mbit/s", Shape(20_000, down_kbps=DOWN_KBPS)),
    Step("1 Mbit/s", Shape(1000, down_kbps=DOWN_KBPS)),
    Step("256 kbit/s", Shape(256, down_kbps=DOWN_KBPS)),
    Step("64 kbit/s", Shape(64, down_kbps=DOWN_KBPS)),
    Step("30 % loss", Shape(1000, loss=0.3, down_kbps=DOWN_KBPS)),
    Step("600 ms RTT", Shape(1000, delay_ms=300, down_kbps=DOWN_KBPS)),
    Step("outage", Shape(0)),
    Step("1 Mbit/s again", Shape(1000, down_kbps=DOWN_KBPS)),
)


class BenchError(SparsightError):
    """A program did not do what it should."""

    exit_code = 1


def run(folder: Path, options: argparse.Namespace, stack: ExitStack, people: Console) -> Run:
    """Run a cloud and an agent through all steps.

    Args:
        folder: For their files.
        options: As typed.
        stack: Ends what is started.
        people: Told how far it is.
    """
    pki, out = folder / "pki", folder / "out"
    subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, "pki", "dev", "--out", str(pki)),
            *("--device", DEVICE, "--host", CLOUD_IP),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    link = stack.enter_context(Link(STEPS[0].shape))
    cloud = _start(
        link,
        link.cloud,
        folder / "cloud.log",
        stack,
        *("cloud", "up", "--in-process", "--pki", pki, "--out", folder / "cloud"),
        *("--bundle", options.bundle, "--listen", f"{CLOUD_IP}:7443"),
    )
    assert cloud.stdout is not None
    if not cloud.stdout.readline().startswith("listening on "):
        raise BenchError(f"the cloud did not start: {_last(folder / 'cloud.log')}")
    promise = ["--max-kbps", str(options.max_kbps)] if options.max_kbps else []
    agent = _start(
        link,
        link.device,
        folder / "agent.log",
        stack,
        *("edge", "run", "--json", "--source", SAMPLES / "*.jpg", "--loop", "--latest"),
        *("--fps", options.fps, "--bundle", options.bundle, "--cloud", f"{CLOUD_IP}:7443"),
        *("--device", DEVICE, "--cert", pki / f"{DEVICE}.crt", "--key", pki / f"{DEVICE}.key"),
        *("--ca", pki / "ca.crt", "--spool", folder / "spool", "--out", out),
        *(*promise, *options.agent.split()),
    )
    end_s = time.monotonic() + READY_S
    while not DeviceFiles.read(out).results:
        if agent.poll() is not None or time.monotonic() > end_s:
            raise BenchError(f"the agent did not begin: {_last(folder / 'agent.log')}")
        time.sleep(SAMPLE_S)
    samples: list[Sample] = []
    for number, step in enumerate(STEPS):
        people.print(f"{step.name}, {options.seconds:g} s")
        link.become(step.shape)
        end_s = time.monotonic() + options.seconds
        while time.monotonic() < end_s:
            if agent.poll() is not None:
                raise BenchError(f"the agent ended: {_last(folder / 'agent.log')}")
            samples.append(Sample(time.time(), sent_bytes(agent.pid), number))
            time.sleep(SAMPLE_S)
    agent.send_signal(signal.SIGINT)
    said, _ = agent.communicate(timeout=STOP_S)
    files = DeviceFiles.read(out)
    return Run(samples, list(files.frames), list(files.results), json.loads(said))


def _start(
    link: Link, space: str, log: Path, stack: ExitStack, *words: object
) -> subprocess.Popen[str]:
    """Start `sparsight ...` in a namespace; it is ended with the stack."""
    with log.open("wb") as stderr:
        program = link.run_in(
            space,
            [sys.executable, "-c", PROGRAM, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    stack.callback(_end, program)
    return program


def _end(program: subprocess.Popen[str]) -> None:
    if program.poll() is None:
        program.send_signal(signal.SIGINT)
        try:
            program.wait(STOP_S)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
    if program.stdout is not None:
        program.stdout.close()


def _last(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def table(found: dict[str, Any]) -> Table:
    """The figures for people."""
    promise = found["max_kbps"]
    out = Table(title=f"--max-kbps {promise:g}" if promise else "no promise", title_justify="left")
    for name in ("link", "sent, kbit/s", "worst 10 s", "queue s, worst", "cloud s", "rate"):
        out.add_column(name, justify="left" if name == "link" else "right")
    for name in ("taken", "answered", "AP"):
        out.add_column(name, justify="right")
    for one in found["steps"]:
        worst = one["worst_over_promise"]
        out.add_row(
            one["name"],
            f"{one['sent_kbps']:.0f}",
            "-" if worst is None else f"{worst:.3f}",
            f"{one['queue_s_max']:.1f}",
            "-" if one["cloud_s"] is None else f"{one['cloud_s']:.1f}",
            "-" if one["rate"] is None else f"{one['rate']:.1f}",
            str(one["frames"]),
            str(one["answered"]),
            "-" if one["ap"] is None else f"{one['ap']:.1%}",
        )
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and tell."""
    parser = argparse.ArgumentParser(
        prog="bench.link",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--max-kbps", type=float, default=400.0, help="the promise; 0: none")
    parser.add_argument("--seconds", type=float, default=25.0, help="of each step")
    parser.add_argument("--fps", type=float, default=2.0, help="of the camera")
    parser.add_argument("--agent", default="", help="further options of `edge run`")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--picture", type=Path, help="draw them here, as SVG")
    told = parser.parse_args(arguments)
    people = Console(stderr=True)
    try:
        manifest = manifest_of(told.bundle, None)
        labels = labels_of(shipped_cameras())
        judge = Judge(labels, match_of(manifest.classes, labels, None))
        with (
            Interrupts() as interrupts,
            private_folder(interrupts) as folder,
            ExitStack() as stack,
        ):
            ran = run(folder, told, stack, people)
    except KeyboardInterrupt:
        people.print("interrupted; the namespaces are removed")
        return 130
    except SparsightError as error:
        people.print(f"bench: {error}", markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    found = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "bundle": manifest.id,
        "fps": told.fps,
        "seconds_of_a_step": told.seconds,
        "max_kbps": told.max_kbps or None,
        "agent": told.agent,
        "links": [{"name": step.name, **asdict(step.shape)} for step in STEPS],
        **report(ran, [step.name for step in STEPS], told.max_kbps or None, judge, SAMPLES),
    }
    Console().print(table(found))
    if told.json is not None:
        told.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if told.picture is not None:
        told.picture.write_text(chart(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
