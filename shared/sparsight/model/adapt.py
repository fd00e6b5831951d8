"""A backbone's modules made ready for kept cells, and proof that it changed nothing.

    1. square convolutions ─> CellConv2d, max pools ─> CellMaxPool2d: these know the kept area
    2. pretrained norm ────> a scale and a bias of the convolution before it, both trainable
    3. P3 ─ cells form ─> P4, P5 equal to whole maps?  then patches may be computed joined

Which norm belongs to which convolution is read off the order of the modules, and whether something
else than convolutions mixes cells can't be read off at all: pooling, global norms, shifts and
attention may be plain functions. So every step is first tried on a copy, and what changes a number
is not done. The copy's tensors are stirred: a fresh norm is the identity and a fresh layer scale
1e-6, which would hide any mistake. The outcome depends on structure alone, not on weights, so a
network and the bundle it becomes always agree on the names of their tensors.
"""

from __future__ import annotations

import copy

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d, freeze_batch_norm_2d
from torch import Tensor, nn

from sparsight.model.sparse import AreaHolder, CellArea, CellConv2d, CellMaxPool2d

PROBE_HW_PX = (64, 96)
"""Sides differ, so that exchanged axes show; 12 cells of P3 are 3 of P5."""

SEED = 20240716


@torch.no_grad()
def adapt(whole: nn.Sequential, holder: AreaHolder, *, nhwc: bool) -> bool:
    """Make a backbone ready, in place.

    Args:
        whole: The stem and the two stages after it.
        holder: Names the area that the stages' convolutions compute, if these can be joined.
        nhwc: Whether the maps are channels-last in their shape; such stages are never joined.

    Returns:
        Whether the stages may run in cells form. If not, their convolutions know no area.
    """
    probe = torch.randn(2, 3, *PROBE_HW_PX, generator=torch.Generator().manual_seed(SEED))
    for fold in (True, False):
        trial, own = _stirred(whole), AreaHolder()
        want = maps_of(trial, probe)
        _make_over(trial, own, fold=fold)
        if all(_close(a, b) for a, b in zip(maps_of(trial, probe), want, strict=True)):
            joined = not nhwc and _cells_agree(trial, own, probe)
            _make_over(whole, holder if joined else AreaHolder(), fold=fold)
            return joined
    freeze_batch_norm_2d(whole)
    return False


def maps_of(whole: nn.Sequential, image: Tensor) -> list[Tensor]:
    """P3, P4 and P5 as the parts give them; copies, for a part may write into its input."""
    out, x = [], image
    for part in whole:
        x = part(x)
        out.append(x.clone())
    return out


def _make_over(whole: nn.Sequential, holder: AreaHolder, *, fold: bool) -> None:
    _replace_layers(whole, holder)
    if fold:
        _fold_norms(whole)
    freeze_batch_norm_2d(whole)
    _learn_levels(whole)


def _stirred(whole: nn.Sequential) -> nn.Sequential:
    """A copy in which every norm, layer scale and weight matters."""
    trial = copy.deepcopy(whole)
    chance = torch.Generator().manual_seed(SEED)
    for p in trial.parameters():
        if p.numel() == max(p.shape, default=1):
            p.uniform_(0.5, 1.0, generator=chance)
        else:
            p.normal_(0.0, (p.shape[0] / p.numel()) ** 0.5, generator=chance)
    for m in trial.modules():
        if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None:
            assert m.running_var is not None
            m.running_mean.normal_(0.0, 0.2, generator=chance)
            m.running_var.uniform_(0.5, 2.0, generator=chance)
    return trial


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=1e-3 * float(b.abs().max()))


def _replace_layers(module: nn.Module, holder: AreaHolder) -> None:
    for name, child in list(module.named_children()):
        if type(child) is nn.MaxPool2d and _plain_pool(child):
            sides = (child.kernel_size, child.stride, child.padding)
            setattr(module, name, CellMaxPool2d(*map(_side, sides), holder=holder))
            continue
        if not _replaceable(child):
            _replace_layers(child, holder)
            continue
        assert isinstance(child, nn.Conv2d)
        conv = CellConv2d(
            child.in_channels,
            child.out_channels,
            child.kernel_size[0],
            child.stride[0],
            holder=holder,
            groups=child.groups,
            bias=child.bias is not None,
            same=isinstance(child, Conv2dSame),
            padding=int(child.padding[0]),
        )
        conv.weight, conv.bias = child.weight, child.bias
        setattr(module, name, conv)


def _replaceable(child: nn.Module) -> bool:
    """Whether a `CellConv2d` can do what this convolution does."""
    # Subclasses do more than they show: timm's StdConv2d standardises its weight in `forward`.
    if not isinstance(child, nn.Conv2d) or type(child) not in (nn.Conv2d, Conv2dSame):
        return False
    if isinstance(child.padding, str) or child.padding_mode != "zeros":
        return False
    (kernel, kernel_x), (stride, stride_x) = child.kernel_size, child.stride
    square = kernel == kernel_x and stride == stride_x and child.padding[0] == child.padding[1]
    depthwise = child.groups == child.in_channels == child.out_channels and kernel > 1
    plain = child.groups == 1
    return square and set(child.dilation) == {1} and stride in (1, 2) and (depthwise or plain)


def _plain_pool(pool: nn.MaxPool2d) -> bool:
    """Whether a `CellMaxPool2d` can do what this pool does."""
    square = all(isinstance(v, int) or v[0] == v[1] for v in (pool.kernel_size, pool.padding))
    plain = not pool.ceil_mode and not pool.return_indices and pool.dilation in (1, (1, 1))
    return square and plain and pool.stride in (1, 2, (1, 1), (2, 2))


def _side(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]


def _fold_norms(whole: nn.Sequential) -> None:
    before: CellConv2d | None = None
    for parent in whole.modules():
        for name, child in list(parent.named_children()):
            if isinstance(child, CellConv2d):
                before = child
            elif isinstance(child, nn.BatchNorm2d):
                if before is None or not _fold(before, child):
                    continue
                act = child.act if isinstance(child, BatchNormAct2d) else nn.Identity()
                setattr(parent, name, act)
                before = None


def _fold(conv: CellConv2d, norm: nn.BatchNorm2d) -> bool:
    if conv.scale is not None or conv.out_channels != norm.num_features:
        return False
    if norm.running_var is None or norm.running_mean is None:
        return False
    scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
    bias = torch.zeros_like(scale) if conv.bias is None else conv.bias.detach()
    conv.scale = nn.Parameter(scale.clone())
    conv.bias = nn.Parameter(norm.bias.detach() + (bias - norm.running_mean) * scale)
    return True


def _learn_levels(whole: nn.Sequential) -> None:
    """Tell each layer the level of its input: how many times P3's side is its own."""
    wide = PROBE_HW_PX[1] // 8

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(module, CellConv2d | CellMaxPool2d)
        module.level = max(0, (wide // args[0].shape[-1]).bit_length() - 1)

    layers = [m for m in whole.modules() if isinstance(m, CellConv2d | CellMaxPool2d)]
    hooks = [m.register_forward_pre_hook(note) for m in layers]
    whole(torch.zeros(1, 3, *PROBE_HW_PX))
    for hook in hooks:
        hook.remove()


def _cells_agree(whole: nn.Sequential, holder: AreaHolder, probe: Tensor) -> bool:
    """Whether the stages give the same numbers in cells form when everything is kept."""
    p3, *want = maps_of(whole, probe)
    area = CellArea.of(torch.ones(len(p3), *p3.shape[2:], dtype=torch.bool))
    x = area.gather(p3)
    # Foreign modules fail in any way on maps of one pixel; whatever it is, they can't be joined.
    try:
        with holder.keeping(area):
            for stage, right in zip(whole[1:], want, strict=True):
                x = stage(x)
                if not _close(x.flatten(1), right.permute(0, 2, 3, 1).flatten(0, 2)):
                    return False
    except Exception:
        return False
    return True
