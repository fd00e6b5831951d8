"""Checkpoints laid out as Megvii's, and a YOLOX written out beside ours to tell whether they agree.

Layout: Megvii-BaseDetection/YOLOX, yolox/models/{darknet,network_blocks,yolo_pafpn,yolo_head}.py.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.smoke import assert_split_is_dense_where_all_is_kept, learned, squares
from torch import Tensor
from torch.nn import functional as F

from sparsight.bundle import open_bundle
from sparsight.cli import build_app, run
from sparsight.errors import BundleError
from sparsight.model.detector import Detector
from sparsight.model.network import Network
from sparsight.model.yolox import YOLOX, CspDarknet
from sparsight.settings import ModelSettings
from sparsight_cloud.bases import yolox as module
from sparsight_cloud.bases.yolox import MEAN, STD, read_yolox
from sparsight_cloud.training.config import DataConfig, NetConfig, PatchConfig, TrainConfig
from sparsight_cloud.training.step import batch_of
from sparsight_cloud.training.tasks import DetectorTask

State = dict[str, Tensor]
Shape = tuple[int, ...]
B = "backbone.backbone."
# Depth, width and kind as exps/default/*.py of YOLOX have them.
EXPS = {
    "yolox_nano": (0.33, 0.25, True),
    "yolox_tiny": (0.33, 0.375, False),
    "yolox_s": (0.33, 0.50, False),
    "yolox_m": (0.67, 0.75, False),
    "yolox_l": (1.0, 1.0, False),
    "yolox_x": (1.33, 1.25, False),
}


def base(
    to: dict[str, Shape], name: str, c_in: int, c_out: int, side: int, groups: int = 1
) -> None:
    to[f"{name}.conv.weight"] = (c_out, c_in // groups, side, side)
    for one in ("weight", "bias", "running_mean", "running_var"):
        to[f"{name}.bn.{one}"] = (c_out,)
    to[f"{name}.bn.num_batches_tracked"] = ()


def three(to: dict[str, Shape], name: str, c_in: int, c_out: int, dw: bool) -> None:
    if not dw:
        base(to, name, c_in, c_out, 3)
        return
    base(to, f"{name}.dconv", c_in, c_in, 3, c_in)
    base(to, f"{name}.pconv", c_in, c_out, 1)


def csp(to: dict[str, Shape], name: str, c_in: int, c_out: int, n: int, dw: bool) -> None:
    half = c_out // 2
    base(to, f"{name}.conv1", c_in, half, 1)
    base(to, f"{name}.conv2", c_in, half, 1)
    base(to, f"{name}.conv3", 2 * half, c_out, 1)
    for i in range(n):
        base(to, f"{name}.m.{i}.conv1", half, half, 1)
        three(to, f"{name}.m.{i}.conv2", half, half, dw)


def layout(exp: str, classes: int = 80) -> dict[str, Shape]:
    """Names and shapes of a checkpoint's `model`."""
    depth, width, dw = EXPS[exp]
    w, n = int(width * 64), max(round(depth * 3), 1)
    to: dict[str, Shape] = {}
    base(to, f"{B}stem.conv", 12, w, 3)
    for i, blocks in ((2, n), (3, 3 * n), (4, 3 * n), (5, n)):
        c = w << (i - 1)
        three(to, f"{B}dark{i}.0", c // 2, c, dw)
        if i == 5:
            base(to, f"{B}dark5.1.conv1", c, c // 2, 1)
            base(to, f"{B}dark5.1.conv2", 2 * c, c, 1)
        csp(to, f"{B}dark{i}.{2 if i == 5 else 1}", c, c, blocks, dw)
    base(to, "backbone.lateral_conv0", 16 * w, 8 * w, 1)
    csp(to, "backbone.C3_p4", 16 * w, 8 * w, n, dw)
    for i in range(3):
        base(to, f"head.stems.{i}", (4 * w) << i, 4 * w, 1)
        to[f"head.cls_preds.{i}.weight"] = (classes, 4 * w, 1, 1)
        to[f"head.cls_preds.{i}.bias"] = (classes,)
    return to


def filled(exp: str, seed: int = 0, classes: int = 80) -> State:
    """A state whose every number matters; maps stay of size one."""
    chance = torch.Generator().manual_seed(seed)
    state: State = OrderedDict()
    for name, shape in layout(exp, classes).items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("conv.weight"):
            state[name] = torch.randn(shape, generator=chance) * (2 / np.prod(shape[1:])) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = torch.rand(shape, generator=chance) + 0.5
        else:
            state[name] = torch.randn(shape, generator=chance) * 0.2
    state[f"{B}stem.conv.conv.weight"] /= 100  # it sees bytes
    return state


def saved(file: Path, state: State) -> Path:
    """As YOLOX's trainer writes it, its AP a number of numpy's."""
    torch.save(
        {
            "start_epoch": 300,
            "model": state,
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.01, "params": [0]}]},
            "best_ap": np.float64(0.405),
            "curr_ap": None,
        },
        file,
    )
    return file


def yolox(state: State, image_bgr: Tensor, exp: str) -> list[Tensor]:
    """Maps of dark3, dark4 and dark5, as YOLOX computes them."""
    depth, _, dw = EXPS[exp]
    n = max(round(depth * 3), 1)

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{B}{name}.conv.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, None, stride, (weight.shape[2] - 1) // 2, 1, groups)
        mean, var, gain, bias = (
            state[f"{B}{name}.bn.{one}"]
            for one in ("running_mean", "running_var", "weight", "bias")
        )
        return F.silu(F.batch_norm(x, mean, var, gain, bias, eps=1e-3))

    def wide(x: Tensor, name: str, stride: int = 1) -> Tensor:
        return (
            conv(conv(x, f"{name}.dconv", stride), f"{name}.pconv") if dw else conv(x, name, stride)
        )

    def stage(x: Tensor, name: str, blocks: int, shortcut: bool = True) -> Tensor:
        a, b = conv(x, f"{name}.conv1"), conv(x, f"{name}.conv2")
        for i in range(blocks):
            y = wide(conv(a, f"{name}.m.{i}.conv1"), f"{name}.m.{i}.conv2")
            a = y + a if shortcut else y
        return conv(torch.cat([a, b], 1), f"{name}.conv3")

    x = image_bgr
    corners = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
    x = conv(torch.cat(corners, 1), "stem.conv")
    x = stage(wide(x, "dark2.0", 2), "dark2.1", n)
    p3 = stage(wide(x, "dark3.0", 2), "dark3.1", 3 * n)
    p4 = stage(wide(p3, "dark4.0", 2), "dark4.1", 3 * n)
    x = conv(wide(p4, "dark5.0", 2), "dark5.1.conv1")
    pools = [F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13)]
    x = conv(torch.cat([x, *pools], 1), "dark5.1.conv2")
    return [p3, p4, stage(x, "dark5.2", n, shortcut=False)]


def close(got: Tensor, want: Tensor, share: float = 1e-4) -> None:
    torch.testing.assert_close(got, want, rtol=0, atol=share * float(want.abs().max()))


@pytest.mark.parametrize("exp", EXPS)
def test_every_size_has_the_names_and_shapes_of_its_checkpoints(exp: str) -> None:
    with torch.device("meta"):
        ours = {k: tuple(v.shape) for k, v in CspDarknet(YOLOX[exp]).state_dict().items()}
    theirs = {k.removeprefix(B): v for k, v in layout(exp).items() if k.startswith(B)}
    first = "stem.conv.conv.weight"
    assert theirs.pop(first) == (YOLOX[exp].width, 12, 3, 3)
    assert ours.pop(first) == (YOLOX[exp].width, 3, 6, 6)
    assert ours == theirs


@pytest.mark.parametrize("exp", ["yolox_nano", "yolox_s"])
def test_maps_are_those_of_yolox_in_whole_and_in_cells(exp: str, tmp_path: Path) -> None:
    state = filled(exp)
    read = read_yolox(saved(tmp_path / "ckpt.pth", state))
    assert (read.backbone, read.classes) == (exp, 80)
    settings = ModelSettings(backbone=exp, classes=("a", "b"), neck_channels=16, mean=MEAN, std=STD)
    network = Network(settings, read.state).eval()
    assert network.trunk.joined
    rgb = torch.randint(0, 256, (1, 3, 96, 160), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = yolox(state, rgb.flip(1).float(), exp)
        for _ in range(2):
            p3 = network.stem(rgb.to(torch.uint8))
            for got, right in zip((p3, *network.trunk(p3)), want, strict=True):
                assert right.std() > 0.05
                close(got, right)
            network.fold()
    assert_split_is_dense_where_all_is_kept(network)


def test_a_checkpoint_becomes_a_bundle_that_is_fine_tuned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = filled("yolox_nano", classes=2)
    file = saved(tmp_path / "nano.pth", {f"module.{k}": v for k, v in state.items()})
    out = tmp_path / "bundle"
    told = ["import", str(file), "--out", str(out), "--classes", "square, van"]
    assert run(build_app(), told) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "yolox_nano: its backbone of" in said
    assert "ours start untrained" in said
    assert f"start: {out}" in said
    assert open_bundle(out).manifest.name == "nano"
    assert open_bundle(out).model.classes == ("square", "van")

    detector = Detector.from_bundle(out)
    picture = squares(128, 4, 0).image
    assert len(detector.detect([picture])) == 1
    with torch.no_grad():
        p3 = detector.network.stem(torch.from_numpy(picture).permute(2, 0, 1)[None])
        bgr = torch.from_numpy(picture[:, :, ::-1].copy()).permute(2, 0, 1)[None].float()
        close(p3, yolox(state, bgr, "yolox_nano")[0], 0.02)  # in half precision

    batch = batch_of(
        [squares(96, 3, seed) for seed in (1, 2)],
        PatchConfig(share=1.0, by_seeker=0.0, cells=(8,)),
        np.random.default_rng(0),
        torch.device("cpu"),
    )
    config = TrainConfig(
        data=DataConfig(annotations=Path("none"), images=Path("none")),
        model=NetConfig(backbone="yolox_nano", start=out, pretrained="none", mean=MEAN, std=STD),
        steps=6,
        processes=1,
    )
    task = DetectorTask(config, ("square",), [batch], torch.device("cpu"), fresh=True)
    losses = learned(task, batch)
    assert losses[-1]["loss_seeker"] < 0.95 * losses[0]["loss_seeker"], losses


def test_a_folder_in_use_and_bad_names_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").write_text("mine")
    assert run(build_app(), ["import", "x.pth", "--out", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    free = str(tmp_path / "new")
    assert run(build_app(), ["import", "x.pth", "--out", free, "--classes", "a,,b"]) == 2
    assert "different names with commas" in capsys.readouterr().err
    assert run(build_app(), ["import", str(tmp_path / "x.pth"), "--out", free]) == 5
    assert "can't be read" in capsys.readouterr().err
    file = saved(tmp_path / "nano.pth", filled("yolox_nano"))
    assert run(build_app(), ["import", str(file), "--out", str(tmp_path / "there" / "new")]) == 2
    assert "can't be made" in capsys.readouterr().err


class _Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("/tmp/sparsight-was-here"),)


def _without(name: str) -> Callable[[State], object]:
    return lambda state: {"model": {k: v for k, v in state.items() if k != name}}


def _changed(name: str, value: Tensor) -> Callable[[State], object]:
    return lambda state: {"model": {**state, name: value}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: [1, 2], "holds no model"),
        (lambda state: {"model": {}}, "holds no model"),
        (
            lambda state: {"model": {"layer.weight": torch.zeros(1)}},
            "has no backbone.backbone.stem",
        ),
        (_without(f"{B}dark4.1.conv2.bn.bias"), r"dark4\.1\.conv2\.bn\.bias .* got none"),
        (_changed(f"{B}dark5.1.conv1.bn.bias", torch.zeros(3)), r"shape \[128\], got \[3\]"),
        (
            _changed(f"{B}dark5.1.conv1.bn.bias", torch.full((128,), float("nan"))),
            "values that are no numbers",
        ),
        (_changed(f"{B}dark5.1.conv1.bn.bias", torch.zeros(128, device="meta")), "got none"),
        (
            _changed(f"{B}dark5.1.conv1.bn.bias", torch.zeros(128).to(torch.float8_e4m3fn)),
            "got none",
        ),
        (_changed(f"{B}dark5.1.conv1.bn.running_var", -torch.ones(128)), "variances below 0"),
        (
            # Whose pixels are in another order, and of another size.
            _changed(f"{B}stem.conv.conv.weight", torch.zeros(16, 3, 6, 6)),
            r"shape \[16, 12, 3, 3\], got \[16, 3, 6, 6\]",
        ),
        (
            _changed(f"{B}stem.conv.conv.weight", torch.zeros(20, 12, 3, 3)),
            "a YOLOX of 20 channels, 1 blocks, depth-wise is none of yolox_nano",
        ),
        (lambda state: {"model": state, "exp": _Hostile()}, "holds more than tensors"),
    ],
)
def test_what_is_no_yolox_is_refused(
    change: Callable[[State], object], says: str, tmp_path: Path
) -> None:
    file = tmp_path / "ckpt.pth"
    torch.save(change(filled("yolox_nano")), file)
    with pytest.raises(BundleError, match=says) as caught:
        read_yolox(file)
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/sparsight-was-here").exists()


def test_a_file_that_unpacks_to_more_than_any_yolox_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tmp_path / "bomb.pth", filled("yolox_nano"))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("bomb/data/more", bytes(32 << 20))
    assert read_yolox(file).backbone == "yolox_nano"
    monkeypatch.setattr(module, "FILE_BYTES_MAX", 16 << 20)
    assert file.stat().st_size < 16 << 20
    with pytest.raises(BundleError, match="more than any YOLOX has"):
        read_yolox(file)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "ckpt.pth", filled("yolox_nano"))
    whole = file.read_bytes()
    for data in (b"", b"no checkpoint", whole[: len(whole) // 2], pickle.dumps({"model": 1})):
        file.write_bytes(data)
        with pytest.raises(BundleError, match=r"ckpt\.pth: "):
            read_yolox(file)
