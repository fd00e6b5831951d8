"""`sparsight batch run` against a plain loop over the same pictures, its memory, and its death.

    python -m bench.batch --images DIR --json bench/results/published-DATE-batch.json
    python -m bench.batch --small --pictures 5000 --skip plain kills      memory, in minutes

    plain    one process: read, detect, next; as many threads as there are processors
    batch    the real program with its own Ray; start-up apart, as its summary tells it
    memory   of all its processes, as the pictures go by, early and late
    kills    the program killed at random moments and started again, until it ends well

Pictures are links to those of a folder, again and again if there are too few. `over_plain` holds
batch against the mean of the plain loops before and after it, since machines drift.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
import torch
from PIL import Image
from tests.cloud.serving.processes import descendants
from tests.split import scene, write_split_bundle

from sparsight.bundle import default_bundle
from sparsight.errors import UsageError
from sparsight.model.detector import Detector
from sparsight.pictures import SUFFIXES, read_picture

CONF = 0.25
WARM = 3
SMALL = 8
LOOK_S = 0.5
_PLAIN = "import sys; from bench.batch import plain_loop; plain_loop(*sys.argv[1:])"
_PROGRAM = [sys.executable, "-c", "from sparsight.cli import main; main()", "batch", "run"]


def plain_loop(bundle: str, folder: str, threads: str) -> None:
    """Be the plain loop; says how many pictures a second."""
    torch.set_num_threads(int(threads))
    files = sorted(Path(folder).iterdir())
    detector = Detector.from_bundle(Path(bundle))
    settings = replace(detector.settings, score_min=CONF)
    for file in files[:WARM]:
        detector.detect([read_picture(file)], settings)
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    for file in files:
        detector.detect([read_picture(file)], settings)
    per_s = len(files) / (time.perf_counter() - begin_s)
    sys.stdout.write(f"{per_s} {(time.process_time() - begin_cpu_s) / len(files)}\n")


def plain_loop_of(bundle: Path, folder: Path, threads: int) -> tuple[float, float]:
    """Pictures a second of the plain loop, in a process of its own, and CPU seconds of one."""
    done = subprocess.run(
        [sys.executable, "-c", _PLAIN, str(bundle), str(folder), str(threads)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    per_s, cpu_s = map(float, done.stdout.split())
    return per_s, cpu_s


@contextmanager
def links(images: Path, n: int) -> Iterator[Path]:
    """A folder of so many pictures."""
    files = sorted(file for file in images.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UsageError(f"{images}: no picture is there; change --images")
    with tempfile.TemporaryDirectory() as folder:
        for i in range(n):
            file = files[i % len(files)]
            (Path(folder) / f"{i:06d}{file.suffix}").symlink_to(file.resolve())
        yield Path(folder)


@contextmanager
def small_world() -> Iterator[tuple[Path, Path]]:
    """An untrained small bundle and a few small pictures: many go by in minutes."""
    with tempfile.TemporaryDirectory() as top:
        write_split_bundle(Path(top) / "bundle")
        images = Path(top) / "images"
        images.mkdir()
        for i in range(SMALL):
            Image.fromarray(scene(i)).save(images / f"{i}.png")
        yield Path(top) / "bundle", images


def start(bundle: Path, folder: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """Start the program."""
    arguments = [str(folder), "--out", str(out), "--bundle", str(bundle), "--conf", str(CONF)]
    return subprocess.Popen(
        [*_PROGRAM, *arguments, "--json", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def batch(bundle: Path, folder: Path, more: Sequence[str]) -> dict[str, Any]:
    """One run, with the memory of its processes."""
    with tempfile.TemporaryDirectory() as top:
        out = Path(top) / "out"
        begin_s = time.monotonic()
        process = start(bundle, folder, out, *more)
        seen: list[tuple[int, float]] = []
        cpu: list[tuple[int, float]] = []
        while process.poll() is None:
            shards = len(list(out.glob("rows/*.parquet")))
            if shards:
                seen.append((shards, _rss_mib(process.pid)))
                cpu.append((shards, _cpu_s(process.pid)))
            time.sleep(LOOK_S)
        wall_s = time.monotonic() - begin_s
        summary = json.loads(process.communicate()[0])
    return {
        "pictures_per_s": summary["this_start"]["pictures_per_s"],
        "start_s": summary["this_start"]["start_s"],
        "wall_s": round(wall_s, 1),
        "workers": summary["this_start"]["workers"],
        "cpu_s_per_picture": _per_picture(cpu, summary["pictures"]),
        "ms_per_picture": summary["ms_per_picture"],
        "batches": summary["batches"],
        "failed": summary["failed"],
        "rss_mib": _growth(seen),
    }


def killed(bundle: Path, folder: Path, kills: int, more: Sequence[str]) -> dict[str, Any]:
    """Kill the program at random moments, let it end, and count its rows."""
    dice = random.Random(1)
    n = len(list(folder.iterdir()))
    at = []
    with tempfile.TemporaryDirectory() as top:
        out = Path(top) / "out"
        for kill in range(kills):
            process = start(bundle, folder, out, *more)
            if kill % 4 == 3:  # while it starts
                time.sleep(dice.uniform(1, 12))
            else:
                wanted = _shards(out) + dice.randint(1, 6)
                while process.poll() is None and _shards(out) < wanted:
                    time.sleep(0.01)
                time.sleep(dice.uniform(0, 0.5))
            process.kill()
            process.communicate()
            at.append(_shards(out))
        summary = json.loads(start(bundle, folder, out, *more).communicate()[0])
        ids = Counter(pq.read_table(out / "rows", columns=["id"]).column(0).to_pylist())
    return {
        "kills": kills,
        "shards_at_each": at,
        "pictures": n,
        "duplicates": sum(ids.values()) - len(ids),
        "holes": len(set(range(n)) - ids.keys()),
        "earlier": summary["earlier"],
    }


def _shards(out: Path) -> int:
    return len(list(out.glob("rows/shard-*.parquet")))


def _rss_mib(pid: int) -> float:
    """Private memory of a process and all that it started; what they share is left out."""
    kib = 0
    for one in [pid, *descendants(pid)]:
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    return kib / 1024


def _cpu_s(pid: int) -> float:
    """CPU time of a process and all that it started and that still run."""
    ticks = 0
    for one in [pid, *descendants(pid)]:
        try:
            stat = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _per_picture(cpu: Sequence[tuple[int, float]], pictures: int) -> float | None:
    """CPU seconds of a picture while the run works: from its first shard to its last but one."""
    last = cpu[-1][0]
    whole = [one for one in cpu if one[0] < last]
    if len(whole) < 2 or whole[-1][0] == whole[0][0]:
        return None
    shards, spent_s = whole[-1][0] - whole[0][0], whole[-1][1] - whole[0][1]
    return round(spent_s / (shards * pictures / last), 4)


def _growth(seen: Sequence[tuple[int, float]]) -> dict[str, float]:
    """Memory early and late, by shards written."""
    last = seen[-1][0]
    early = [mib for shards, mib in seen if 0.1 * last <= shards < 0.4 * last]
    # With the last shard the processes end.
    late = [mib for shards, mib in seen if 0.7 * last <= shards < last]
    return {
        "early": round(fmean(early or [0.0])),
        "late": round(fmean(late or [0.0])),
        "most": round(max(mib for _, mib in seen)),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=Path("samples/munich"))
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--small", action="store_true", help="a small bundle, small pictures")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--kill-pictures", type=int, default=400)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--skip", nargs="*", default=[], choices=["plain", "batch", "kills"])
    parser.add_argument("--more", nargs="*", default=[], help="options of `batch run`, no dashes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    with small_world() if args.small else nullcontext((args.bundle, args.images)) as world:
        text = json.dumps(measure(args, *world), indent=1)
    if args.json:
        args.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


def measure(args: argparse.Namespace, bundle: Path, images: Path) -> dict[str, Any]:
    """All figures that are not skipped."""
    bundle, threads = bundle.resolve(), len(os.sched_getaffinity(0))
    more = [f"--{one}" for one in args.more]
    figures: dict[str, Any] = {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "pictures": args.pictures,
        "threads": threads,
    }
    with links(images, args.pictures) as folder:
        plain: list[tuple[float, float]] = []
        if "plain" not in args.skip:
            plain.append(plain_loop_of(bundle, folder, threads))
        if "batch" not in args.skip:
            figures["batch"] = batch(bundle, folder, more)
        if "plain" not in args.skip:
            plain.append(plain_loop_of(bundle, folder, threads))
            figures["plain_per_s"] = [round(per_s, 3) for per_s, _ in plain]
            figures["plain_cpu_s_per_picture"] = [round(cpu_s, 4) for _, cpu_s in plain]
        if plain and "batch" in figures:
            over = figures["batch"]["pictures_per_s"] / fmean(per_s for per_s, _ in plain)
            figures["over_plain"] = round(over, 3)
    if "kills" not in args.skip:
        with links(images, args.kill_pictures) as folder:
            figures["killed"] = killed(bundle, folder, args.kills, [*more, "--shard=4"])
    return figures


if __name__ == "__main__":
    main()
