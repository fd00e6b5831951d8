"""The optimiser of a run: groups, gradients in one piece, and the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsight.model.network import Network
from sparsight_cloud.training.config import OptimiserConfig

QUICK = 5.0
"""How much faster than matrices the few numbers learn that have no scale of their own."""


def plain_optimiser(
    module: nn.Module, config: OptimiserConfig, quick: Iterable[nn.Parameter]
) -> torch.optim.AdamW:
    """AdamW with one rate; only matrices decay.

    Args:
        module: Its frozen parameters are left out.
        config: Rates and decay.
        quick: Parameters that don't decay and learn `QUICK` times faster.
    """
    fast = {id(p) for p in quick}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for p in module.parameters():
        if p.requires_grad:
            groups.setdefault((id(p) in fast, p.ndim > 1), []).append(p)
    return _adamw(
        [
            (params, config.lr * (QUICK if is_quick else 1), matrix and not is_quick)
            for (is_quick, matrix), params in groups.items()
        ],
        config,
    )


def detector_optimiser(
    network: Network, config: OptimiserConfig, quick: Iterable[nn.Parameter] = ()
) -> torch.optim.AdamW:
    """AdamW with a lower rate for the pretrained backbone; only matrices decay.

    Args:
        network: Its frozen parameters are left out.
        config: Rates and decay.
        quick: Parameters beside it that don't decay and learn `QUICK` times faster.

    Returns:
        The optimiser; each group's `base_lr` is its rate before the schedule.
    """
    backbone = {id(p) for part in (network.stem, network.trunk) for p in part.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for p in network.parameters():
        if p.requires_grad:
            groups.setdefault((id(p) in backbone, p.ndim > 1), []).append(p)
    fast = list(quick)
    return _adamw(
        [
            *(
                (params, config.backbone_lr if in_backbone else config.lr, matrix)
                for (in_backbone, matrix), params in groups.items()
            ),
            *([(fast, config.lr * QUICK, False)] if fast else []),
        ],
        config,
    )


def _adamw(
    groups: list[tuple[list[nn.Parameter], float, bool]], config: OptimiserConfig
) -> torch.optim.AdamW:
    """Of parameters, their rate, and whether they decay."""
    return torch.optim.AdamW(
        [
            {
                "params": params,
                "base_lr": lr,
                "weight_decay": config.weight_decay if decays else 0.0,
            }
            for params, lr, decays in groups
        ],
        lr=config.lr,
        betas=(0.9, 0.99),
    )


def learning_rate_factor(config: OptimiserConfig, step: int, share: float) -> float:
    """Factor on the learning rate: warm-up by steps, flat, then a cosine to the final share.

    Args:
        config: The schedule.
        step: Steps done.
        share: Share of the run that is over, from 0.
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if share <= config.flat_share:
        return warm
    x = min(1.0, (share - config.flat_share) / max(1e-9, 1 - config.flat_share))
    cosine = 0.5 * (1 + math.cos(math.pi * x))
    return warm * (config.final_share + (1 - config.final_share) * cosine)


def flat_gradients(network: nn.Module, extra: int, device: torch.device) -> Float[Tensor, " g"]:
    """All gradients as views of one tensor, so that one all-reduce a step carries everything.

    Args:
        network: Its trainable parameters get their `grad`.
        extra: Values at the end that travel with the gradients.
        device: Where the network is.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    flat = torch.zeros(sum(p.numel() for p in parameters) + extra, device=device)
    start = 0
    for p in parameters:
        p.grad = flat[start : start + p.numel()].view(p.shape)
        start += p.numel()
    return flat
