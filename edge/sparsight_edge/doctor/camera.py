"""Whether the source gives frames: the first within a time limit, then how fast they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from sparsight.errors import SparsightError
from sparsight.pictures import MAX_PIXELS
from sparsight_edge.capture.camera import CameraSettings
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.grammar import parse_source
from sparsight_edge.capture.outages import Outages
from sparsight_edge.capture.source import Captured
from sparsight_edge.doctor.finding import Finding
from sparsight_edge.settings import SourceGroup

_RATE_S = 3.0
_RATE_FRAMES = 60


def check_camera(source: SourceGroup) -> Finding:
    """Open the source and look at it for a few seconds.

    Args:
        source: As the agent would open it; a camera has `camera_timeout_s` for its first frame.
    """
    if source.uri is None:
        return Finding("camera", "skip", "no source is given", "say --source")
    try:
        spec = parse_source(source.uri)
        if spec.kind == "stdin":
            return Finding("camera", "skip", "raw frames on stdin are not looked at")
        return _look(source, spec.shown, live=spec.live)
    except SparsightError as error:
        return Finding("camera", "fail", str(error), "see --source in `sparsight edge run --help`")


def _look(source: SourceGroup, shown: str, *, live: bool) -> Finding:
    assert source.uri is not None
    stop, outages, troubles = threading.Event(), Outages(), list[str]()
    opened = open_source(
        source.uri,
        stop,
        latest=source.latest,
        max_pixels=source.max_pixels or MAX_PIXELS,
        outages=outages,
        camera=CameraSettings(silent_s=source.camera_timeout_s),
        telemetry=source.telemetry,
    )
    frames = opened.frames(lambda error: troubles.append(str(error)))
    limit = threading.Timer(source.camera_timeout_s, stop.set)
    limit.start()
    begin_s = time.monotonic()
    try:
        first = next(frames, None)
        first_s = time.monotonic() - begin_s
        limit.cancel()
        if first is None:
            why = outages.stats().reason or (troubles or ["it gave nothing"])[0]
            return Finding(
                "camera",
                "fail",
                f"{shown}: no frame in {first_s:.1f} s: {why}",
                "look at the camera, its cable and its address",
            )
        height, width = first.frame.shape[:2]
        found = f"{shown}: {width}x{height} after {first_s:.1f} s"
        if live:
            found += f", {_fps(frames, stop):.1f} frames a second"
        if troubles:
            return Finding(
                "camera", "warn", f"{found}; {troubles[0]}", "look at what is unreadable"
            )
        return Finding("camera", "ok", found)
    finally:
        limit.cancel()
        stop.set()
        if (close := getattr(frames, "close", None)) is not None:
            close()


def _fps(frames: Iterator[Captured], stop: threading.Event) -> float:
    limit = threading.Timer(_RATE_S, stop.set)
    limit.start()
    begin_s, count = time.monotonic(), 0
    for _ in frames:
        count += 1
        if count == _RATE_FRAMES:
            break
    limit.cancel()
    return count / (time.monotonic() - begin_s)
