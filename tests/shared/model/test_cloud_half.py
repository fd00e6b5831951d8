"""Two halves and the codec between them: what a device sends, the cloud understands."""

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from tests.split import LONG_SIDE_PX, STEPS, ZONE_STEPS, scene, write_split_bundle

from sparsight.bundle import EDGE, TABLES, open_bundle
from sparsight.codec.payload import decode, encode, peek
from sparsight.codec.tables import Tables
from sparsight.codec.zones import UNTOLD
from sparsight.errors import BundleError, UsageError
from sparsight.geometry import Letterbox
from sparsight.model.cloud_half import Arrived, CloudHalf
from sparsight.model.detector import Detector
from sparsight.model.passes import Kept
from sparsight.pictures import letterbox

FRAMES = [scene(20), scene(21), scene(22, (200, 160)), np.full((64, 256, 3), 114, np.uint8)]


@pytest.fixture(scope="module")
def half(split_bundle: Path) -> CloudHalf:
    return CloudHalf.from_bundle(split_bundle)


@pytest.fixture(scope="module")
def detector(split_bundle: Path) -> Detector:
    return Detector.from_bundle(split_bundle)


def arrived(detector: Detector, frame: np.ndarray, rate: int = 0) -> Arrived:
    """A frame through the device's half, as bytes and back."""
    assert detector.codec is not None and detector.manifest is not None
    (result,) = detector.detect([frame], dataclasses.replace(detector.settings, rate=rate))
    image = letterbox(frame, result.letterbox)
    latents = detector._device_half.look(detector.network, image, rate).latents
    assert latents is not None
    kept = Kept(result.patches, result.heat >= detector.settings.mark, detector.settings.halo)
    coded = detector.codec.code_latents(latents, kept, rate)
    data = encode(coded, detector.codec.tables, detector.manifest.cloud_id)
    assert len(data) == result.payload_bytes
    return Arrived(decode(data, detector.codec.tables), result.letterbox)


def test_both_halves_say_what_the_whole_says(detector: Detector, half: CloudHalf) -> None:
    for rate in range(len(STEPS)):
        settings = dataclasses.replace(detector.settings, rate=rate)
        whole = detector.detect(FRAMES, settings)
        halves = half.run([arrived(detector, f, rate) for f in FRAMES])
        for a, b in zip(whole, halves, strict=True):
            np.testing.assert_allclose(a.detections.xyxy, b.xyxy, atol=0.01)
            np.testing.assert_allclose(a.detections.scores, b.scores, atol=1e-4)
            np.testing.assert_array_equal(a.detections.labels, b.labels)
        assert len(halves[0]) > 3


@pytest.mark.parametrize("backbone", ["resnet18d", "yolox_nano"])
def test_halves_on_other_bases(backbone: str, tmp_path: Path) -> None:
    write_split_bundle(tmp_path, backbone=backbone)
    detector, half = Detector.from_bundle(tmp_path), CloudHalf.from_bundle(tmp_path)
    assert detector.network.trunk.joined == (backbone == "yolox_nano")
    (whole,) = detector.detect(FRAMES[:1], dataclasses.replace(detector.settings, rate=0))
    (halves,) = half.run([arrived(detector, FRAMES[0])])
    np.testing.assert_allclose(whole.detections.xyxy, halves.xyxy, atol=0.01)
    np.testing.assert_allclose(whole.detections.scores, halves.scores, atol=1e-4)
    assert len(halves) > 3


def test_a_batch_gives_what_each_frame_gives_alone(detector: Detector, half: CloudHalf) -> None:
    some = [arrived(detector, f, i % 3) for i, f in enumerate(FRAMES)]
    for together, one in zip(half.run(some), some, strict=True):
        (alone,) = half.run([one])
        np.testing.assert_allclose(together.xyxy, alone.xyxy, atol=0.01)
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)


def test_a_finer_rate_costs_more_and_is_nearer(detector: Detector) -> None:
    sizes, errors = [], []
    assert detector.codec is not None
    for rate in range(len(STEPS)):
        settings = dataclasses.replace(detector.settings, rate=rate)
        results = detector.detect(FRAMES[:2], settings)
        sizes.append(sum(r.payload_bytes or 0 for r in results))
        coded = arrived(detector, FRAMES[0], rate).coded
        zones = coded.zones()
        widths = np.array(ZONE_STEPS)[zones[zones != UNTOLD]]
        errors.append(coded.latents * STEPS[rate] * widths)
    assert sizes[0] > sizes[1] > sizes[2] > 0
    fine, middle, coarse = errors
    assert np.abs(middle - fine).mean() < np.abs(coarse - fine).mean()


def test_no_patches_are_no_objects_and_few_bytes(detector: Detector, half: CloudHalf) -> None:
    nothing = dataclasses.replace(
        detector.settings,
        slicer=dataclasses.replace(detector.settings.slicer, max_patches=0),
    )
    (result,) = detector.detect(FRAMES[:1], dataclasses.replace(nothing, rate=0))
    assert result.payload_bytes == 27
    one = arrived(detector, FRAMES[0])
    bare = dataclasses.replace(
        one.coded,
        origins_yx=np.zeros((0, 2), np.int32),
        marks=np.zeros_like(one.coded.marks),
        latents=one.coded.latents[:, :0],
    )
    empty = dataclasses.replace(one, coded=bare)
    assert [len(found) for found in half.run([empty, one, empty])][::2] == [0, 0]
    assert [len(found) for found in half.run([empty])] == [0]
    assert half.run([]) == []


def test_the_graph_says_what_the_network_says(split_bundle: Path, detector: Detector) -> None:
    session = ort.InferenceSession(split_bundle / EDGE, providers=["CPUExecutionProvider"])
    steps = np.array(open_bundle(split_bundle).manifest.rates[1].steps, np.float32)
    for frame in FRAMES:
        box = Letterbox.fit((frame.shape[0], frame.shape[1]), LONG_SIDE_PX)
        heat, latents = session.run(
            ["heat", "latents"], {"image": letterbox(frame, box)[None], "steps": steps}
        )
        (result,) = detector.detect([frame])
        np.testing.assert_allclose(heat[0], result.heat, atol=1e-4)
        assert latents.dtype == np.int8
        assert latents.shape == (1, *steps.shape, box.cells_hw[0] // 2, box.cells_hw[1] // 2)
        want = arrived(detector, frame, 1).coded
        zones = want.zones()
        inside = latents[0][:, :, zones != UNTOLD]
        got = np.stack([inside[zone, :, i] for i, zone in enumerate(zones[zones != UNTOLD])], 1)
        assert np.mean(got != want.latents) < 1e-2


def test_what_does_not_fit_is_refused(
    detector: Detector, half: CloudHalf, tmp_path: Path, split_bundle: Path
) -> None:
    one = arrived(detector, FRAMES[0])
    other = Letterbox.fit((64, 256), LONG_SIDE_PX)
    with pytest.raises(UsageError, match="a map of"):
        half.run([Arrived(one.coded, other)])
    with pytest.raises(UsageError, match="rate: expected 0 to 2, the finest first, got 3"):
        detector.detect(FRAMES[:1], dataclasses.replace(detector.settings, rate=3))
    data = encode(one.coded, Tables.load(split_bundle / TABLES), half.manifest.cloud_id)
    assert peek(data).bundle_prefix == half.manifest.cloud_id[:16]
    manifest = write_split_bundle(tmp_path / "other", seed=4)
    assert manifest.cloud_id != half.manifest.cloud_id
    graph = tmp_path / "other" / EDGE
    graph.write_bytes((split_bundle / EDGE).read_bytes())
    with pytest.raises(BundleError, match=r"edge\.onnx: was changed or damaged"):
        CloudHalf.from_bundle(tmp_path / "other")


def test_a_warm_half_answers_as_a_cold_one(
    detector: Detector, half: CloudHalf, split_bundle: Path
) -> None:
    warm = CloudHalf.from_bundle(split_bundle)
    warm.warm()
    one = arrived(detector, FRAMES[0])
    (a,), (b,) = half.run([one]), warm.run([one])
    assert len(a) > 3
    np.testing.assert_array_equal(a.xyxy, b.xyxy)
    np.testing.assert_array_equal(a.scores, b.scores)
