"""Any timm `features_only` backbone, or one of YOLOX's, cut after stride 8.

    image ─ units of the stem ─> P3 (stride 8) ─ stage ─> P4 (stride 16) ─ stage ─> P5 (stride 32)

A backbone qualifies when its modules, run one after the other, give the maps that timm itself
gives; that is tried on a probe and not believed. `adapt` then makes its convolutions know the kept
area. Nothing here knows a family of backbones by name except where timm wants an option to build
it for pictures of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from sparsight.errors import UsageError
from sparsight.model.adapt import PROBE_HW_PX, adapt, maps_of
from sparsight.model.sparse import AreaHolder
from sparsight.model.yolox import YOLOX, CspDarknet

STRIDES_PX = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A backbone in two halves.

    Attributes:
        stem: Everything up to P3, as a list of units that follow each other.
        stages: The two stages after it, to P4 and to P5.
        channels: Channels of P3, P4 and P5.
        nhwc: Whether the backbone's maps are channels-last in their shape (Swin and its kin).
        joined: Whether the stages may run on the kept cells of all patches at once.
    """

    stem: nn.Sequential
    stages: nn.ModuleList
    channels: tuple[int, int, int]
    nhwc: bool
    joined: bool


def build_backbone(
    name: str, holder: AreaHolder, *, pretrained: dict[str, Tensor] | None = None
) -> Backbone:
    """Build a backbone and cut it.

    Args:
        name: A timm model with `features_only` support and maps at strides 8, 16 and 32, or a
            name of `yolox.YOLOX`.
        holder: Names the area that the convolutions after P3 compute.
        pretrained: Its state, of a timm model the full classifier's; None leaves the random start.

    Raises:
        UsageError: timm doesn't know the name, the model has no maps at these strides or is no
            plain sequence of stages for pictures of any size, or the weights don't fit it.
    """
    net = _create(name)
    if pretrained is not None:
        _load(net, name, pretrained)
    info = net.feature_info
    assert isinstance(info, FeatureInfo)
    reductions = [int(r) for r in info.reduction()]
    if not set(STRIDES_PX) <= set(reductions):
        raise UsageError(
            f"backbone {name!r}: expected maps at strides 8, 16 and 32, it has {reductions}; "
            "choose a convolutional or hierarchical model"
        )
    net.eval()
    nhwc = getattr(net, "output_fmt", "NCHW") == "NHWC"
    at = [reductions.index(stride) for stride in STRIDES_PX]
    whole = _cut(net, name, [str(info.module_name(i)) for i in at])
    _prove(net, whole, name, at, nhwc=nhwc)
    joined = adapt(whole, holder, nhwc=nhwc)
    stem, p4, p5 = whole
    assert isinstance(stem, nn.Sequential)
    c3, c4, c5 = (int(info.channels(i)) for i in at)
    return Backbone(stem, nn.ModuleList([p4, p5]), (c3, c4, c5), nhwc, joined)


def _create(name: str) -> nn.Module:
    if name in YOLOX:
        return CspDarknet(YOLOX[name])
    if ":" in name:
        # timm would fetch what it is made of; a bundle may come from anywhere.
        raise UsageError(
            f"backbone {name!r}: expected a name of timm.list_models(), not a place to load from"
        )
    # Swin fixes its window to a picture size unless told that pictures vary.
    extra: dict[str, Any] = {"strict_img_size": False} if name.startswith("swin") else {}
    try:
        return timm.create_model(name, features_only=True, pretrained=False, **extra)
    except (RuntimeError, ValueError, KeyError, AttributeError, AssertionError, TypeError) as e:
        raise UsageError(
            f"backbone {name!r}: timm can't build it as features_only ({e}); see timm.list_models()"
        ) from e


def _load(net: nn.Module, name: str, pretrained: dict[str, Tensor]) -> None:
    try:
        missing = net.load_state_dict(pretrained, strict=False).missing_keys
    except RuntimeError as e:
        first = str(e).splitlines()[-1].strip()
        raise UsageError(f"backbone {name!r}: the weights are of another model ({first})") from e
    if missing:
        raise UsageError(
            f"backbone {name!r}: the weights lack {len(missing)} tensors, first {missing[0]}"
        )


def _cut(net: nn.Module, name: str, ends: list[str]) -> nn.Sequential:
    """The stem and the two stages after it; each ends with the module that timm names."""
    names, modules = [], []
    for child_name, child in net.named_children():
        if child_name == "blocks" and isinstance(child, nn.Sequential):
            names += [f"blocks_{i}" for i in range(len(child))]
            modules += list(child)
        else:
            names.append(child_name.replace(".", "_"))
            modules.append(child)
    parts, start = [], 0
    for end_name in ends:
        if end_name.replace(".", "_") not in names[start:]:
            raise _no_sequence(name, f"no module {end_name!r} among its stages")
        end = names.index(end_name.replace(".", "_")) + 1
        parts.append(nn.Sequential(*_flat(modules[start:end])))
        start = end
    return nn.Sequential(*parts)


def _flat(modules: list[nn.Module]) -> list[nn.Module]:
    """Stages that are plain sequences give their blocks, so that the stem can run by block."""
    out: list[nn.Module] = []
    for m in modules:
        out.extend(m) if type(m) is nn.Sequential else out.append(m)
    return out


@torch.no_grad()
def _prove(net: nn.Module, whole: nn.Sequential, name: str, at: list[int], *, nhwc: bool) -> None:
    """The cut modules give timm's maps, of the sizes promised."""
    probe = torch.linspace(-2, 2, 3 * PROBE_HW_PX[0] * PROBE_HW_PX[1]).view(1, 3, *PROBE_HW_PX)
    # Foreign modules may fail in any way when chained or given a size they were not built for.
    try:
        features = net(probe)
        want = [features[i].clone() for i in at]
        maps = maps_of(whole, probe)
    except Exception as e:
        raise _no_sequence(name, " ".join(str(e).split())) from e
    for got, right, stride in zip(maps, want, STRIDES_PX, strict=True):
        size_hw = got.shape[1:3] if nhwc else got.shape[2:]
        if tuple(size_hw) != (PROBE_HW_PX[0] // stride, PROBE_HW_PX[1] // stride):
            raise _no_sequence(name, f"its map at stride {stride} is {tuple(size_hw)} cells")
        if not torch.equal(got, right):
            raise _no_sequence(name, f"chained, its map at stride {stride} differs from timm's")


def _no_sequence(name: str, why: str) -> UsageError:
    return UsageError(
        f"backbone {name!r}: expected a plain sequence of stages for pictures of any size, but on "
        f"{PROBE_HW_PX[1]}x{PROBE_HW_PX[0]} px: {why}; choose another backbone"
    )
