"""`rate.json`: what was compared on what, under names that scripts can rely on.

APs and shares are fractions, times CPU milliseconds of one thread, bytes those of a frame on the
wire. What does not exist is null: a rival that never comes up to the target has no ratio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

import numpy as np
from PIL import features

from sparsight.bundle import Manifest
from sparsight.codec.payload import CodedFrame, encode
from sparsight.codec.tables import Tables
from sparsight.geometry import Letterbox
from sparsight.settings import DetectSettings
from sparsight_cloud.data.dataset import Dataset
from sparsight_cloud.evaluation.classes import ClassMatch
from sparsight_cloud.evaluation.report import run_stamp
from sparsight_cloud.rates.figures import (
    OURS,
    Ap,
    Comparison,
    RowFigures,
    compared,
    finite,
    part,
)
from sparsight_cloud.rates.rows import DEVICE, UNCODED, Row
from sparsight_cloud.rates.shots import Shot, wire_bytes

CROWDED_SHARE = 0.25
"""The frames with the most boxes that are shown apart, as a share of all."""

STAMPED = ("pillow", "av", "opencv-python-headless", "onnxruntime", "pyarrow")
"""Further distributions whose versions can change a figure."""


def rate_report(
    shots: Mapping[Row, Sequence[Shot]], dataset: Dataset, match: ClassMatch
) -> dict[str, Any]:
    """The figures of still frames.

    Args:
        shots: Of each complete row, those of all frames in the data set's order.
        dataset: The frames.
        match: The bundle's classes on the data set's.
    """
    device = {row: one for row, one in shots.items() if row.curve.name == DEVICE}
    shots = {row: one for row, one in shots.items() if row.curve.name != DEVICE}
    judged = match.dataset(dataset)
    counts = np.array([len(image.labels) for image in judged.images])
    crowded = np.sort(np.argsort(-counts, kind="stable")[: _share(len(counts))])
    whole = compared(shots, dataset, match)
    analysis = _times(next(iter(device.values()), ()))
    return {
        **comparison_json(whole, analysis.get("analysis_ms")),
        "device_ms": _device(whole, analysis),
        "cloud_ms": _cloud(whole),
        "empty": _empty(shots, np.flatnonzero(counts == 0)),
        "crowded": {
            "boxes_min": int(counts[crowded].min()) if len(crowded) else None,
            **comparison_json(compared(*part(shots, dataset, crowded.tolist()), match)),
        },
    }


def about(
    manifest: Manifest, settings: DetectSettings, tuned: Manifest | None, annotations: str
) -> dict[str, Any]:
    """What was compared, where and with what."""
    stamp = run_stamp()
    stamp["threads"] = 1  # of each process; this one only adds up
    stamp["versions"] |= {name: _version(name) for name in STAMPED}
    stamp["versions"] |= {"libavif": features.version("avif"), "libwebp": features.version("webp")}
    return {
        "bundle": {"name": manifest.name, "id": manifest.id, "cloud_id": manifest.cloud_id},
        "pixel_bundle": tuned and {"name": tuned.name, "id": tuned.id},
        "annotations": annotations,
        "settings": asdict(settings),
        **stamp,
    }


def comparison_json(one: Comparison, analysis_ms: float | None = None) -> dict[str, Any]:
    """A comparison, ready for JSON.

    Args:
        one: The comparison.
        analysis_ms: What ours takes on a device before its slicer; counted into `encode_ms`.
    """
    return {
        "frames": one.frames,
        "boxes": one.boxes,
        "reference": {name: _ap_json(ap) for name, ap in one.reference.items()},
        "rows": [_row_json(row, analysis_ms) for row in one.rows],
        "target_ap": finite(one.target_ap),
        "ours_bytes_at_target": finite(one.ours_bytes),
        "at_equal_ap": {name: finite(rival.over_ours) for name, rival in one.rivals.items()},
        "rivals": {
            name: {
                "curve": rival.curve,
                "bytes_at_target": finite(rival.bytes_per_frame),
                "at_most": rival.at_most,
            }
            for name, rival in one.rivals.items()
        },
        "bd_rate": {name: finite(rival.bd_rate) for name, rival in one.rivals.items()},
    }


def no_patches_json(tables: Tables, bundle_id: str, box: Letterbox) -> dict[str, Any]:
    """What a frame without patches costs.

    Args:
        tables: Of the bundle.
        bundle_id: Its id.
        box: Of the frame.
    """
    patches = np.zeros((0, 2), np.int32)
    nothing = np.zeros((tables.channels, 0), np.int8)
    marks = np.zeros(box.cells_hw, np.bool_)
    payload = encode(
        CodedFrame(0, 0, box.cells_hw, box.cells_hw, patches, marks, nothing), tables, bundle_id
    )
    return {"payload_bytes": len(payload), "wire_bytes": wire_bytes(payload, box)}


def _row_json(row: RowFigures, analysis_ms: float | None) -> dict[str, Any]:
    curve = row.row.curve
    ours = curve.family == "ours"
    encode_ms = row.figures.get("encode_ms")
    if ours and encode_ms is not None and analysis_ms is not None:
        encode_ms += analysis_ms
    out = {
        "name": row.row.name,
        "curve": curve.name,
        "family": curve.family,
        "quality": row.row.quality,
        "bytes_per_frame": finite(row.bytes_per_frame),
        **_ap_json(row.best),
        "detector": f"{row.detector}, tuned" if curve.tuned else row.detector,
        "encode_ms": finite(encode_ms),
        "by_detector": {name: _ap_json(ap) for name, ap in row.by_detector.items()},
    }
    layouts = {
        name.removeprefix("layout_"): finite(share)
        for name, share in row.figures.items()
        if name.startswith("layout_")
    }
    if layouts:
        out["layouts"] = layouts
    if ours:
        kept_px, payload = row.figures["kept_px"], row.figures["payload_bytes"]
        out["payload_bytes"] = finite(payload)
        out["bits_per_kept_px"] = finite(8 * payload / kept_px) if kept_px else None
    return out


def _device(one: Comparison, parts: Mapping[str, float]) -> dict[str, Any]:
    """Times of ours on a device; the codec's are those of the middle rate."""
    row = _middle(one)
    coding = row.figures["coding_ms"] if row else None
    slicer = row.figures["slicer_ms"] if row else None
    over = None
    if coding is not None and parts.get("stem_ms"):
        over = (parts["analysis_ms"] + coding) / parts["stem_ms"]
    return {
        **{name: finite(parts.get(name)) for name in ("stem_ms", "seeker_ms", "analysis_ms")},
        "slicer_ms": finite(slicer),
        "coding_ms": finite(coding),
        "analysis_and_coding_over_stem": finite(over),
    }


def _cloud(one: Comparison) -> dict[str, Any]:
    """Times of ours in the cloud, at the middle rate, on one thread."""
    row = _middle(one)
    if row is None:
        return {}
    spent = {name: row.figures[name] for name in ("decode_ms", "synthesis_ms", "deep_ms")}
    deep = spent["deep_ms"]
    over = (spent["decode_ms"] + spent["synthesis_ms"]) / deep if deep else None
    return {
        **{name: finite(value) for name, value in spent.items()},
        "decode_and_synthesis_over_deep": finite(over),
    }


def _middle(one: Comparison) -> RowFigures | None:
    ours = sorted((r for r in one.rows if r.row.curve.name == OURS), key=lambda r: r.row.quality)
    return ours[len(ours) // 2] if ours else None


def _empty(shots: Mapping[Row, Sequence[Shot]], chosen: np.ndarray) -> dict[str, Any]:
    """Bytes of the frames without boxes."""
    frames = chosen.tolist()
    return {
        "frames": len(frames),
        "bytes_per_frame": {
            row.name: finite(float(np.mean([all_[i].wire_bytes for i in frames])))
            for row, all_ in shots.items()
            if frames and row.curve.name != UNCODED
        },
    }


def _times(shots: Sequence[Shot]) -> dict[str, float]:
    """Medians: on a busy machine a few frames take much longer."""
    names = shots[0].figures if shots else ()
    return {name: float(np.median([shot.figures[name] for shot in shots])) for name in names}


def _ap_json(ap: Ap) -> dict[str, Any]:
    return {"ap": finite(ap.ap), "ap50": finite(ap.ap50)}


def _share(frames: int) -> int:
    return max(1, round(frames * CROWDED_SHARE))


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
