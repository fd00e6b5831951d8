"""What a still camera's uplink is spared: the same film sent whole and told by what changed.

    a frame of Munich ─ still_scene ─> film ─┬─ edge run --no-reuse ─┐
                                             └─ edge run ────────────┴─> cloud ─> bytes, AP

    python -m bench.still --json bench/results/published-DATE-still.json

Real programs on loopback: two agents and a cloud that computes in its own process. Beside the films
goes one sequence as it was flown, which must lose nothing and has nothing to gain.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.still_scene import SceneSettings, film
from PIL import Image
from rich.console import Console
from rich.table import Table
from tools.demo.board import Board
from tools.demo.interrupts import Interrupts, private_folder
from tools.demo.judging import Judge
from tools.demo.outcomes import Outcome
from tools.demo.plan import (
    Camera,
    Plan,
    labels_of,
    manifest_of,
    match_of,
    shipped_cameras,
)
from tools.demo.programs import Programs
from tools.demo.stream import stream

from sparsight.bundle import default_bundle
from sparsight.errors import SparsightError
from sparsight.pictures import read_picture
from sparsight_cloud.data.dataset import LabelledImage

WHOLE, REUSE = "whole", "reuse"
JPEG = 92
"""Quality of the camera's own compression."""

DRIVERS = {"parked": 0.0, "quiet street": 0.05, "busy street": 0.2}
"""Share of the cars that drive, by the name of the scene."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One film on one way.

    Attributes:
        frames: That were committed.
        lost: That were not, or more than once.
        payload_bytes: Of all of them, as they were sent.
        first_bytes: Of the first, which is always whole.
        ap: Of what was found in them, in [0, 1].
    """

    frames: int
    lost: int
    payload_bytes: int
    first_bytes: int
    ap: float | None


def make_film(
    image: LabelledImage, drivers: float, count: int, folder: Path
) -> list[LabelledImage]:
    """Write a film's frames.

    Args:
        image: What the camera looks at.
        drivers: Share of its objects that drive.
        count: Frames.
        folder: Of the frames; made.

    Returns:
        The frames and their boxes.
    """
    folder.mkdir()
    frames = film(read_picture(image.path), image.xyxy, count, SceneSettings(drivers=drivers))
    out = []
    for index, (frame, xyxy) in enumerate(frames):
        file = folder / f"{index:04}.jpg"
        Image.fromarray(frame).save(file, quality=JPEG)
        out.append(replace(image, path=file, file_name=file.name, image_id=index, xyxy=xyxy))
    return out


def measure(plan: Plan, folder: Path, interrupts: Interrupts, board: Board) -> dict[str, Sent]:
    """Send a plan's films; the last word of a camera's name says which way."""
    folder.mkdir()
    with Programs(folder, interrupts) as programs:
        outcomes, troubles = stream(plan, programs, board)
    if troubles:
        raise SparsightError("; ".join(troubles))
    judge = Judge(plan.labels, plan.match)
    return {
        camera.name: _sent([one for one in outcomes if one.camera == camera.name], judge)
        for camera in plan.cameras
    }


def _sent(outcomes: Sequence[Outcome], judge: Judge) -> Sent:
    sizes = [one.payload_bytes for one in outcomes if one.payload_bytes is not None]
    found = {one.picture: one.found for one in outcomes if one.found is not None}
    return Sent(
        frames=len(sizes),
        lost=sum(one.commits != 1 for one in outcomes),
        payload_bytes=sum(sizes),
        first_bytes=sizes[0],
        ap=judge.judge(found).ap,
    )


def both_ways(source: str, pictures: Sequence[Path]) -> tuple[Camera, Camera]:
    """Two devices on the same pictures."""
    return (
        Camera(WHOLE, source, tuple(pictures), ("--no-reuse",)),
        Camera(REUSE, source, tuple(pictures)),
    )


def rows(found: Mapping[str, Mapping[str, Sent]]) -> list[dict[str, Any]]:
    """The figures of each scene."""
    out = []
    for scene, ways in found.items():
        whole, reuse = ways[WHOLE], ways[REUSE]
        # Once a film runs, its first frame is as nothing; of sixty it would be a sixth of the rest.
        steady = [(w.payload_bytes - w.first_bytes) / (w.frames - 1) for w in (whole, reuse)]
        out.append(
            {
                "scene": scene,
                "frames": whole.frames,
                "lost": whole.lost + reuse.lost,
                "whole_bytes": whole.payload_bytes / whole.frames,
                "reuse_bytes": reuse.payload_bytes / reuse.frames,
                "ratio": reuse.payload_bytes / whole.payload_bytes,
                "ratio_after_first": steady[1] / steady[0],
                "whole_ap": whole.ap,
                "reuse_ap": reuse.ap,
            }
        )
    return out


def table(figures: Sequence[Mapping[str, Any]]) -> Table:
    """The figures for people."""
    out = Table(title="a still camera, told by what changes", title_justify="left")
    for name in ("", "frames", "lost", "whole, B", "reuse, B", "ratio", "after the first"):
        out.add_column(name, justify="right" if name else "left")
    for name in ("AP whole", "AP reuse"):
        out.add_column(name, justify="right")
    for one in figures:
        aps = ["-" if one[k] is None else f"{one[k]:.1%}" for k in ("whole_ap", "reuse_ap")]
        out.add_row(
            one["scene"],
            str(one["frames"]),
            str(one["lost"]),
            f"{one['whole_bytes']:,.0f}",
            f"{one['reuse_bytes']:,.0f}",
            f"{one['ratio']:.3f}",
            f"{one['ratio_after_first']:.3f}",
            *aps,
        )
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the films, send them, and tell."""
    parser = argparse.ArgumentParser(prog="bench.still", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--frames", type=int, default=60, help="of each film; from 2")
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    told = parser.parse_args(arguments)
    people = Console(stderr=True)
    manifest = manifest_of(told.bundle, None)
    cameras = shipped_cameras()
    with Interrupts() as interrupts, private_folder(interrupts) as folder, Board(people) as board:
        found: dict[str, dict[str, Sent]] = {}
        for camera in cameras:
            labels = labels_of([camera])
            match = match_of(manifest.classes, labels, None)
            plans = {
                f"{camera.name}, as flown": (both_ways(camera.source, camera.pictures), labels)
            }
            for scene, drivers in DRIVERS.items():
                name = f"{camera.name}, {scene}"
                with board.step(f"making the film of the {name}"):
                    home = folder / name.replace(", ", "-").replace(" ", "-")
                    images = make_film(labels.images[0], drivers, told.frames, home)
                    ways = both_ways(str(home / "*.jpg"), [image.path for image in images])
                    plans[name] = (ways, replace(labels, images=tuple(images)))
            for name, (ways, boxes) in plans.items():
                plan = Plan(
                    cameras=ways,
                    labels=boxes,
                    bundle=told.bundle.resolve(),
                    manifest=manifest,
                    rate=manifest.default_rate,
                    fps=told.fps,
                    replicas=None,
                    match=match,
                )
                found[name] = measure(plan, folder / str(len(found)), interrupts, board)
    figures = rows(found)
    Console().print(table(figures))
    films = [one for one in figures if not one["scene"].endswith("as flown")]
    summary = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "bundle": manifest.id,
        "rate": manifest.default_rate,
        "mean_ratio_of_films": fmean(one["ratio"] for one in films),
        "scenes": figures,
    }
    if told.json is not None:
        told.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return int(any(one["lost"] for one in figures))


if __name__ == "__main__":
    sys.exit(main())
