"""How the cloud grows: one and two replicas measured here, larger fleets modelled after that.

    default bundle ─ scale_served ─> points: throughput, trips, what was added to each
                                       ├─> throughput of two replicas over one
                                       └─ Service ─> fleet.simulate ─┬─> against the points
                                                                     └─> needs of larger fleets

    python -m bench.scale --json bench/results/published-DATE-scale.json --chart scale.svg

A replica has one core and one thread. The gateway and the devices need some of a core too, so two
replicas want a machine with a little more than two. `speed` of a need is how many times faster than
a core here a replica is: 1 was measured, everything else is assumed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from bench.fleet import Fleet, Lived, Service, simulate
from bench.gateway import measure as measure_gateway
from bench.replicas import Load, coded
from bench.scale_chart import chart
from bench.scale_served import Point, measure
from rich.console import Console
from rich.table import Table

from sparsight.bundle import default_bundle, open_bundle

DEVICES = (100, 1_000, 10_000)
SHARE = 0.6
"""Of what a cloud takes, offered while the added time is measured."""
PERCENTS = (1, 5, 10, 25, 50, 75, 90, 95, 99)

_FRAMES = 20_000  # of a simulation: enough for a 99th percentile, few enough for seconds
_SECONDS_MIN = 3.0
_GATEWAY_BUSY = 0.5  # of its core at most: what comes in bursts must not wait there
_BUSY = 0.8  # of the replicas at most: beyond it a queue of minutes is a matter of chance
_GROWTH = 1.04  # of the replicas, until a fleet's frames are in time
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Need:
    """What a fleet needs.

    Attributes:
        devices: That send.
        speed: Of a replica, over a core here.
        batch: Frames in one forward pass at most: the choice that needs the fewest replicas.
        replicas: None if no number is enough: computing alone takes longer.
        gateways: Cores in front of them.
        p99_ms: What comes of it.
        replicas_busy: Share of their time.
    """

    devices: int
    speed: float
    batch: int
    replicas: int | None
    gateways: int
    p99_ms: float
    replicas_busy: float


def service_of(point: Point, gateway_ms: float) -> Service:
    """What the model is fed with: the batches and the ways of one measured cloud."""
    way_ms = max(0.0, float(np.median(point.added_ms)) - gateway_ms)
    return Service.fitted(point.batches, gateway_ms=gateway_ms, way_ms=way_ms)


def need(
    devices: int,
    fps: float,
    service: Service,
    *,
    speed: float,
    batches: Sequence[int],
    p99_ms: float,
) -> Need:
    """The fewest replicas that keep a fleet's frames in time.

    Args:
        devices: That send.
        fps: Frames a second of each.
        service: Of a core.
        speed: How many times faster a replica is.
        batches: Sizes of a batch to choose from.
        p99_ms: In which 99 of 100 frames are to be answered.
    """
    faster = replace(service, base_ms=service.base_ms / speed, each_ms=service.each_ms / speed)
    per_s = devices * fps
    gateways = math.ceil(per_s * service.gateway_ms / 1e3 / _GATEWAY_BUSY)
    found: list[Need] = []
    for batch in batches:
        if faster.base_ms + faster.each_ms >= p99_ms:
            break  # computing alone takes longer
        least = math.ceil(per_s / faster.frames_per_s(batch) / _BUSY)
        for _ in range(_TRIES):
            fleet = Fleet(per_s, least, gateways, batch, seconds=max(_SECONDS_MIN, _FRAMES / per_s))
            lived = simulate(fleet, faster)
            if lived.percentile_ms(99) <= p99_ms:
                reached = lived.percentile_ms(99)
                found.append(
                    Need(devices, speed, batch, least, gateways, reached, lived.replicas_busy)
                )
                break
            if found and least >= (found[-1].replicas or 0):
                break
            least = max(least + 1, math.ceil(least * _GROWTH))
    if not found:
        return Need(devices, speed, batches[0], None, gateways, math.inf, 0.0)
    return min(found, key=lambda one: one.replicas or 0)


def checked(point: Point, service: Service, seed: int = 1) -> tuple[Lived, Lived]:
    """A measured cloud in the model: as loaded as it was, and with always one more frame."""
    seconds = _FRAMES / point.offered_per_s
    fleet = Fleet(
        point.offered_per_s, point.replicas, batch=point.batch, seconds=seconds, seed=seed
    )
    crowd_per_s = 1.5 * point.replicas * service.frames_per_s(point.batch)
    return simulate(fleet, service), simulate(
        replace(fleet, offered_per_s=crowd_per_s, seconds=seconds / 5), service
    )


def report(points: Sequence[Point], service: Service, needs: Sequence[Need]) -> dict[str, Any]:
    """All figures, ready for JSON."""
    first, last = points[0], points[-1]
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "replicas_ratio": last.full_per_s / first.full_per_s,
        "service": {**asdict(service), "spread": [round(s, 4) for s in service.spread]},
        "points": [_point(point, service) for point in points],
        "needs": [asdict(one) for one in needs],
    }


def _point(point: Point, service: Service) -> dict[str, Any]:
    loaded, crowded = checked(point, service)
    return {
        "replicas": point.replicas,
        "batch": point.batch,
        "full_per_s": point.full_per_s,
        "model_full_per_s": crowded.per_s,
        "offered_per_s": point.offered_per_s,
        "frames": len(point.trips_ms),
        "added_p50_ms": float(np.percentile(point.added_ms, 50)),
        "added_p99_ms": float(np.percentile(point.added_ms, 99)),
        "percents": list(PERCENTS),
        "trips_ms": [float(np.percentile(point.trips_ms, percent)) for percent in PERCENTS],
        "model_trips_ms": [loaded.percentile_ms(percent) for percent in PERCENTS],
    }


def tables(found: Mapping[str, Any], fps: float, p99_ms: float) -> list[Table]:
    """The report for people."""
    seen = Table(title=f"measured (model), {SHARE:.0%} load for the trips")
    for column in ("replicas", "frames/s", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms"):
        seen.add_column(column, justify="right")
    middle, late = PERCENTS.index(50), PERCENTS.index(99)
    for one in found["points"]:
        seen.add_row(
            str(one["replicas"]),
            f"{one['full_per_s']:.2f} ({one['model_full_per_s']:.2f})",
            f"{one['trips_ms'][middle]:.0f} ({one['model_trips_ms'][middle]:.0f})",
            f"{one['trips_ms'][late]:.0f} ({one['model_trips_ms'][late]:.0f})",
            f"{one['added_p50_ms']:.1f}",
            f"{one['added_p99_ms']:.1f}",
        )
    seen.caption = f"most replicas over fewest: {found['replicas_ratio']:.2f}"
    wanted = Table(title=f"needed for {fps:g} frames/s a device, 99 of 100 in {p99_ms:g} ms")
    for column in ("devices", "speed", "replicas", "gateways", "batch", "p99 ms", "busy"):
        wanted.add_column(column, justify="right")
    for one in found["needs"]:
        enough = one["replicas"] is not None
        wanted.add_row(
            f"{one['devices']:,}",
            f"{one['speed']:g}",
            f"{one['replicas']:,}" if enough else "never enough",
            str(one["gateways"]),
            str(one["batch"]),
            f"{one['p99_ms']:.0f}" if enough else "",
            f"{one['replicas_busy']:.0%}" if enough else "",
        )
    return [seen, wanted]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, model, tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    parser.add_argument("--pictures", type=Path, default=Load.pictures, help="what devices see")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2], help="measured")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement, roughly")
    parser.add_argument("--fps", type=float, default=1.0, help="of each device of a larger fleet")
    parser.add_argument("--p99-ms", type=float, default=1000.0, help="in time, of a larger fleet")
    parser.add_argument(
        "--speed", type=float, nargs="+", default=[1.0, 30.0], help="of replicas, over a core here"
    )
    parser.add_argument("--json", type=Path, help="file to write too")
    parser.add_argument("--chart", type=Path, help="SVG to draw too")
    told = parser.parse_args(arguments)
    people = Console(stderr=True)
    load = Load(told.bundle, told.pictures, seconds=told.seconds)
    frames, bundle_id = coded(load), open_bundle(told.bundle).manifest.cloud_id
    points = []
    for n in told.replicas:
        people.print(f"a cloud of {n}: starts, {3 * told.seconds:.0f} s of load", highlight=False)
        points.append(measure(replace(load, replicas=n), frames, bundle_id, SHARE))
    payload_bytes = sum(len(frame.payload) for frame in frames) // len(frames)
    people.print("the gateway alone")
    alone = asyncio.run(measure_gateway(4_000, load.devices, payload_bytes, fsync=True))
    service = service_of(points[0], alone["gateway_cpu_ms_per_frame"])
    needs = []
    for speed in told.speed:
        for devices in DEVICES:
            people.print(f"a fleet of {devices:,}, replicas of speed {speed:g}", highlight=False)
            one = need(
                devices, told.fps, service, speed=speed, batches=(1, 2, 4, 8), p99_ms=told.p99_ms
            )
            needs.append(one)
    found = report(points, service, needs)
    console = Console()
    for table in tables(found, told.fps, told.p99_ms):
        console.print(table)
    if told.json is not None:
        told.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if told.chart is not None:
        told.chart.write_text(chart(found), encoding="utf-8")


if __name__ == "__main__":
    main()
