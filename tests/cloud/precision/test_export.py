"""Copies of a bundle at other precisions: the same contract, nearly the same numbers, one cloud."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from tests.split import CHANNELS, ZONE_STEPS, scene

from sparsight.bundle import CARD, EDGE, Bundle, Precision, open_bundle, rewrite
from sparsight.errors import BundleError, UsageError
from sparsight.model.cloud_half import CloudHalf
from sparsight.model.detector import Detector
from sparsight.model.export import EdgeHalf
from sparsight.wire import FrameFeatures, FrameKey
from sparsight_cloud.precision.export import cast_first, compare_graphs, export_bundle
from sparsight_cloud.serving.dispatch import Answered
from sparsight_cloud.serving.ray_replica import Model
from sparsight_cloud.serving.replica import BundleReplica
from sparsight_edge.model import EdgeModel

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8-x86", "int8-trt")
LEAST_DB = {"fp32": 100, "fp16": 40, "int8-x86": 12, "int8-trt": 12}
STEPS = np.array(ZONE_STEPS, np.float32)[:, None] * np.ones(CHANNELS, np.float32)


@pytest.fixture(scope="module")
def copies(split_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, Bundle]:
    home = tmp_path_factory.mktemp("copies")
    bundle, frames = open_bundle(split_bundle), [scene(i) for i in range(8)]
    for precision in PRECISIONS:
        export_bundle(bundle, precision, frames, home / precision)
    return {precision: open_bundle(home / precision) for precision in PRECISIONS}


def run(bundle: Bundle, image: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(bundle.folder / EDGE, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(
        ["heat", "latents", "p3"], {"image": image[None], "steps": STEPS}
    )
    return found


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_numbers_are_those_of_torch(
    split_bundle: Path, copies: dict[Precision, Bundle], precision: Precision
) -> None:
    half = EdgeHalf(Detector.from_bundle(split_bundle).network).eval()
    for seed, hw in ((21, (96, 160)), (22, (160, 96)), (23, (256, 256))):
        image = scene(seed, hw)
        heat, latents, p3 = run(copies[precision], image)
        with torch.inference_mode():
            told = half(torch.from_numpy(image[None]), torch.from_numpy(STEPS))
        want_heat, want, want_p3 = (value.numpy() for value in told)
        noise = np.square(p3 - want_p3).mean()
        assert 10 * np.log10(np.square(want_p3).mean() / noise) > LEAST_DB[precision]
        off = np.abs(latents.astype(int) - want)
        if precision.startswith("int8"):
            assert np.abs(heat - want_heat).mean() < 0.1
            assert off.mean() < 0.5 and np.corrcoef(latents.ravel(), want.ravel())[0, 1] > 0.9
        else:
            np.testing.assert_allclose(heat, want_heat, atol=1e-4 if precision == "fp32" else 2e-2)
            assert off.max() <= 1 and off.mean() < (2e-3 if precision == "fp32" else 5e-2)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_contract_stays(
    split_bundle: Path, copies: dict[Precision, Bundle], precision: Precision
) -> None:
    before, after = onnx.load(split_bundle / EDGE), onnx.load(copies[precision].folder / EDGE)
    onnx.checker.check_model(after, full_check=True)
    for was, now in (
        (before.graph.input, after.graph.input),
        (before.graph.output, after.graph.output),
    ):
        assert [v.name for v in was] == [v.name for v in now]
        for a, b in zip(was, now, strict=True):
            assert a.type.tensor_type.elem_type == b.type.tensor_type.elem_type
            assert len(a.type.tensor_type.shape.dim) == len(b.type.tensor_type.shape.dim)
    ops = [node.op_type for node in after.graph.node]
    assert ("QuantizeLinear" in ops) == precision.startswith("int8")
    assert [node.op_type for node in after.graph.node if "image" in node.input] == ["Cast"]
    kinds = {t.data_type for t in after.graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in kinds) == (precision == "fp16")
    assert (onnx.TensorProto.INT8 in kinds) == precision.startswith("int8")
    # A bias in integers: TensorRT refuses it, x86 is quicker with it.
    assert (onnx.TensorProto.INT32 in kinds) == (precision == "int8-x86")
    assert (onnx.TensorProto.UINT8 in kinds) == (precision == "int8-x86")


def test_weights_of_7_bits_for_x86(copies: dict[Precision, Bundle]) -> None:
    """Two products of an unsigned byte and a weight must fit 16 bits (runtimes.md §2)."""
    widest: dict[Precision, int] = {"int8-x86": 64, "int8-trt": 127}
    for precision, most in widest.items():
        graph = onnx.load(copies[precision].folder / EDGE).graph
        weights = [
            onnx.numpy_helper.to_array(t).astype(int)
            for t in graph.initializer
            if t.name.endswith("weight_quantized")
        ]
        summed_by_pairs = [np.abs(w).max() for w in weights if w.shape[1] > 1]
        depthwise = [np.abs(w).max() for w in weights if w.shape[1] == 1]
        assert max(summed_by_pairs) == most and max(depthwise) == 127


@pytest.mark.parametrize("side", [3, 5])
def test_depthwise_sums_do_not_overflow_here(side: int) -> None:
    """What lets their weights keep 8 bits: the largest activations times the largest weights."""
    channels = 48
    weight = np.full((channels, 1, side, side), 127, np.int8)
    weight[1::2] = -127
    constants: dict[str, np.ndarray] = {
        "one": np.array(1, np.float32),
        "zero": np.array(0, np.uint8),
        "ones": np.ones(channels, np.float32),
        "zeros": np.zeros(channels, np.int8),
        "weight": weight,
        "scale": np.array(255 * 127 * side * side / 100, np.float32),
        "middle": np.array(128, np.uint8),
    }
    names = ["x", "one", "zero", "weight", "ones", "zeros", "scale", "middle"]
    conv = onnx.helper.make_node("QLinearConv", names, ["y"], group=channels)
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [1, channels, "h", "w"])
        for name in "xy"
    )
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = onnx.helper.make_graph([conv], "depthwise", [x], [y], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (told,) = session.run(None, {"x": np.full((1, channels, 16, 16), 255, np.uint8)})
    assert (told[:, ::2] == 228).all() and (told[:, 1::2] == 28).all()


def test_latents_are_divided_and_rounded_in_single_precision(
    copies: dict[Precision, Bundle],
) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load(copies["fp16"].folder / EDGE)).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.input]}
    last = [n for n in graph.node if n.op_type == "Div"][-1]
    assert {kinds[name] for name in last.input} == {onnx.TensorProto.FLOAT}
    (rounded,) = [n for n in graph.node if n.op_type == "Round"]
    assert list(rounded.input) == list(last.output)
    convs = [n for n in graph.node if n.op_type == "Conv"]
    assert {kinds[n.output[0]] for n in convs} == {onnx.TensorProto.FLOAT16}


def test_one_cloud_answers_devices_of_every_precision(
    split_bundle: Path, copies: dict[Precision, Bundle]
) -> None:
    replica = BundleReplica([CloudHalf.from_bundle(split_bundle)])
    assert len({bundle.manifest.id for bundle in copies.values()}) == len(PRECISIONS)
    frame = scene(30)
    right = None
    for precision in PRECISIONS:
        model = EdgeModel.load(copies[precision].folder, rate=0, engine="onnx")
        assert model.bundle_id in replica.serves.bundles
        box, image = model.fit(frame)
        coded = model.code(model.engine.run(image, 0), 0)
        assert coded.patches
        sent = FrameFeatures(FrameKey("drone", 0, 0), "main", 0, box, 0, coded.payload)
        (answer,) = replica.run([sent])
        assert isinstance(answer, Answered)
        assert answer.bundle_id == model.bundle_id
        right = right if right is not None else len(answer.detections)
        assert len(answer.detections) > 0.5 * right
    served = Model.of_bundles([copies["int8-x86"].folder]).serves.bundles
    assert served == replica.serves.bundles


def test_what_the_cloud_id_stands_for(split_bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(split_bundle, tmp_path / "b")
    manifest = open_bundle(folder).manifest
    (folder / CARD).write_text("# another\n")
    carded = rewrite(folder, manifest)
    assert open_bundle(folder).manifest == carded
    assert carded.id != manifest.id and carded.cloud_id == manifest.cloud_id
    coarser = tuple(
        rate.model_copy(update={"steps": tuple(tuple(2 * s for s in z) for z in rate.steps)})
        for rate in manifest.rates
    )
    assert rewrite(folder, manifest, rates=coarser).cloud_id != manifest.cloud_id
    others = ("another", *manifest.classes[1:])
    assert manifest.model_copy(update={"classes": others}).cloud_id != manifest.cloud_id
    swapped = {**manifest.sha256, "tables.npz": "0" * 64}
    assert manifest.model_copy(update={"sha256": swapped}).cloud_id != manifest.cloud_id


def test_the_card_and_the_manifest_say_what_it_is(
    split_bundle: Path, copies: dict[Precision, Bundle]
) -> None:
    was = open_bundle(split_bundle)
    bundle = copies["int8-x86"]
    card = (bundle.folder / CARD).read_text()
    assert card.startswith((split_bundle / CARD).read_text().rstrip())
    assert "int8-x86, calibrated on 8 pictures" in card and was.manifest.id[:12] in card
    assert bundle.manifest.precision == "int8-x86"
    assert all(rate.ap is None for rate in bundle.manifest.rates)
    assert bundle.manifest.classes == was.manifest.classes


@pytest.mark.parametrize("precision", ["int8-x86", "int8-trt"])
def test_biases_take_back_what_rounding_adds(
    split_bundle: Path, copies: dict[Precision, Bundle], precision: Precision
) -> None:
    """The mean of P3 stays; without the correction it is off by a multiple of this."""
    images = [scene(40 + i, (128, 256)) for i in range(4)]
    means = []
    for bundle in (copies["fp32"], copies[precision]):
        p3 = np.concatenate([run(bundle, image)[2] for image in images])
        means.append(p3.mean((0, 2, 3)))
        spread = p3.std((0, 2, 3))
    assert np.abs((means[0] - means[1]) / spread).mean() < 0.05


def test_an_older_graph_is_turned_round(split_bundle: Path, tmp_path: Path) -> None:
    new = onnx.load(split_bundle / EDGE)
    cast, turn = new.graph.node[0], new.graph.node[1]
    assert (cast.op_type, turn.op_type) == ("Cast", "Transpose")
    assert cast_first(new) == new
    old = onnx.ModelProto()
    old.CopyFrom(new)
    first, second = old.graph.node[0], old.graph.node[1]
    first.CopyFrom(turn)
    second.CopyFrom(cast)
    first.input[0], first.output[0] = "image", "turned"
    second.input[0], second.output[0] = "turned", turn.output[0]
    del old.graph.value_info[:]
    onnx.checker.check_model(old, full_check=True)
    files = [tmp_path / "old.onnx", tmp_path / "new.onnx"]
    for file, model in zip(files, (old, cast_first(old)), strict=True):
        onnx.save(model, file)
    assert [n.op_type for n in onnx.load(files[1]).graph.node[:2]] == ["Cast", "Transpose"]
    assert compare_graphs(files[0], files[1], [scene(1, (64, 96))], STEPS).p3_db == np.inf


def test_a_graph_that_says_something_else_is_not_written(
    split_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsight_cloud.precision import export

    monkeypatch.setitem(export.LEAST_DB, "int8-x86", 90.0)
    with pytest.raises(BundleError, match=r"says something else .* expected 90 dB"):
        export_bundle(open_bundle(split_bundle), "int8-x86", [scene(0)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported(
    split_bundle: Path, copies: dict[Precision, Bundle], tmp_path: Path
) -> None:
    sound, out = open_bundle(split_bundle), tmp_path / "out"
    with pytest.raises(UsageError, match="calibrated on pictures; give --images"):
        export_bundle(sound, "int8-x86", [], out)
    with pytest.raises(UsageError, match="is in fp16; export from the fp32 bundle"):
        export_bundle(copies["fp16"], "int8-x86", [scene(0)], out)
    with pytest.raises(UsageError, match="is there already"):
        export_bundle(sound, "fp16", [], split_bundle)
    graph = onnx.load(split_bundle / EDGE)
    for node in graph.graph.node:
        node.input[:] = [name.replace("analysis.", "encoder.") for name in node.input]
    for tensor in graph.graph.initializer:
        tensor.name = tensor.name.replace("analysis.", "encoder.")
    folder = shutil.copytree(split_bundle, tmp_path / "foreign")
    onnx.save(graph, folder / EDGE)
    foreign = rewrite(folder, sound.manifest)
    with pytest.raises(BundleError, match="no convolutions of a stem"):
        export_bundle(Bundle(folder, foreign, sound.model), "int8-trt", [scene(0)], out)
    assert not out.exists()


def test_as_typed(split_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    from sparsight.cli import build_app
    from sparsight.cli import run as run_line

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(3):
        Image.fromarray(scene(i)).save(pictures / f"{i}.png")

    def typed(*rest: object) -> int:
        return run_line(build_app(), ["bundle", "export", str(split_bundle), *map(str, rest)])

    out = tmp_path / "int8"
    more = ("--precision", "int8-x86", "--images", pictures, "--pictures", 2, "--out", out)
    assert typed(*more) == 0
    said = capsys.readouterr().out
    assert "in int8-x86: P3 " in said and open_bundle(out).manifest.id[:12] in said
    assert "calibrated on 2 pictures" in (out / CARD).read_text()
    assert typed(*more) == 2
    assert "is there already" in capsys.readouterr().err
    assert run_line(build_app(), ["bundle", "show", str(out)]) == 0
    assert "int8-x86" in capsys.readouterr().out
    assert typed("--precision", "int8-trt", "--out", tmp_path / "b") == 2
    assert "give --images FOLDER" in capsys.readouterr().err
