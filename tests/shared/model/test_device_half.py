from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsight.errors import UsageError
from sparsight.geometry import Letterbox
from sparsight.model.detector import Detector
from sparsight.model.device_half import GRAPH_PX_MAX, DeviceHalf, Look
from sparsight.pictures import letterbox

from ...split import LONG_SIDE_PX, scene, write_split_bundle  # noqa: TID252

Looks = Callable[[bool, int | None], Look]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_split_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def detector(bundle: Path) -> Detector:
    return Detector.from_bundle(bundle)


@pytest.fixture(scope="module")
def look(bundle: Path, detector: Detector) -> Looks:
    frame = scene(1)
    image = letterbox(frame, Letterbox.fit((144, 256), LONG_SIDE_PX))

    def looked(graph: bool, rate: int | None) -> Look:
        half = DeviceHalf(detector.codec, bundle / "edge.onnx" if graph else None)
        return half.look(detector.network, image, rate)

    return looked


def test_graph_and_torch_say_the_same(look: Looks) -> None:
    graph, own = look(True, None), look(False, None)
    assert graph.latents is None and own.latents is None
    assert graph.p3 is not None and own.p3 is not None
    assert graph.p3.shape == own.p3.shape
    np.testing.assert_allclose(graph.heat, own.heat, atol=1e-4)
    scale = float(own.p3.abs().max())
    np.testing.assert_allclose(graph.p3.numpy(), own.p3.numpy(), atol=1e-4 * scale)


@pytest.mark.parametrize("rate", [0, 2])
def test_latents_of_a_rate_instead_of_p3(look: Looks, rate: int) -> None:
    graph, own = look(True, rate), look(False, rate)
    assert graph.p3 is None and own.p3 is None
    assert graph.latents is not None and own.latents is not None
    apart = (graph.latents.int() - own.latents.int()).abs()  # an edge may fall to either side
    assert graph.latents.int().abs().max() > 0
    assert apart.max() <= 1 and float((apart > 0).float().mean()) < 0.01


def test_a_rate_that_is_not_there(look: Looks) -> None:
    for graph in (True, False):
        with pytest.raises(UsageError, match="expected 0 to 2"):
            look(graph, 3)


def test_a_large_frame_needs_no_graph(bundle: Path, detector: Detector) -> None:
    side_px = 1568
    assert side_px**2 > GRAPH_PX_MAX
    half = DeviceHalf(detector.codec, bundle / "no.onnx")
    image = np.zeros((side_px, side_px, 3), np.uint8)
    assert half.look(detector.network, image, None).p3 is not None


def test_the_detector_finds_the_same_with_and_without_it(bundle: Path, detector: Detector) -> None:
    own = Detector(
        detector.network, detector.settings, manifest=detector.manifest, codec=detector.codec
    )
    frames = [scene(i) for i in range(3)]
    for rate in (None, 0):
        settings = replace(detector.settings, rate=rate)
        for a, b in zip(
            detector.detect(frames, settings), own.detect(frames, settings), strict=True
        ):
            np.testing.assert_array_equal(a.patches.origins_yx, b.patches.origins_yx)
            assert (a.payload_bytes is None) == (rate is None)
            if rate is None:
                assert len(a.detections) == len(b.detections)
                np.testing.assert_allclose(a.detections.scores, b.detections.scores, atol=1e-3)
