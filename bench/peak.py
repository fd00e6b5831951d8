"""How much memory a frame takes, measured in a process of its own.

    parent ── request (JSON, stdin) ──> child: load bundle, run a tiny frame
                                        each frame: note what is resident, reset the kernel's
           <── peaks (JSON, stdout) ──  high-water mark, run, read the mark

A figure is the growth over the loaded state: the resident set's high-water mark (VmHWM, reset by
writing 5 to /proc/self/clear_refs) less what was resident before the frame, its pixels included.
The allocator is told to hand large blocks back at once, so that the mark is what was in use and not
what it kept for later. The mark is also read and reset behind the seeker, which splits a frame into
stem and deep part. Only Linux keeps such a mark.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from bench.placed import GivenHeat, seeded_heat
from bench.variants import make_variant
from jaxtyping import UInt8

from sparsight.errors import UsageError
from sparsight.geometry import Letterbox
from sparsight.model.detector import Detector
from sparsight.pictures import read_picture
from sparsight.settings import DetectSettings

ROOT = Path(__file__).resolve().parents[1]
BLOCK_BYTES = 256 << 10
"""Blocks from this size on are the kernel's again as soon as they are freed."""
START_S, PICTURE_S = 300.0, 120.0
"""Patience with a child: to load, and for each picture. Ten times what it takes."""
TINY_PX = 320


@dataclass(frozen=True, slots=True)
class Request:
    """What a child is to measure.

    Attributes:
        bundle: Folder of the bundle.
        variant: Key of the way of running it.
        threads: Threads of torch.
        pictures: Files, each measured by itself; or sides of square frames of noise, in pixels.
        long_side_px: As the detector's setting; None as the bundle has it.
        score_min: As the detector's setting; None as the bundle has it.
        patch_hw: As the slicer's setting; None as the bundle has it.
        share: Share of the frame that a seeded heat map keeps; None leaves it to the seeker.
    """

    bundle: str
    variant: str
    threads: int
    pictures: tuple[str | int, ...]
    long_side_px: int | None = None
    score_min: float | None = None
    patch_hw: tuple[int, int] | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Peak:
    """What one frame took.

    Attributes:
        loaded_bytes: Resident before the frame.
        total_bytes: Greatest growth over that.
        deep_bytes: Greatest growth behind the seeker; behind the last one where it ran often.
    """

    loaded_bytes: int
    total_bytes: int
    deep_bytes: int


def measure(request: Request) -> list[Peak]:
    """Measure in a child process.

    Args:
        request: What to measure.

    Returns:
        One value a picture, in order; none where the system keeps no high-water mark.

    Raises:
        UsageError: The child failed, and the message has its last line; or it took too long.
    """
    if not Path("/proc/self/clear_refs").exists():
        return []
    allocator = {"MALLOC_MMAP_THRESHOLD_": str(BLOCK_BYTES), "MALLOC_TRIM_THRESHOLD_": "0"}
    path = os.pathsep.join(p for p in sys.path if p)
    timeout_s = START_S + PICTURE_S * len(request.pictures)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.peak"],
            input=json.dumps(asdict(request)),
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, **allocator, "PYTHONPATH": path},
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise UsageError(
            f"memory of {request.variant!r}: no answer within {timeout_s:.0f} s; is it busy here?"
        ) from e
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UsageError(f"memory of {request.variant!r} can't be measured: {last}")
    return [Peak(**one) for one in json.loads(done.stdout.splitlines()[-1])]


class Watch:
    """The high-water mark of this process, over what was resident when the watch began."""

    def __init__(self) -> None:
        gc.collect()
        _reset()
        self.loaded_bytes = _bytes("VmRSS")
        self.before_bytes = 0

    def split(self) -> None:
        """Begin the second part of a frame; the mark starts anew."""
        self.before_bytes = max(self.before_bytes, _bytes("VmHWM"))
        _reset()

    def peak(self) -> Peak:
        """What the frame took until now."""
        mark = _bytes("VmHWM")
        top = max(mark, self.before_bytes)
        return Peak(
            self.loaded_bytes, max(0, top - self.loaded_bytes), max(0, mark - self.loaded_bytes)
        )


def load(request: Request) -> tuple[Detector, DetectSettings]:
    """The detector of a request, and how to run it; a seeded heat map fits square noise only."""
    detector = Detector.from_bundle(Path(request.bundle))
    base = detector.settings
    slicer = replace(base.slicer, patch_hw=request.patch_hw or base.slicer.patch_hw)
    settings = replace(
        base,
        long_side_px=request.long_side_px or base.long_side_px,
        score_min=base.score_min if request.score_min is None else request.score_min,
        slicer=slicer,
    )
    if request.share is not None:
        side = settings.long_side_px
        grid_hw = Letterbox.fit((side, side), side).cells_hw
        heat = seeded_heat(grid_hw, settings.slicer, request.share)
        detector.network.add_module("seeker", GivenHeat(detector.network.seeker, heat))
    return detector, settings


def noise(side_px: int) -> UInt8[np.ndarray, "h w 3"]:
    """A seeded square frame of noise."""
    return np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), np.uint8)


def _serve(request: Request) -> list[Peak]:
    torch.set_num_threads(request.threads)
    detector, settings = load(request)
    run = make_variant(request.variant, detector, settings)
    make_variant(request.variant, detector, replace(settings, long_side_px=TINY_PX))(noise(TINY_PX))
    watch: Watch | None = None

    def behind_seeker(*_: object) -> None:
        if watch is not None:
            watch.split()

    # The trunk, not the seeker: where the device half is a graph, torch runs no seeker.
    detector.network.trunk.register_forward_pre_hook(behind_seeker)
    peaks = []
    for picture in request.pictures:
        frame = noise(picture) if isinstance(picture, int) else read_picture(Path(picture))
        watch = Watch()
        run(frame)
        peaks.append(watch.peak())
        watch = None
    return peaks


def _bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) << 10
    raise UsageError(f"/proc/self/status has no {key}: memory can't be measured on this system")


def _reset() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def main() -> None:
    """Answer the request on stdin."""
    raw = json.load(sys.stdin)
    raw["pictures"] = tuple(raw["pictures"])
    raw["patch_hw"] = tuple(raw["patch_hw"]) if raw["patch_hw"] else None
    peaks = _serve(Request(**raw))
    sys.stdout.write(json.dumps([asdict(one) for one in peaks]) + "\n")


if __name__ == "__main__":
    main()
