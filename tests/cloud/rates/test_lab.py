"""The opened detector gives the closed one's numbers; rivals see what they are told to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.split import LONG_SIDE_PX, scene

from sparsight.bundle import open_bundle
from sparsight.detections import Detections
from sparsight_cloud.rates.lab import Lab
from sparsight_cloud.rates.raw import as_half, as_zstd
from sparsight_cloud.rates.rows import Row, curves
from sparsight_cloud.rates.shots import Prepared, Shot, prepare, shoot, wire_bytes


@pytest.fixture(scope="module")
def lab(split_bundle: Path) -> Lab:
    return Lab(open_bundle(split_bundle), LONG_SIDE_PX)


@pytest.fixture(scope="module")
def prepared(lab: Lab) -> Prepared:
    return prepare(scene(1), lab)


def row(name: str, quality: int) -> Row:
    (curve,) = (curve for curve in curves(3, tuned=True) if curve.name == name)
    assert quality in curve.qualities
    return Row(curve, quality)


def same(a: Detections, b: Detections) -> None:
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_allclose(a.xyxy, b.xyxy, atol=1e-3)
    assert len(a) > 5


def test_without_a_codec_it_is_the_detector(lab: Lab, prepared: Prepared) -> None:
    found = shoot(row("uncoded", 0), prepared, lab).found
    for mode in ("dense", "split"):
        (result,) = lab.detector.detect([prepared.frame], replace(lab.settings, mode=mode))
        same(found[mode], result.detections)
    assert np.abs(found["halo"].scores[:5] - found["split"].scores[:5]).max() > 1e-3
    judged = lab.judged(prepared.frame, prepared.box)
    same(found["halo"], judged["split"])


@pytest.mark.parametrize("rate", [0, 2])
def test_ours_is_the_detector_at_a_rate(lab: Lab, prepared: Prepared, rate: int) -> None:
    shot = shoot(row("ours", rate), prepared, lab)
    (result,) = lab.detector.detect([prepared.frame], replace(lab.settings, rate=rate))
    same(shot.found["split"], result.detections)
    assert result.payload_bytes == shot.figures["payload_bytes"]
    # Key, stream, time and letterbox, and what gRPC puts before a message.
    assert 60 < shot.wire_bytes - result.payload_bytes < 120
    whole = shoot(row("ours_whole", rate), prepared, lab)
    assert whole.figures["kept_px"] == 160 * 256 > shot.figures["kept_px"]


def test_rows_cost_what_their_quality_says(lab: Lab, prepared: Prepared) -> None:
    def sizes(name: str, qualities: tuple[int, ...]) -> list[int]:
        return [shoot(row(name, quality), prepared, lab).wire_bytes for quality in qualities]

    for name, qualities in {
        "jpeg": (15, 90),
        "crops_webp_halo0": (50, 90),
        "roi_heat": (35, 80),
        "ours": (2, 0),
    }.items():
        few, many = sizes(name, qualities)
        assert 100 < few < many
    assert sizes("crops_avif_halo0", (50,)) < sizes("crops_avif_halo32", (50,))
    assert sizes("roi_patches", (80,)) < sizes("avif", (80,))


def test_framing_is_the_same_for_all(prepared: Prepared) -> None:
    nothing = wire_bytes(b"", prepared.box)
    # Tag and length of the payload, and two more bytes for the length of the longer message.
    assert wire_bytes(bytes(100), prepared.box) == nothing + 100 + 2 + 1
    assert wire_bytes(bytes(100_000), prepared.box) == nothing + 100_000 + 4 + 2


def test_raw_rows_are_nearly_the_stem_s(lab: Lab, prepared: Prepared) -> None:
    uncoded = shoot(row("uncoded", 0), prepared, lab).found["halo"]
    half = shoot(row("raw_fp16", 0), prepared, lab)
    np.testing.assert_allclose(half.found["split"].scores[:5], uncoded.scores[:5], atol=1e-2)
    assert shoot(row("raw_int8", 0), prepared, lab).wire_bytes < half.wire_bytes
    rows = torch.randn(300, 8, 1, 1) * torch.logspace(-2, 2, 8)[None, :, None, None]
    size, back = as_half(rows)
    assert size == 300 * 8 * 2
    torch.testing.assert_close(back, rows, rtol=1e-3, atol=1e-3)
    size, back = as_zstd(rows)
    assert size < 300 * 8 * 1.1 + 100
    step = rows.abs().amax((0, 2, 3), keepdim=True) / 127
    assert ((back - rows).abs() <= step * 0.501).all()
    assert as_zstd(rows[:0])[0] == 0


def test_the_tuned_detector_is_asked_dense(lab: Lab, prepared: Prepared) -> None:
    own = shoot(row("jpeg", 75), prepared, lab)
    tuned = shoot(row("jpeg_tuned", 75), prepared, lab, lab)
    assert list(tuned.found) == ["dense"]
    assert tuned.wire_bytes == own.wire_bytes
    same(tuned.found["dense"], own.found["dense"])


def test_a_frame_without_patches_is_a_frame(lab: Lab) -> None:
    nothing = prepare(np.full((144, 256, 3), 114, np.uint8), lab)
    kept = replace(
        nothing.kept,
        patches=replace(
            nothing.kept.patches,
            origins_yx=np.zeros((0, 2), np.int32),
            gains=np.zeros(0, np.float32),
        ),
    )
    nothing = replace(nothing, kept=kept)

    def shot(name: str, quality: int) -> Shot:
        return shoot(row(name, quality), nothing, lab)

    assert len(shot("crops_jpeg_halo32", 50).found["split"]) == 0
    assert shot("crops_jpeg_halo32", 50).wire_bytes < 120
    assert shot("raw_int8", 0).wire_bytes < 120


def test_larger_frames_are_coded_at_the_scale_of_the_input(lab: Lab) -> None:
    large = prepare(scene(4, (288, 512)), lab)
    assert large.picture.shape == (144, 256, 3)
    assert large.box.frame_hw == (288, 512)
    found = shoot(row("avif", 80), large, lab).found["dense"]
    assert found.xyxy.max() > 256
    small = prepare(scene(4, (72, 128)), lab)
    assert small.picture is small.frame
