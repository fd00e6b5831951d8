"""edge.onnx: the device's half as the network says it, at every size and every step."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from tests.split import CHANNELS, ZONE_STEPS, scene

from sparsight.bundle import EDGE
from sparsight.codec.zones import ZONES
from sparsight.errors import BundleError
from sparsight.model.detector import Detector
from sparsight.model.export import OPSET, EdgeHalf, check_edge
from sparsight.model.network import Network
from sparsight.settings import ModelSettings


@pytest.fixture(scope="module")
def half(split_bundle: Path) -> EdgeHalf:
    return EdgeHalf(Detector.from_bundle(split_bundle).network).eval()


@pytest.fixture(scope="module")
def session(split_bundle: Path) -> ort.InferenceSession:
    return ort.InferenceSession(split_bundle / EDGE, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("hw", "step"), [((64, 64), 0.1), ((96, 256), 1.0), ((160, 96), 3.0), ((320, 512), 0.5)]
)
def test_heat_and_latents_are_those_of_torch(
    half: EdgeHalf, session: ort.InferenceSession, hw: tuple[int, int], step: float
) -> None:
    image = scene(5, hw)[None]
    channels = np.linspace(0.5, 2, CHANNELS, dtype=np.float32)
    steps = np.float32(step) * np.array(ZONE_STEPS, np.float32)[:, None] * channels
    heat, latents, p3 = session.run(["heat", "latents", "p3"], {"image": image, "steps": steps})
    with torch.inference_mode():
        want_heat, want, want_p3 = half(torch.from_numpy(image), torch.from_numpy(steps))
    assert (heat.dtype, latents.dtype) == (np.float32, np.int8)
    assert heat.shape == (1, hw[0] // 8, hw[1] // 8)
    np.testing.assert_allclose(heat, want_heat.numpy(), atol=1e-4)
    np.testing.assert_allclose(p3, want_p3.numpy(), atol=1e-3)
    apart = np.abs(latents.astype(int) - want.numpy())
    assert apart.max() <= 1  # on the edge between two integers either will do
    assert (apart > 0).mean() < 2e-3
    assert latents.shape == (1, ZONES, CHANNELS, hw[0] // 16, hw[1] // 16)
    assert np.unique(latents).size > 3


def test_steps_are_an_input(session: ort.InferenceSession) -> None:
    image, ones = scene(6, (96, 128))[None], np.ones((ZONES, CHANNELS), np.float32)
    fine, coarse = (
        session.run(["latents"], {"image": image, "steps": ones * step})[0].astype(int)
        for step in (0.5, 2.0)
    )
    inside = np.abs(fine) < 127
    assert np.abs(fine / 4 - coarse)[inside].max() <= 0.5 + 1 / 8 + 1e-3
    only = ones.copy()
    only[1, 2] = 1000
    (latents,) = session.run(["latents"], {"image": image, "steps": only})
    (whole,) = session.run(["latents"], {"image": image, "steps": ones})
    assert not latents[0, 1, 2].any() and whole[0, 1, 2].any()
    latents[0, 1, 2] = whole[0, 1, 2]
    np.testing.assert_array_equal(latents, whole)


def test_the_graph_is_one_file_of_plain_operators(split_bundle: Path) -> None:
    graph = onnx.load(split_bundle / EDGE, load_external_data=False)
    onnx.checker.check_model(graph)
    assert {o.domain: o.version for o in graph.opset_import} == {"": OPSET}
    assert [i.name for i in graph.graph.input] == ["image", "steps"]
    assert [o.name for o in graph.graph.output] == ["heat", "latents", "p3"]
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in graph.graph.initializer)
    used = {node.op_type for node in graph.graph.node}
    # Each of them is in TensorRT's list of supported operators.
    assert used <= {
        *("Cast", "Transpose", "Sub", "Mul", "Div", "Add", "Conv", "Clip", "Relu", "Sigmoid"),
        *(
            "Round",
            "Gather",
            "Squeeze",
            "Unsqueeze",
            "Reshape",
            "Constant",
            "HardSwish",
            "Min",
            "Max",
        ),
    }
    image = graph.graph.input[0].type.tensor_type
    assert image.elem_type == onnx.TensorProto.UINT8
    assert image.shape.dim[1].dim_param and image.shape.dim[2].dim_param
    assert [d.dim_value for d in image.shape.dim][::3] == [1, 3]


def test_the_graph_says_nothing_of_the_machine_that_wrote_it(split_bundle: Path) -> None:
    data = (split_bundle / EDGE).read_bytes()
    packages = Path(torch.__file__).parents[1]
    for path in (Path(__file__).parents[3], packages, packages.name, ".py", "stack_trace"):
        assert str(path).encode() not in data
    graph = onnx.load_from_string(data).graph
    assert len(graph.node) > 20
    assert not any(node.metadata_props or node.doc_string for node in graph.node)
    assert not any(value.metadata_props or value.doc_string for value in graph.value_info)


def test_a_graph_that_says_something_else_is_noticed(
    half: EdgeHalf, split_bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / EDGE
    shutil.copy(split_bundle / EDGE, file)
    check_edge(half, file)
    graph = onnx.load(file)
    weights = next(t for t in graph.graph.initializer if "linear.weight" in t.name)
    values = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.1), weights.name))
    onnx.save(graph, file)
    with pytest.raises(BundleError, match=r"the graph and the network disagree .*% of the latents"):
        check_edge(half, file)


def test_a_network_without_a_bottleneck_has_no_device_half() -> None:
    network = Network(ModelSettings(backbone="mobilenetv2_035", neck_channels=16, classes=("a",)))
    with pytest.raises(BundleError, match="no bottleneck"):
        EdgeHalf(network)
