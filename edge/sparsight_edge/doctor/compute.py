"""Whether the bundle is whole, and how fast this machine runs it at its full size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sparsight.bundle import open_bundle
from sparsight.errors import BundleError, SparsightError
from sparsight_edge.doctor.finding import Finding
from sparsight_edge.engine.choose import USUAL_HW
from sparsight_edge.model import EdgeModel
from sparsight_edge.settings import ModelGroup

_RUNS = 3


def check_model(settings: ModelGroup) -> Iterator[Finding | EdgeModel]:
    """Verify the bundle, load it, and run a made-up frame.

    Yields:
        What was found, and the model if it could be loaded.
    """
    if settings.bundle is None:
        yield Finding("bundle", "fail", "no bundle is given", "say --bundle")
        return
    try:
        manifest = open_bundle(settings.bundle).manifest
    except BundleError as error:
        yield Finding("bundle", "fail", str(error), "copy it again from where it was built")
        return
    size_mb = sum(file.stat().st_size for file in Path(settings.bundle).iterdir()) / 1e6
    yield Finding(
        "bundle",
        "ok",
        f"{manifest.name} in {manifest.precision}, {size_mb:.0f} MB, every file verified, "
        f"{manifest.id[:12]}",
    )
    try:
        model = EdgeModel.load(
            settings.bundle, settings.rate, settings.threads, settings.engine, settings.plans
        )
    except SparsightError as error:
        yield Finding("engine", "fail", str(error), "see --engine in `sparsight edge run --help`")
        return
    noise = np.random.default_rng(0).integers(0, 256, (*USUAL_HW, 3), np.uint8)
    _, image = model.fit(noise)
    try:
        times_ms = [_run_ms(model, image) for _ in range(_RUNS)]
    except Exception as error:  # whatever a runtime or its driver raises, the agent would end by it
        yield Finding("engine", "fail", f"it does not run: {error!r}", "try --engine onnx")
        return
    yield Finding(
        "engine",
        "ok",
        f"{type(model.engine).__name__}, {image.shape[1]}x{image.shape[0]} in {min(times_ms):.0f} "
        f"ms, {1e3 / min(times_ms):.1f} frames a second at most",
    )
    yield model


def _run_ms(model: EdgeModel, image: np.ndarray) -> float:
    begin_s = time.perf_counter()
    model.engine.run(image, model.rate)
    return (time.perf_counter() - begin_s) * 1e3
