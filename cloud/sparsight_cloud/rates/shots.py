"""A frame through one row: how many bytes cross the wire, and what is found behind it.

    frame ─ prepare ─> its picture at the scale of the input or below, its patches
                         └─ shoot(row) ─> Shot: bytes, objects, figures

Frames larger than the network's input are scaled down before pixels are coded, smaller ones are
coded as they are: either way the rival's bytes are the fewest that give all the detector could use.
Whatever is sent travels in the same message, `FrameFeatures` behind gRPC's five bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from sparsight.codec.payload import decode, encode
from sparsight.detections import Detections
from sparsight.geometry import CELL_PX, Letterbox
from sparsight.model.coding import kept_of
from sparsight.model.passes import Kept
from sparsight.pictures import letterbox
from sparsight.wire import FrameFeatures, FrameKey, pack_device_message
from sparsight_cloud.rates.crops import HEAD_BYTES, LAYOUTS, Layout, lay_out, worth_a_try
from sparsight_cloud.rates.encoders import Encoder, encoder
from sparsight_cloud.rates.lab import Lab, everything, p3_of
from sparsight_cloud.rates.raw import as_half, as_zstd
from sparsight_cloud.rates.regions import fine_and_coarse, near_marks
from sparsight_cloud.rates.rows import UNCODED, Row
from sparsight_cloud.rates.streams import Picture

T = TypeVar("T")

GRPC_PREFIX_BYTES = 5
"""Flag and length before each message of a gRPC stream."""

ROI_CODEC = "avif"

_KEY = FrameKey("drone-0001", 1_700_000_000_000_000_000, 100_000)
_CAPTURED_UNIX_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame, and what the bundle's device half thinks of it uncoded.

    Attributes:
        frame: RGB, as it came.
        box: How it lies in the network's input.
        picture: What rivals code: the frame, or the frame scaled down to the input.
        kept: The patches and marks that the bundle chooses.
    """

    frame: Picture
    box: Letterbox
    picture: Picture
    kept: Kept


@dataclass(frozen=True, slots=True)
class Shot:
    """What came of one frame in one row.

    Attributes:
        wire_bytes: What crosses the wire, framing included.
        found: Objects in frame pixels, by the detector that found them: `dense`, `split`.
        figures: Further measurements by name, units in the name.
    """

    wire_bytes: int
    found: Mapping[str, Detections]
    figures: Mapping[str, float] = field(default_factory=dict)


def prepare(frame: Picture, lab: Lab) -> Prepared:
    """Look at a frame uncoded."""
    box, look = lab.box_of(frame), lab.look(frame)
    return Prepared(frame, box, as_coded(frame, box), lab.kept(look, lab.slice(look)))


def as_coded(frame: Picture, box: Letterbox) -> Picture:
    """The frame at the scale at which pixels are coded."""
    if box.scaled_hw[0] >= box.frame_hw[0]:
        return frame
    height, width = box.scaled_hw
    return np.ascontiguousarray(letterbox(frame, box)[:height, :width])


def shoot(row: Row, prepared: Prepared, lab: Lab, tuned: Lab | None = None) -> Shot:
    """Send a frame through a row.

    Args:
        row: Of still frames.
        prepared: The frame, by `prepare` of the same lab.
        lab: The bundle's detector.
        tuned: The one that learned from coded pictures; for rows that ask for it.
    """
    match row.curve.family:
        case "whole":
            return _whole(row, prepared, lab, tuned)
        case "roi":
            return _roi(row, prepared, lab, tuned)
        case "crops":
            return _crops(row, prepared, lab)
        case "raw":
            return _raw(row, prepared, lab)
    if row.curve.codec == UNCODED:
        return Shot(0, lab.uncoded(prepared.frame, prepared.box))
    return _ours(row, prepared, lab)


def wire_bytes(payload: bytes, box: Letterbox, rate: int = 0) -> int:
    """Size of the message that carries a payload, as it stands in a gRPC stream."""
    message = FrameFeatures(_KEY, "camera-1", _CAPTURED_UNIX_NS, box, rate, payload)
    return GRPC_PREFIX_BYTES + len(pack_device_message(message))


def judged(
    row: Row, picture: Picture, box: Letterbox, lab: Lab, tuned: Lab | None
) -> dict[str, Detections]:
    """What is found in a decoded picture of a whole frame."""
    if not row.curve.tuned:
        return lab.judged(picture, box)
    assert tuned is not None
    return {"dense": tuned.dense(tuned.look(picture), box)}


def _whole(row: Row, prepared: Prepared, lab: Lab, tuned: Lab | None) -> Shot:
    picture = prepared.picture
    codec = encoder(row.curve.codec)
    data, ms = _timed(lambda: codec.encode(picture, row.quality))
    back = codec.decode(data, (picture.shape[0], picture.shape[1]))
    found = judged(row, back, prepared.box, lab, tuned)
    return Shot(wire_bytes(data, prepared.box), found, {"encode_ms": ms})


def _roi(row: Row, prepared: Prepared, lab: Lab, tuned: Lab | None) -> Shot:
    kept, picture = prepared.kept, prepared.picture
    heat = row.curve.codec == "heat"
    fine = near_marks(kept.marks) if heat else kept.patches.union()
    codec = encoder(ROI_CODEC)
    data, ms = _timed(
        lambda: codec.encode(fine_and_coarse(picture, fine, prepared.box), row.quality)
    )
    back = codec.decode(data, (picture.shape[0], picture.shape[1]))
    found = judged(row, back, prepared.box, lab, tuned)
    return Shot(wire_bytes(data, prepared.box), found, {"encode_ms": ms})


def _crops(row: Row, prepared: Prepared, lab: Lab) -> Shot:
    """The cheapest of the layouts; only that one is decoded and looked at."""
    patches, box = prepared.kept.patches, prepared.box
    codec, halo_px = encoder(row.curve.codec), row.curve.halo_px
    hw = (prepared.picture.shape[0], prepared.picture.shape[1])
    layouts = [lay_out(name, patches, box, hw, halo_px) for name in LAYOUTS]
    tries = [_try(one, prepared.picture, codec, row.quality) for one in worth_a_try(layouts)]
    layout, datas, size, ms = min(tries, key=lambda one: one[2])
    look = lab.look(layout.assemble(layout.decoded(datas, codec.decode)))
    # What lies round crops that came bare is grey, and tells the deep part nothing.
    found = {"split": lab.split_alone(look, patches, box, bare=not halo_px)}
    return Shot(
        wire_bytes(bytes(size), box), found, {"encode_ms": ms, f"layout_{layout.name}": 1.0}
    )


def _try(
    layout: Layout, picture: Picture, codec: Encoder, quality: int
) -> tuple[Layout, list[bytes], int, float]:
    """A layout, its coded pictures, bytes of all of it, and the time that they took."""
    datas, ms = _timed(lambda: [codec.encode(one, quality) for one in layout.cut(picture)])
    return layout, datas, layout.overhead_bytes + sum(map(len, datas)), ms


def _raw(row: Row, prepared: Prepared, lab: Lab) -> Shot:
    box = prepared.box
    laid = lab.lay_out(prepared.kept)
    rows = laid.rows_of([p3_of(lab.look(prepared.frame))])
    pack = as_half if row.curve.codec == "fp16" else as_zstd
    (size, came), ms = _timed(lambda: pack(rows))
    patches = HEAD_BYTES + 2 * len(prepared.kept.patches)
    found = {"split": lab.split(laid, came, box)}
    return Shot(wire_bytes(bytes(patches + size), box), found, {"encode_ms": ms})


def _ours(row: Row, prepared: Prepared, lab: Lab) -> Shot:
    """The real payload, and what is found behind its bytes."""
    codec, rate, box = lab.detector.codec, row.quality, prepared.box
    assert codec is not None
    look = lab.look(prepared.frame, rate)
    latents = look.latents
    assert latents is not None
    patches, slicer_ms = _timed(lambda: lab.slice(look))
    if row.curve.codec == "whole":
        patches = everything(box.cells_hw)
    kept, tables = lab.kept(look, patches), codec.tables
    payload, coding_ms = _timed(
        lambda: encode(codec.code_latents(latents, kept, rate), tables, lab.bundle_id)
    )
    came, decode_ms = _timed(lambda: decode(payload, tables))
    laid = lab.lay_out(kept_of(came))
    with torch.inference_mode():
        rows, synthesis_ms = _timed(lambda: codec.rows([came], laid.area))
    found, deep_ms = _timed(lambda: lab.split(laid, rows, box))
    figures = {
        "encode_ms": slicer_ms + coding_ms,
        "slicer_ms": slicer_ms,
        "coding_ms": coding_ms,
        "decode_ms": decode_ms,
        "synthesis_ms": synthesis_ms,
        "deep_ms": deep_ms,
        "payload_bytes": float(len(payload)),
        "kept_px": float(patches.union().sum()) * CELL_PX**2,
    }
    return Shot(wire_bytes(payload, box, rate), {"split": found}, figures)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and CPU milliseconds of this process, encoders' own threads among them."""
    start_s = time.process_time()
    out = work()
    return out, (time.process_time() - start_s) * 1e3
