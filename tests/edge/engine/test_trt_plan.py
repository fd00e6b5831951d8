"""Engines on disk, and TensorRT-RTX really building every kind of graph without a GPU."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.split import scene

from sparsight.bundle import EDGE, default_bundle, open_bundle
from sparsight.errors import BundleError
from sparsight.model.detector import Detector
from sparsight.model.export import export_edge
from sparsight_cloud.precision.export import export_bundle
from sparsight_cloud.precision.half import in_half
from sparsight_edge.engine.trt_api import NAMES
from sparsight_edge.engine.trt_plan import PlanSettings, PlanStore, build_plan

from ..small.gpu import SmallTensorRt  # noqa: TID252
from ..small.graphs import write_graph  # noqa: TID252

SETTINGS = PlanSettings(256, (160, 256))


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    write_graph(tmp_path / EDGE)
    return tmp_path / EDGE


def test_an_engine_is_found_under_what_it_was_made_of(graph: Path, tmp_path: Path) -> None:
    store = PlanStore(tmp_path / "plans", SmallTensorRt(), "orin")
    assert store.find(graph, SETTINGS) is None
    file = store.keep(graph, SETTINGS, b"built")
    assert store.find(graph, SETTINGS) == b"built"
    assert sorted(p.name for p in file.parent.iterdir()) == [f"{file.stem}.json", file.name]
    assert store.find(graph, PlanSettings(512, (160, 256))) is None
    assert store.find(graph, PlanSettings(256, (192, 256))) is None
    assert PlanStore(tmp_path / "plans", SmallTensorRt(), "thor").find(graph, SETTINGS) is None
    newer = PlanStore(tmp_path / "plans", SmallTensorRt("10.7.0"), "orin")
    assert newer.find(graph, SETTINGS) is None
    other = graph.with_name("other.onnx")
    write_graph(other, channels=3)
    assert store.find(other, SETTINGS) is None
    copied = graph.with_name("copied.onnx")
    copied.write_bytes(graph.read_bytes())
    assert store.find(copied, SETTINGS) == b"built"


def test_a_damaged_engine_is_not_run(graph: Path, tmp_path: Path) -> None:
    store = PlanStore(tmp_path / "plans", SmallTensorRt(), "orin")
    file = store.keep(graph, SETTINGS, b"built")
    about = file.with_suffix(".json")
    for damaged, data in ((file, b"b"), (file, b""), (about, b"{}"), (about, b"no json")):
        whole = damaged.read_bytes()
        damaged.write_bytes(data)
        with pytest.raises(BundleError, match=r"engine is damaged; remove it and run"):
            store.find(graph, SETTINGS)
        damaged.write_bytes(whole)
    assert store.find(graph, SETTINGS) == b"built"
    about.unlink()
    assert store.find(graph, SETTINGS) is None


def test_a_folder_that_cannot_be_written(graph: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = PlanStore(tmp_path / "file" / "plans", SmallTensorRt(), "orin")
    with pytest.raises(BundleError, match=r"can't be kept there .*--plans"):
        store.keep(graph, SETTINGS, b"built")


@functools.cache
def rtx() -> Any:
    return pytest.importorskip(
        "tensorrt_rtx", reason="tensorrt-rtx-cu12 (extra trt-ci) is not installed"
    )


def test_every_name_that_is_used_is_there() -> None:
    missing = [
        f"{kind}.{name}"
        for kind, names in NAMES.items()
        for name in names
        if not hasattr(getattr(rtx(), kind, None), name)
    ]
    assert missing == []


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with the graph that this code writes of it."""
    import shutil

    folder = tmp_path_factory.mktemp("shipped") / "default"
    shutil.copytree(default_bundle(), folder)
    export_edge(Detector.from_bundle(folder).network, folder / EDGE)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-trt"])
def test_tensorrt_builds_what_is_shipped(shipped: Path, tmp_path: Path, precision: str) -> None:
    """At any size up to the bundle's square, ahead of time and for cards that are not here."""
    trt = rtx()
    bundle = open_bundle(default_bundle())
    if precision == "fp32":
        file = shipped / EDGE
    else:
        pictures = [scene(i, (144, 256)) for i in range(2)]
        small = bundle.manifest.model_copy(update={"long_side_px": 256})
        from sparsight.bundle import Bundle

        copy = Bundle(bundle.folder, small, bundle.model)
        export_bundle(copy, precision, pictures, tmp_path / "out")  # type: ignore[arg-type]
        file = tmp_path / "out" / EDGE
    plan = build_plan(file, trt, PlanSettings(1536, (896, 1536)))
    assert len(plan) > 100_000


def broken(kind: str, file: Path) -> None:
    """A graph that TensorRT must not take."""
    write_graph(file)
    model = onnx.load(file)
    graph = model.graph
    if kind == "unknown operator":
        graph.node[4].op_type = "Averages"
    elif kind == "bytes turned first":
        graph.node[0].CopyFrom(helper.make_node("Transpose", ["image"], ["b"], perm=[0, 3, 1, 2]))
        graph.node[1].CopyFrom(helper.make_node("Cast", ["b"], ["planes"], to=TensorProto.FLOAT))
    elif kind == "half weight, float input":
        for tensor in graph.initializer:
            if tensor.name == "red":
                values = numpy_helper.to_array(tensor).astype(np.float16)
                tensor.CopyFrom(numpy_helper.from_array(values, "red"))
    file.write_bytes(b"no graph" if kind == "no graph" else model.SerializeToString())


@pytest.mark.parametrize(
    "kind", ["unknown operator", "bytes turned first", "half weight, float input", "no graph"]
)
def test_tensorrt_refuses_what_it_must(tmp_path: Path, kind: str) -> None:
    broken(kind, tmp_path / EDGE)
    with pytest.raises(BundleError, match=r"edge\.onnx: TensorRT \S+ does not take this graph"):
        build_plan(tmp_path / EDGE, rtx(), SETTINGS)


def test_tensorrt_refuses_integers_for_x86(split_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(split_bundle)
    export_bundle(bundle, "int8-x86", [scene(0), scene(1)], tmp_path / "x86")
    with pytest.raises(BundleError, match="does not take this graph"):
        build_plan(tmp_path / "x86" / EDGE, rtx(), SETTINGS)


def test_a_small_graph_in_half_precision(graph: Path, tmp_path: Path) -> None:
    file = tmp_path / "half.onnx"
    onnx.save(in_half(onnx.load(graph)), file)
    assert len(build_plan(file, rtx(), SETTINGS)) > 10_000


def test_a_graph_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="can't be read"):
        build_plan(tmp_path / "no.onnx", SmallTensorRt(), SETTINGS)
