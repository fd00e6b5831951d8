"""`sparsight bundle bases` as typed: what is counted, what is tried, what is refused."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sparsight.cli import build_app, run
from sparsight.errors import BundleError
from sparsight.model.cost import Cost
from sparsight_cloud.bases.figures import OCCUPANCIES, figures_of, network_on
from sparsight_cloud.bases.tables import Row, to_markdown
from sparsight_cloud.bases.trial import Trial, Tried, try_device_half

SMALL = "mobilenetv2_035"


def test_a_base_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(build_app(), ["bundle", "bases", SMALL, "--size", "640x384", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["size_wh"] == [640, 384]
    (base,) = told["bases"]
    network = network_on(SMALL)
    assert base["backbone"] == SMALL
    assert base["joined"] is True
    assert base["p3_channels"] == network.stem.channels == 16
    assert base["dense_gflops"] == pytest.approx(Cost.of(network).dense_gflops((48, 80)))
    parts = (network.stem, network.seeker, network.trunk, network.neck, network.head)
    assert base["parameters"] == sum(p.numel() for part in parts for p in part.parameters())
    assert 0 < base["device_gflops"] < base["split_gflops"][0]
    assert base["split_gflops"] == sorted(base["split_gflops"])
    assert base["split_gflops"][-1] < base["dense_gflops"]
    assert len(base["split_gflops"]) == len(OCCUPANCIES)
    assert base["trial"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no_such_net"], "timm can't build it"),
        (["hf-hub:some/model"], "not a place to load from"),
        (["local-dir:/tmp"], "not a place to load from"),
        (["vit_tiny_patch16_224"], "expected maps at strides 8, 16 and 32"),
        ([SMALL, "--size", "1536"], "--size: expected WIDTHxHEIGHT"),
        ([SMALL, "--size", "1000x600"], "multiples of 32 px"),
        ([SMALL, "--size", "99968x32"], "up to 16384"),
    ],
)
def test_what_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(build_app(), ["bundle", "bases", *arguments]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_the_table_is_markdown_with_reasons_below() -> None:
    figures = figures_of(network_on(SMALL), (48, 80))
    row = Row(figures, Trial(Tried(True), Tried(False, "no such operator"), 12.3))
    head, rule, line, _, note = to_markdown([row], (640, 384)).splitlines()[2:]
    assert len(head) == len(rule) == len(line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:2] == [SMALL, "cells"]
    assert cells[-3:] == ["yes", "12", "no"]
    assert note == f"- {SMALL}, TensorRT: no such operator"


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "efficientvit_b0", "yolox_nano"])
def test_the_page_says_what_is_counted(backbone: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "bases.md").read_text(encoding="utf-8")
    (written,) = (line for line in page.splitlines() if line.startswith(f"| {backbone} "))
    row = Row(figures_of(network_on(backbone), (108, 192)))
    counted = to_markdown([row], (1536, 864)).splitlines()[4]
    told, wanted = ([cell.strip() for cell in line.split("|")] for line in (written, counted))
    assert told[:-4] == wanted[:-4]  # but for what was tried


def test_a_device_half_is_exported_and_built() -> None:
    trial = try_device_half(network_on(SMALL), (256, 160))
    assert trial.onnx == Tried(True)
    assert trial.cpu_ms is not None and trial.cpu_ms > 0
    if find_spec("tensorrt_rtx") is None:
        assert trial.tensorrt.ok is None
        assert "TensorRT is not installed here" in trial.tensorrt.why
    else:
        assert trial.tensorrt == Tried(True)


def test_what_does_not_export_is_told() -> None:
    network = network_on(SMALL)
    network.stem.units.append(_Counting())
    trial = try_device_half(network, (256, 160))
    assert trial.onnx.ok is False
    assert trial.onnx.why
    assert trial.tensorrt == Tried(None, "there is no graph")
    assert trial.cpu_ms is None


class _Counting(torch.nn.Module):
    """Depends on values, which no graph can follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if float(x.sum()) > 0 else x


def test_a_graph_that_tensorrt_does_not_take(tmp_path_factory: pytest.TempPathFactory) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu12 is not installed")
    from sparsight_edge.engine.choose import try_graph

    file = tmp_path_factory.mktemp("graph") / "edge.onnx"
    file.write_bytes(b"no graph")
    with pytest.raises(BundleError, match="does not take this graph"):
        try_graph(file, 256, trt)
