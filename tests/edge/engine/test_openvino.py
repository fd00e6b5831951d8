"""OpenVINO and onnxruntime say the same of the same graph."""

from pathlib import Path

import numpy as np
import pytest
from tests.split import scene

from sparsight.bundle import EDGE, TABLES
from sparsight.codec.payload import decode
from sparsight.codec.tables import Tables
from sparsight.codec.zones import UNTOLD
from sparsight.errors import BundleError
from sparsight_edge.engine.engine import Engine
from sparsight_edge.engine.openvino import OpenVinoEngine
from sparsight_edge.model import EdgeModel

from ..small.graphs import write_graph  # noqa: TID252

pytest.importorskip("openvino", reason="the extra openvino is not installed")

STEPS = np.ones((1, 4, 4), np.float32)


@pytest.mark.parametrize("rate", [0, 1])
def test_the_same_integers_up_to_rounding_and_payloads_decode(
    split_bundle: Path, rate: int
) -> None:
    right = EdgeModel.load(split_bundle, engine="onnx")
    model = EdgeModel.load(split_bundle, engine="openvino")
    assert isinstance(model.engine, Engine)
    tables = Tables.load(split_bundle / TABLES)
    kept = []
    for seed in range(3):
        _, image = model.fit(scene(seed))
        maps, want = model.engine.run(image, rate), right.engine.run(image, rate)
        kept.append((maps, maps.latents.copy()))
        np.testing.assert_allclose(maps.heat, want.heat, atol=1e-4)
        off = np.abs(maps.latents.astype(int) - want.latents)
        assert off.max() <= 1 and (off > 0).mean() < 2e-3
        frame = decode(model.code(maps, rate).payload, tables)
        zones = frame.zones()
        told = zones != UNTOLD
        assert told.any()
        # Bit for bit what was seen: of each cell, the latents of its zone.
        seen = maps.latents[:, :, told]
        np.testing.assert_array_equal(seen[zones[told], :, np.arange(told.sum())].T, frame.latents)
    for maps, latents in kept:
        np.testing.assert_array_equal(maps.latents, latents)


def test_a_missing_or_damaged_graph_is_named(tmp_path: Path) -> None:
    file = tmp_path / EDGE
    with pytest.raises(BundleError, match=r"edge\.onnx: missing"):
        OpenVinoEngine(file, STEPS)
    write_graph(file)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no graph at all"):
        file.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"edge\.onnx: not a graph that OpenVINO") as what:
            OpenVinoEngine(file, STEPS)
        assert "\n" not in str(what.value)


def test_a_foreign_graph(tmp_path: Path) -> None:
    write_graph(tmp_path / EDGE, heat_name="attention")
    with pytest.raises(BundleError, match="expected inputs image, steps and outputs heat"):
        OpenVinoEngine(tmp_path / EDGE, STEPS)
    write_graph(tmp_path / EDGE, heat_stride=4)
    image = np.zeros((32, 64, 3), np.uint8)
    with pytest.raises(BundleError, match="exported for another model"):
        OpenVinoEngine(tmp_path / EDGE, STEPS).run(image, 0)
    write_graph(tmp_path / EDGE, channels=3)
    with pytest.raises(BundleError, match=r"edge\.onnx"):
        OpenVinoEngine(tmp_path / EDGE, STEPS).run(image, 0)
