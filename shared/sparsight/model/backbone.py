"""Any timm `features_only` backbone, cut after stride 8.

    image ─ units of the stem ─> P3 (stride 8) ─ stage ─> P4 (stride 16) ─ stage ─> P5 (stride 32)

The pretrained batch norms are frozen: each becomes a scale and a bias on the convolution before it, both still
trainable. Which norm belongs to which convolution is read off the order of the modules and then *proved*: the folded backbone
must give the numbers of the untouched one, or its norms stay where they are.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import timm
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from sparsight.errors import UsageError
from sparsight.model.sparse import AreaHolder, CellConv2d


@dataclass(frozen=True, slots=True)
class Backbone:
    """A backbone in two halves.

    Attributes:
        stem: Everything up to P3, as a list of units that follow each other.
        stages: The two stages after it, to P4 and to P5.
        channels: Channels of P3, P4 and P5.
        nhwc: Whether the backbone's maps are channels-last in their shape (hierarchical transformers).
    """

    stem: nn.Sequential
    stages: nn.ModuleList
    channels: tuple[int, int, int]
    nhwc: bool


def build_backbone(
    name: str, holder: AreaHolder, *, pretrained: dict[str, Tensor] | None = None
) -> Backbone:
    """Build a backbone and cut it.

    Args:
        name: A timm model with `features_only` support and maps at strides 8, 16 and 32.
        holder: Names the area that the convolutions after P3 compute.
        pretrained: A full timm classifier's state; None leaves timm's random start.

    Raises:
        UsageError: timm doesn't know the name, or the model has no maps at these strides.
    """
    try:
        net = timm.create_model(name, features_only=True, pretrained=False, **_extra(name))
    except (RuntimeError, ValueError, KeyError, AttributeError, AssertionError) as e:
        raise UsageError(
            f"backbone {name!r}: timm can't build it as features_only ({e}); see timm.list_models()"
        ) from e
    if pretrained is not None:
        missing = net.load_state_dict(pretrained, strict=False).missing_keys
        if missing:
            raise UsageError(
                f"backbone {name!r}: the weights lack {len(missing)} tensors, first {missing[0]}"
            )
    reductions = list(net.feature_info.reduction())
    if not {8, 16, 32} <= set(reductions):
        raise UsageError(f"backbone {name!r}: needs maps at strides 8, 16 and 32, has {reductions}")
    net.eval()
    nhwc = getattr(net, "output_fmt", "NCHW") == "NHWC"
    units = _units(net)
    ends = [_end(units, net.feature_info.module_name(reductions.index(r))) for r in (8, 16, 32)]
    modules = [m for _, m in units]
    parts = [modules[: ends[0]], modules[ends[0] : ends[1]], modules[ends[1] : ends[2]]]
    stem, p4, p5 = (nn.Sequential(*_flat(p)) for p in parts)
    channels = tuple(net.feature_info.channels()[reductions.index(r)] for r in (8, 16, 32))
    whole = nn.Sequential(stem, p4, p5)
    _adopt(whole, holder)
    return Backbone(stem, nn.ModuleList([p4, p5]), (channels[0], channels[1], channels[2]), nhwc)


def _extra(name: str) -> dict[str, object]:
    # Swin fixes its window to a picture size unless told that pictures vary.
    return {"strict_img_size": False} if name.startswith("swin") else {}


def _units(net: nn.Module) -> list[tuple[str, nn.Module]]:
    out: list[tuple[str, nn.Module]] = []
    for name, child in net.named_children():
        if name == "blocks" and isinstance(child, nn.Sequential):
            out.extend((f"blocks.{i}", stage) for i, stage in enumerate(child))
        else:
            out.append((name, child))
    return out


def _end(units: list[tuple[str, nn.Module]], name: str) -> int:
    names = [n.replace(".", "_") for n, _ in units]
    return names.index(name.replace(".", "_")) + 1


def _flat(modules: list[nn.Module]) -> list[nn.Module]:
    """Stages that are plain sequences give their blocks, so that the stem can run block by block."""
    out: list[nn.Module] = []
    for m in modules:
        out.extend(m) if type(m) is nn.Sequential else out.append(m)
    return out


def _adopt(whole: nn.Sequential, holder: AreaHolder) -> None:
    """Replace the convolutions by ones that know the kept area, fold the norms, learn the levels; all in place."""
    probe = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        want = whole(probe)
    untouched = copy.deepcopy(whole)
    _replace_convolutions(whole, holder)
    _fold_norms(whole)
    with torch.no_grad():
        if not torch.allclose(whole(probe), want, rtol=1e-3, atol=1e-4 * float(want.abs().max())):
            for part, old in zip(whole, untouched, strict=True):
                part._modules = old._modules
            _replace_convolutions(whole, holder)
            for m in whole.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.requires_grad_(False)
    _learn_levels(whole, probe)


def _replace_convolutions(module: nn.Module, holder: AreaHolder) -> None:
    for name, child in list(module.named_children()):
        square = (
            isinstance(child, nn.Conv2d)
            and len(set(child.kernel_size)) == 1
            and child.dilation[0] == 1
        )
        if (
            not square
            or child.groups not in (1, child.in_channels)
            or child.stride[0] not in (1, 2)
        ):
            _replace_convolutions(child, holder)
            continue
        same = type(child).__name__ == "Conv2dSame"
        conv = CellConv2d(
            child.in_channels,
            child.out_channels,
            child.kernel_size[0],
            child.stride[0],
            holder=holder,
            groups=child.groups,
            bias=child.bias is not None,
            same=same,
            padding=int(child.padding[0]),
        )
        conv.weight, conv.bias = child.weight, child.bias
        setattr(module, name, conv)


def _fold_norms(whole: nn.Module) -> None:
    before: CellConv2d | None = None
    for parent in whole.modules():
        for name, child in list(parent.named_children()):
            if isinstance(child, CellConv2d):
                before = child
            elif isinstance(child, nn.BatchNorm2d):
                if (
                    before is None
                    or before.scale is not None
                    or before.out_channels != child.num_features
                ):
                    continue
                var, mean = child.running_var, child.running_mean
                assert var is not None and mean is not None
                scale = child.weight.detach() * torch.rsqrt(var + child.eps)
                old = 0.0 if before.bias is None else before.bias.detach()
                before.scale = nn.Parameter(scale.clone())
                before.bias = nn.Parameter(child.bias.detach() + (old - mean) * scale)
                act = child.act if isinstance(child, BatchNormAct2d) else nn.Identity()
                setattr(parent, name, act)
                before = None


def _learn_levels(whole: nn.Sequential, probe: Tensor) -> None:
    hooks = []

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(module, CellConv2d)
        side = args[0].shape[-1]
        module.level = max(0, (probe.shape[-1] // 8 // side).bit_length() - 1) if side else 0

    for m in whole.modules():
        if isinstance(m, CellConv2d):
            hooks.append(m.register_forward_pre_hook(note))
    with torch.no_grad():
        whole(probe)
    for h in hooks:
        h.remove()
