import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparsight.errors import BundleError
from sparsight_edge.engine.engine import Engine
from sparsight_edge.engine.onnx import OnnxEngine

from ..small.graphs import write_graph  # noqa: TID252

FINE = np.array([[1, 2, 4, 8], [2, 4, 8, 16], [3, 5, 7, 9], [4, 8, 9, 6]], np.float32)
STEPS = np.stack([FINE, 4 * FINE])


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    file = tmp_path / "edge.onnx"
    write_graph(file)
    return file


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (160, 32)])
def test_maps_of_any_size(graph: Path, height: int, width: int) -> None:
    engine = OnnxEngine(graph, STEPS)
    assert isinstance(engine, Engine)
    image = picture(height, width)
    maps = engine.run(image, 0)
    assert maps.heat.dtype == np.float32 and maps.latents.dtype == np.int8
    red = image[..., 0].reshape(height // 8, 8, width // 8, 8).mean((1, 3)) / 255
    np.testing.assert_allclose(maps.heat, red, atol=1e-5)
    grey = image.reshape(height // 16, 16, width // 16, 16, 3).mean((1, 3, 4))
    want = np.round(grey / FINE[:, :, None, None]) - 10 * np.arange(4)[:, None, None]
    assert maps.latents.shape == want.shape
    off = np.abs(maps.latents - np.clip(want, -128, 127))
    assert off.max() <= 1 and off.mean() < 0.1  # a mean at one half may round either way


def test_every_frame_has_a_rate_of_its_own(graph: Path) -> None:
    image, engine = picture(32, 32), OnnxEngine(graph, STEPS)
    fine, coarse, again = (engine.run(image, rate).latents for rate in (0, 1, 0))
    np.testing.assert_array_equal(again, fine)
    np.testing.assert_array_equal(coarse, OnnxEngine(graph, STEPS[1:]).run(image, 0).latents)
    assert (np.abs(coarse[:, 0]).max((1, 2)) < np.abs(fine[:, 0]).max((1, 2))).all()


def test_the_channels_may_be_left_open(tmp_path: Path) -> None:
    write_graph(tmp_path / "edge.onnx", fixed_channels=False)
    maps = OnnxEngine(tmp_path / "edge.onnx", STEPS).run(picture(32, 32), 1)
    assert maps.latents.shape == (4, 4, 2, 2)


def test_a_missing_or_damaged_graph_is_named(graph: Path) -> None:
    with pytest.raises(BundleError, match=r"no\.onnx: missing"):
        OnnxEngine(graph.with_name("no.onnx"), STEPS)
    whole = graph.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"no graph at all"):
        graph.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"edge\.onnx: not a graph that onnxruntime") as what:
            OnnxEngine(graph, STEPS)
        assert "\n" not in str(what.value)


def test_a_foreign_graph_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "edge.onnx"
    write_graph(file, heat_name="attention")
    with pytest.raises(BundleError, match=r"expected outputs heat .* got attention"):
        OnnxEngine(file, STEPS)
    write_graph(file, channels=3)
    with pytest.raises(BundleError, match="has 3 channels of latents, the bundle's rate has 4"):
        OnnxEngine(file, STEPS)
    write_graph(file, zones=2)
    with pytest.raises(BundleError, match="has 2 zones of latents, the bundle's rate has 4"):
        OnnxEngine(file, STEPS)


def test_a_graph_of_another_stride_is_refused_when_it_runs(tmp_path: Path) -> None:
    write_graph(tmp_path / "edge.onnx", heat_stride=4)
    engine = OnnxEngine(tmp_path / "edge.onnx", STEPS)
    with pytest.raises(BundleError, match=r"expected heat of shape \[1, 4, 4\].* got \[1, 8, 8\]"):
        engine.run(picture(32, 32), 0)


@pytest.mark.parametrize("step", [0, -1, np.nan, np.inf])
def test_steps_that_are_none(graph: Path, step: float) -> None:
    steps = STEPS.copy()
    steps[1, 2, 1] = step
    with pytest.raises(BundleError, match="step sizes must be finite and above 0"):
        OnnxEngine(graph, steps)


@pytest.mark.parametrize("shape", [(33, 32), (32, 40), (0, 32)])
def test_an_input_that_is_not_letterboxed(graph: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected multiples of 32 px"):
        OnnxEngine(graph, STEPS).run(np.zeros((*shape, 3), np.uint8), 0)


@pytest.mark.parametrize("rate", [-1, 2])
def test_a_rate_that_there_is_not(graph: Path, rate: int) -> None:
    with pytest.raises(ValueError, match=f"expected a rate from 0 to 1, got {rate}"):
        OnnxEngine(graph, STEPS).run(picture(32, 32), rate)


def test_it_tells_nobody(graph: Path, tmp_path: Path) -> None:
    """onnxruntime's telemetry begins with a file that names this session."""
    told = tmp_path / "told"
    told.mkdir()
    environment = {**os.environ, "TMPDIR": str(told), "PYTHONPATH": os.pathsep.join(sys.path)}
    del environment["ORT_DISABLE_TELEMETRY"]
    use = (
        "import numpy as np, pathlib, sys; from sparsight_edge.engine.onnx import OnnxEngine; "
        "OnnxEngine(pathlib.Path(sys.argv[1]), np.ones((1, 4, 4), np.float32))"
    )
    subprocess.run([sys.executable, "-c", use, str(graph)], env=environment, check=True)
    assert list(told.iterdir()) == []


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from sparsight_edge.model import EdgeModel
model = EdgeModel.load(Path(sys.argv[1]))
model.warm()
for _ in range(3):
    model.code(model.engine.run(np.full((864, 1536, 3), 90, np.uint8), 2), 2)
for line in open("/proc/self/status"):
    if line.startswith("RssAnon:"):
        print(int(line.split()[1]) // 1024)
"""


def test_the_default_bundle_runs_in_little_memory() -> None:
    bundle = Path(__file__).parents[3] / "models" / "default"
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(bundle)],
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        int(done.stdout) < 380
    )  # MB; 302 on Linux with onnxruntime 1.32, 514 without a second look
