"""Training that goes on from a bundle instead of from ImageNet.

    bundle (norms folded) ─ weights at the optimiser's own scale ─> network with norms
         └─ some batches run through it ─ mean, variance of each convolution ─> the norms' shifts

A bundle holds no norms: they are folded into the convolutions. Training wants them back. A norm in
training subtracts the batch's mean and divides by its deviation, so one with the mean as shift and
the deviation as gain gives what the folded convolution gave, on batches like those it was set with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsight.errors import TrainingError
from sparsight.model.detector import Detector
from sparsight.model.head import Branch
from sparsight.model.neck import ConvNormAct
from sparsight.model.network import Network
from sparsight.model.sparse import CellConv2d
from sparsight_cloud.training.step import Batch, cut_by_seeker

TINY = 1e-12
NORMED = ("neck.", "head.")
"""Parts whose convolutions had norms behind them that learn."""


class _Moments:
    """Mean and variance of each channel of what a convolution gave, over some batches."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, out: Float[Tensor, "b c h w"]) -> None:
        self.count += out.numel() // out.shape[1]
        self.sum = self.sum + out.double().sum((0, 2, 3))
        self.squares = self.squares + out.double().square().sum((0, 2, 3))

    def take(self) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        mean = self.sum / self.count
        return mean.float(), (self.squares / self.count - mean.square()).clamp_min(0).float()


@torch.no_grad()
def start_from_bundle(network: Network, folder: Path, batches: Iterable[Batch]) -> None:
    """Give a network the weights of a bundle, its norms set up to train on.

    Classes are matched by name; those that the bundle doesn't know stay as they are.

    Args:
        network: Unfolded; its weights say at which scale the optimiser is to see the bundle's.
        folder: The bundle.
        batches: Samples like those of the training to come.

    Raises:
        BundleError: The bundle is missing or damaged.
        TrainingError: The bundle's network is of another make.
    """
    given = Detector.from_bundle(folder).network
    mine, theirs = network.settings, given.settings
    for field in ("backbone", "neck_channels", "mean", "std"):
        if getattr(mine, field) != getattr(theirs, field):
            raise TrainingError(
                f"model.start: {folder} has {field} {getattr(theirs, field)!r}, this run "
                f"{getattr(mine, field)!r}; make them equal or train without it"
            )
    moments = _moments(given, batches)
    others = dict(given.named_modules())
    for name, module in network.named_modules():
        other = others.get(name)
        if isinstance(module, ConvNormAct) and isinstance(other, ConvNormAct):
            assert isinstance(module.norm, nn.BatchNorm2d)
            gain = _weight(module.conv, other.conv)
            _norm(module.norm, other.conv, gain, moments[other.conv].take())
        elif isinstance(module, Branch) and isinstance(other, Branch):
            _branch(module, other, moments)
        elif name.startswith(NORMED):
            continue
        elif isinstance(module, CellConv2d) and isinstance(other, CellConv2d):
            _convolution(module, other)
    convolutions = tuple(n for n, m in network.named_modules() if isinstance(m, CellConv2d))
    theirs_now = given.state_dict()
    for name, value in network.state_dict().items():
        done = name.rpartition(".")[0] in convolutions or name.startswith("head.classes.predict")
        if not done and name in theirs_now:
            value.copy_(theirs_now[name])
    _classes(network, given)


def _moments(given: Network, batches: Iterable[Batch]) -> dict[nn.Module, _Moments]:
    """What each convolution with a norm behind it gives on some batches."""
    moments: dict[nn.Module, _Moments] = defaultdict(_Moments)
    watched = [m for m in (*given.neck.modules(), *given.head.modules()) if type(m) is CellConv2d]

    def note(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        moments[module].add(out)

    hooks = [m.register_forward_hook(note) for m in watched]
    for batch in batches:
        p3, heat = given.look(batch.image)
        keep, _ = cut_by_seeker(batch, heat)
        given.detect(p3, keep)
    for hook in hooks:
        hook.remove()
    return moments


def _weight(target: CellConv2d, folded: CellConv2d) -> Float[Tensor, " c"]:
    """Copy a folded weight at the scale that the target's had; returns folded over copied."""
    want, have = folded.weight.flatten(1).norm(dim=1), target.weight.flatten(1).norm(dim=1)
    gain: Float[Tensor, " c"] = (want / have.clamp_min(TINY)).clamp_min(TINY)
    target.weight.copy_(folded.weight / gain[:, None, None, None])
    return gain


def _convolution(target: CellConv2d, folded: CellConv2d) -> None:
    """A convolution of the backbone: its norm was frozen into a scale and a bias."""
    gain = _weight(target, folded)
    if target.scale is None:
        target.weight.mul_(gain[:, None, None, None])
    else:
        target.scale.copy_(gain)
    if target.bias is not None and folded.bias is not None:
        target.bias.copy_(folded.bias)


def _norm(
    norm: nn.BatchNorm2d,
    folded: CellConv2d,
    gain: Float[Tensor, " c"],
    moments: tuple[Float[Tensor, " c"], Float[Tensor, " c"]],
) -> None:
    mean, variance = moments
    assert folded.bias is not None and norm.running_mean is not None
    assert norm.running_var is not None
    norm.weight.copy_(gain.sign() * (variance + gain.square() * norm.eps).sqrt())
    norm.bias.copy_(mean)
    norm.running_mean.copy_((mean - folded.bias) / gain)
    norm.running_var.copy_(variance / gain.square())


def _branch(target: Branch, given: Branch, moments: dict[nn.Module, _Moments]) -> None:
    """A branch of the head: convolutions that the levels share, norms that they don't."""
    for depth, conv in enumerate(target.convs):
        assert isinstance(conv, CellConv2d)
        levels = [level[depth] for level in given.convs if isinstance(level, nn.ModuleList)]
        gain = torch.ones(())
        for level, folded in enumerate(levels):
            assert isinstance(folded, CellConv2d)
            if level == 0:
                gain = _weight(conv, folded)
            else:  # the same weights but for a factor of each channel
                shared, flat = conv.weight.flatten(1), folded.weight.flatten(1)
                gain = (shared * flat).sum(1) / shared.square().sum(1)
            norms = target.norms[depth]
            assert isinstance(norms, nn.ModuleList)
            norm = norms[level]
            assert isinstance(norm, nn.BatchNorm2d)
            _norm(norm, folded, gain, moments[folded].take())


def _classes(network: Network, given: Network) -> None:
    names = {name: i for i, name in enumerate(given.settings.classes)}
    own, other = network.head.classes.predict, given.head.classes.predict
    assert own.bias is not None and other.bias is not None
    for i, name in enumerate(network.settings.classes):
        if name in names:
            own.weight[i] = other.weight[names[name]]
            own.bias[i] = other.bias[names[name]]
