"""The TensorRT engine's buffers against a GPU that stands in; on a real one where there is one."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from sparsight.bundle import EDGE, Bundle, open_bundle, rewrite
from sparsight.cli import build_app
from sparsight.cli import run as run_line
from sparsight.errors import BundleError, UsageError
from sparsight_edge.engine.choose import build_engine, open_engine, open_tensorrt
from sparsight_edge.engine.cuda import Cuda, CudaRuntime
from sparsight_edge.engine.engine import Engine
from sparsight_edge.engine.onnx import OnnxEngine
from sparsight_edge.engine.openvino import OpenVinoEngine
from sparsight_edge.engine.tensorrt import TensorRtEngine
from sparsight_edge.model import EdgeModel

from ..small.bundles import write_small_bundle  # noqa: TID252
from ..small.gpu import SmallCuda, SmallTensorRt  # noqa: TID252
from ..small.graphs import write_graph  # noqa: TID252

FINE = np.array([[1, 2, 4, 8], [2, 4, 8, 16], [3, 5, 7, 9], [4, 8, 9, 6]], np.float32)
STEPS = np.stack([FINE, 3 * FINE])


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    write_graph(tmp_path / EDGE)
    return tmp_path / EDGE


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    write_small_bundle(tmp_path / "bundle")
    return open_bundle(tmp_path / "bundle")


def picture(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def engine_on(cuda: SmallCuda, graph: Path, trt: SmallTensorRt | None = None) -> TensorRtEngine:
    return TensorRtEngine(graph, STEPS, graph.read_bytes(), trt or SmallTensorRt(), cuda)


def test_the_stand_in_and_the_real_one_have_the_same_methods() -> None:
    assert isinstance(SmallCuda(), Cuda)
    names = [name for name in vars(Cuda) if not name.startswith("_")]
    assert len(names) == 9
    for name in names:
        wanted = inspect.getattr_static(Cuda, name)
        for one in (CudaRuntime, SmallCuda):
            got = inspect.getattr_static(one, name)
            assert isinstance(got, property) == isinstance(wanted, property)
            if not isinstance(wanted, property):
                assert list(inspect.signature(got).parameters) == list(
                    inspect.signature(wanted).parameters
                )


def test_every_call_of_cuda_is_one() -> None:
    runtime = pytest.importorskip(
        "cuda.bindings.runtime", reason="cuda-bindings (extra tensorrt) is not installed"
    )
    calls = set(re.findall(r"(?:self\._rt|runtime)\.(cuda\w+)", inspect.getsource(CudaRuntime)))
    assert len(calls) > 12
    assert [name for name in sorted(calls) if not hasattr(runtime, name)] == []
    for kind, names in {
        "cudaMemcpyKind": ("cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"),
        "cudaStreamCaptureMode": ("cudaStreamCaptureModeThreadLocal",),
    }.items():
        assert all(hasattr(getattr(runtime, kind), name) for name in names)


@pytest.mark.parametrize("captures", [True, False])
def test_every_frame_has_its_own_numbers(graph: Path, captures: bool) -> None:
    cuda = SmallCuda(captures=captures)
    engine, right = engine_on(cuda, graph), OnnxEngine(graph, STEPS)
    assert isinstance(engine, Engine)
    kept = []
    for seed, rate in enumerate((0, 1, 1, 0)):
        maps, want = engine.run(picture(seed), rate), right.run(picture(seed), rate)
        kept.append((maps, want))
    for maps, want in kept:  # those of earlier frames are not written over
        np.testing.assert_array_equal(maps.latents, want.latents)
        np.testing.assert_allclose(maps.heat, want.heat, atol=1e-6)
    assert cuda.replayed == (4 if captures else 0)
    # Once to set up, and once more to be captured or once a frame.
    assert cuda.enqueued == (2 if captures else 5)


def test_another_size_means_other_buffers_and_none_are_left_behind(graph: Path) -> None:
    cuda = SmallCuda()
    engine, right = engine_on(cuda, graph), OnnxEngine(graph, STEPS)
    for seed, (height, width) in enumerate([(32, 32), (64, 128), (64, 128), (96, 32)]):
        image = picture(seed, height, width)
        np.testing.assert_array_equal(
            engine.run(image, seed % 2).latents, right.run(image, seed % 2).latents
        )
        assert len(cuda.memory) == len(cuda.host) == 4
        assert cuda.memory and sum(m.size for m in cuda.memory.values()) < 10 * image.size
    engine.close()
    assert not cuda.memory and not cuda.host and not cuda.queue


def test_what_goes_wrong_on_the_gpu_is_told(graph: Path, tmp_path: Path) -> None:
    trt = SmallTensorRt()
    engine = engine_on(SmallCuda(), graph, trt)
    with pytest.raises(ValueError, match="expected multiples of 32 px"):
        engine.run(picture(0, 33, 32), 0)
    with pytest.raises(BundleError, match=r"takes no input of 32x8192 px.*edge build"):
        engine.run(np.zeros((8192, 32, 3), np.uint8), 0)
    trt.fails = True
    with pytest.raises(BundleError, match="TensorRT failed to run its engine"):
        engine.run(picture(0), 0)
    with pytest.raises(BundleError, match=r"does not load on a small GPU.*edge build"):
        TensorRtEngine(graph, STEPS, b"of another board", SmallTensorRt(), SmallCuda())
    with pytest.raises(BundleError, match="its files are of different models"):
        TensorRtEngine(graph, STEPS[:, :, :3], graph.read_bytes(), SmallTensorRt(), SmallCuda())
    write_graph(tmp_path / "other.onnx", heat_stride=4)
    with pytest.raises(BundleError, match="exported for another model"):
        engine_on(SmallCuda(), tmp_path / "other.onnx").run(picture(0), 0)


def test_built_once_then_run(bundle: Bundle, tmp_path: Path) -> None:
    trt, cuda, plans = SmallTensorRt(), SmallCuda(), tmp_path / "plans"
    with pytest.raises(UsageError, match=r"no engine of it was built on a small GPU.*edge build"):
        open_tensorrt(bundle, plans, trt, cuda)
    file, new = build_engine(bundle, plans, trt, cuda)
    assert new and file.parent == plans and plans.stat().st_mode & 0o077 == 0
    assert build_engine(bundle, plans, trt, cuda) == (file, False)
    assert trt.built == 1
    engine = open_tensorrt(bundle, plans, trt, cuda)
    image = picture(3)
    want = open_engine(bundle, "onnx").run(image, 1)
    np.testing.assert_array_equal(engine.run(image, 1).latents, want.latents)


def test_who_is_chosen(bundle: Bundle, tmp_path: Path) -> None:
    """Here nothing was built and there is no GPU."""
    assert isinstance(open_engine(bundle), OnnxEngine)
    assert isinstance(open_engine(bundle, "onnx"), OnnxEngine)
    with pytest.raises(UsageError):
        open_engine(bundle, "tensorrt", plans=tmp_path)
    for precision in ("fp16", "int8-trt"):
        copy = Bundle(
            bundle.folder,
            rewrite(bundle.folder, bundle.manifest, precision=precision),
            bundle.model,
        )
        with pytest.raises(UsageError, match=rf"is in {precision}, which is for TensorRT.*onnx"):
            open_engine(copy, plans=tmp_path)
        assert isinstance(open_engine(copy, "onnx"), OnnxEngine)
    x86 = Bundle(
        bundle.folder, rewrite(bundle.folder, bundle.manifest, precision="int8-x86"), bundle.model
    )
    assert isinstance(open_engine(x86), OnnxEngine)
    with pytest.raises(UsageError, match="int8-x86, which TensorRT does not take"):
        build_engine(x86, tmp_path, SmallTensorRt(), SmallCuda())
    with pytest.raises(UsageError, match="int8-x86, which TensorRT does not take"):
        open_engine(x86, "tensorrt", plans=tmp_path)


def test_build_as_typed_where_there_is_no_gpu(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["edge", "build", "--bundle", str(bundle.folder), "--plans", str(tmp_path / "plans")]
    try:
        CudaRuntime()
    except UsageError:
        assert run_line(build_app(), typed) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert re.search("TensorRT is not installed|needs more packages|no GPU", said)
        assert not (tmp_path / "plans").exists()
    else:
        pytest.skip("there is a GPU here")


def test_openvino_is_chosen_by_name(bundle: Bundle) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    model = EdgeModel.load(bundle.folder, engine="openvino")
    assert isinstance(model.engine, OpenVinoEngine)


@pytest.mark.gpu
def test_on_a_gpu(split_bundle: Path, tmp_path: Path) -> None:
    """Never run yet: no machine of this project has had a GPU with TensorRT on it."""
    pytest.importorskip("tensorrt", reason="NOT RUN: needs a GPU and full TensorRT")
    try:
        CudaRuntime()
    except UsageError as error:
        pytest.skip(f"NOT RUN: {error}")
    bundle = open_bundle(split_bundle)
    build_engine(bundle, tmp_path)
    engine, right = open_tensorrt(bundle, tmp_path), open_engine(bundle, "onnx")
    for seed, (height, width) in enumerate([(160, 256), (160, 256), (256, 256)]):
        image = picture(seed, height, width)
        maps, want = engine.run(image, seed % 2), right.run(image, seed % 2)
        np.testing.assert_allclose(maps.heat, want.heat, atol=1e-3)
        assert (maps.latents != want.latents).mean() < 0.01
    engine.close()
