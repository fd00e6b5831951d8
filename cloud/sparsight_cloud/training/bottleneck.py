"""Training of the bottleneck, with the detector frozen as its judge.

    crop ─ stem, seeker, slicer ─> P3 of the kept area ──────────────> deep part ─> answer, right
                │                                                                      │ distance
                └─ analysis ─ / steps of a rate ─ round ─ synthesis ─> deep part ─> answer
                                          └─ prior ─> bits

loss = distance of the answers + lambda of the rate * bits a latent cell. Each sample has a rate
drawn by chance, so one model learns all; each rate has steps of its own in each zone
(`sparsight.codec.zones`). Transforms start as principal components of P3's 2x2
blocks, each channel weighted by how much the detection loss feels it, and steps so that a Gaussian
of these variances would take the wanted bits (design codec.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from sparsight.bundle import open_bundle
from sparsight.codec.zones import HALO, UNTOLD, ZONES, told, zones_of
from sparsight.errors import TrainingError
from sparsight.model.bottleneck import LATENT_LEVEL, Bottleneck
from sparsight.model.detector import Detector
from sparsight.model.network import Network, cell_centres
from sparsight.model.sparse import LEVELS, CellArea
from sparsight.settings import CodecSettings
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.prior import Prior
from sparsight_cloud.training.schedule import plain_optimiser
from sparsight_cloud.training.step import Batch, cut_by_seeker, losses_of

FEATURE_WEIGHT = 0.05
"""Of P3's own error, beside that of the answers: it has a gradient where the detector is flat."""

BLOCK = 4
"""Cells of P3 under one of the latents."""

BOTTLENECK = "bottleneck."
"""How the names of its weights begin in a network's state."""


class Trained(nn.Module):
    """All that learns.

    Attributes:
        bottleneck: The transforms, of a bundle.
        prior: Likelihoods of the latents, for each rate and zone.
        log_steps: Logarithms of the step sizes of each rate, zone and channel.
    """

    def __init__(self, bottleneck: Bottleneck, prior: Prior, steps: Float[Tensor, "r z k"]) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        self.prior = prior
        self.log_steps = nn.Parameter(steps.log())

    def quick(self) -> tuple[nn.Parameter, ...]:
        """What learns faster than matrices: the few numbers of priors and steps."""
        return (*self.prior.parameters(), self.log_steps)


class BottleneckTask:
    """The bottleneck of a bundle's detector."""

    def __init__(
        self,
        config: TrainConfig,
        classes: tuple[str, ...],
        first: Iterable[Batch],
        device: torch.device,
        *,
        fresh: bool,
    ) -> None:
        """Transforms to train.

        Args:
            config: The run; `model.start` names the detector's bundle.
            classes: Of the data; the detector's must be the same.
            first: Some batches, to find the principal components in.
            device: Where to compute.
            fresh: Whether the run begins; if not, a checkpoint brings the weights.

        Raises:
            BundleError: The bundle is missing or damaged.
            TrainingError: None was named, or one of other classes.
        """
        if config.model.start is None:
            raise TrainingError(
                "model.start: expected the bundle whose detector judges, got none; name one"
            )
        self.config = config
        self.network = with_bottleneck(config.model.start, config.codec.settings())
        self._mark = open_bundle(config.model.start).manifest.mark
        require_classes(config.model.start, self.network, classes)
        bottleneck = self.network.bottleneck
        assert bottleneck is not None
        rates = len(config.codec.lambdas)
        channels = config.codec.channels
        steps = deviation = torch.ones(rates, ZONES, channels)
        if fresh:
            deviations = _principal_start(self.network, config, list(first))
            one = torch.stack([_steps_for(deviations, bits) for bits in config.codec.start_bits])
            steps = one[:, None, None].expand(rates, ZONES, channels)
            deviation = deviations / steps
        self.network.to(device)
        self.network.eval().requires_grad_(False)
        bottleneck.requires_grad_(True).to(memory_format=torch.contiguous_format)  # as gradients
        prior = Prior(deviation.flatten(0, 1))
        self.trained = Trained(bottleneck, prior, steps.clone()).to(device)
        self._lambdas = config.codec.lambdas
        self.watched: tuple[str, ...] = ("loss_distance", "loss_features", *bits_names(rates))
        self.about: dict[str, object] = {
            "stage": "bottleneck",
            "model": self.network.settings.model_dump(mode="json"),
            "stem": fingerprint(self.network, "stem."),
            "lambdas": list(self._lambdas),
        }

    @property
    def module(self) -> Trained:
        """Transforms, prior and steps."""
        return self.trained

    def optimiser(self) -> torch.optim.AdamW:
        """AdamW with one rate; priors and steps learn faster than transforms."""
        return plain_optimiser(self.trained, self.config.optimiser, self.trained.quick())

    def losses(
        self, batch: Batch, rng: np.random.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Distance of the answers and bits, each sample at a rate drawn by chance."""
        network = self.network
        with torch.no_grad():
            p3, heat = network.look(batch.image)
            keep, _ = cut_by_seeker(batch, heat)
            halos = [self.config.patches.halo] * len(keep)
            ways = Ways.drawn(heat, keep, self._mark, len(self._lambdas), halos, rng)
            right = ways.area.gather(p3)
            want = network.detect_rows(right, ways.area)
        trained = self.trained
        rows, bits = coded(trained.bottleneck, trained.prior, trained.log_steps, p3, ways, rng)
        got = network.detect_rows(rows, ways.area)
        distance = answers_apart(want, got, keep)
        feature = F.mse_loss(rows, right) / right.var().clamp_min(1e-6)
        price = ways.a_cell(bits * bits.new_tensor(self._lambdas)[ways.rates])
        watched = {
            "loss_distance": distance.item(),
            "loss_features": feature.item(),
            **ways.bits_by_rate(bits),
        }
        return distance + FEATURE_WEIGHT * feature + price, watched


@dataclass(frozen=True, slots=True)
class Ways:
    """How each told cell of the latents is coded.

    Attributes:
        area: The cells of P3 that are told: the kept ones and their halo.
        rates: Rate of each cell.
        zones: Its zone.
    """

    area: CellArea
    rates: Int64[Tensor, " n2"]
    zones: Int64[Tensor, " n2"]

    @classmethod
    def drawn(
        cls,
        heat: Float[Tensor, "b h w"],
        keep: Bool[Tensor, "b h w"],
        mark: float,
        rates: int,
        halos: Sequence[int],
        rng: np.random.Generator,
    ) -> Ways:
        """A rate for each sample by chance, and the zones of its cells.

        Args:
            heat: Logit of the heat.
            keep: The kept cells.
            mark: Heat that makes a cell worth the head.
            rates: How many there are.
            halos: How each sample's halo is chosen (`codec.zones`).
            rng: Source of chance.
        """
        marks, kept = ((heat.sigmoid() >= mark) & keep).cpu().numpy(), keep.cpu().numpy()
        maps = [zones_of(*one) for one in zip(marks, kept, halos, strict=True)]
        area = CellArea.of(torch.from_numpy(np.stack([told(one) for one in maps])).to(heat.device))
        zones = np.stack(maps)
        rows = area.rows[LATENT_LEVEL]
        _, h, w = area.shapes[LATENT_LEVEL]
        drawn = torch.from_numpy(rng.integers(rates, size=len(keep))).to(heat.device)
        own = torch.from_numpy(zones[zones != UNTOLD].astype(np.int64)).to(heat.device)
        return cls(area, drawn[rows // (h * w)], own)

    def a_cell(self, values: Float[Tensor, " n2"], rate: int | None = None) -> Float[Tensor, ""]:
        """The sum of some values of all cells, or those of a rate, over how many are in patches.

        Cells of the halo cost little and would hide what the others do.
        """
        here = torch.ones_like(self.rates, dtype=torch.bool) if rate is None else self.rates == rate
        return (values * here).sum() / (here & (self.zones != HALO)).sum().clamp_min(1)

    def bits_by_rate(self, bits: Float[Tensor, " n2"]) -> dict[str, float]:
        """Bits a cell in patches, of all and of each rate that was drawn, to watch."""
        of_all, *of_rate = bits_names(max(self.rates.tolist()) + 1)
        out = {of_all: self.a_cell(bits).item()}
        for rate in sorted(set(self.rates.tolist())):
            out[of_rate[rate]] = self.a_cell(bits, rate).item()
        return out


def bits_names(rates: int) -> tuple[str, ...]:
    """Names of the bits a cell: of all rates together, and of each."""
    return ("bits_per_cell", *(f"bits_per_cell_{rate}" for rate in range(rates)))


def coded(
    bottleneck: Bottleneck,
    prior: Prior,
    log_steps: Float[Tensor, "r z k"],
    p3: Float[Tensor, "b c h w"],
    ways: Ways,
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "n c 1 1"], Float[Tensor, " n2"]]:
    """P3 as the cloud will see it, and the bits that each cell of the latents takes.

    Rounding is passed by gradients as if it were not there; bits are those of latents with noise in
    its place.

    Args:
        bottleneck: The transforms.
        prior: Likelihoods, for each rate and zone.
        log_steps: Logarithms of the step sizes.
        p3: The stem's map.
        ways: How each cell is coded.
        rng: Source of the noise.
    """
    steps = log_steps.exp()[ways.rates, ways.zones]
    y = ways.area.gather(bottleneck.analysis(p3), LATENT_LEVEL).flatten(1) / steps
    noise = torch.from_numpy(rng.random(y.shape, np.float32)).to(y.device) - 0.5
    whole = y + (y.round().clamp(-128, 127) - y).detach()
    rows = bottleneck.synthesis(whole * steps, ways.area)
    return rows, prior.bits(y + noise, ways.rates * log_steps.shape[1] + ways.zones).sum(1)


def require_classes(folder: Path, network: Network, classes: tuple[str, ...]) -> None:
    """Refuse data of other classes than a bundle's.

    Raises:
        TrainingError: They differ.
    """
    if network.settings.classes != classes:
        raise TrainingError(
            f"{folder}: knows {', '.join(network.settings.classes)}, the data "
            f"{', '.join(classes)}; train on data with the bundle's classes"
        )


def with_bottleneck(folder: Path, codec: CodecSettings) -> Network:
    """A bundle's detector with an untrained bottleneck in it, also if the bundle has one."""
    given = Detector.from_bundle(folder).network
    network = Network(given.settings.model_copy(update={"codec": codec}))
    network.fold()
    state = {k: v for k, v in given.state_dict().items() if not k.startswith(BOTTLENECK)}
    network.load_state_dict(state, strict=False)
    return network


def fingerprint(network: Network, part: str = "") -> str:
    """Hash of a detector's weights, its bottleneck apart.

    Args:
        network: The detector.
        part: How the names of the weights begin that count. A bottleneck belongs to the stem whose
            P3 it codes; what comes after may have learned since.
    """
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        if key.startswith(part) and not key.startswith(BOTTLENECK):
            digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def answers_apart(
    want: tuple[Float[Tensor, "b a k"], Float[Tensor, "b a 4"]],
    got: tuple[Float[Tensor, "b a k"], Float[Tensor, "b a 4"]],
    keep: Bool[Tensor, "b h w"],
) -> Float[Tensor, ""]:
    """How far two answers are apart: classes as divergence, boxes as 1 - GIoU, by certainty."""
    kept = torch.cat([keep[:, :: 1 << i, :: 1 << i].flatten(1) for i in range(LEVELS)], 1)
    centres, _ = cell_centres((keep.shape[1], keep.shape[2]), keep.device)
    centres = centres.expand(len(keep), -1, -1)[kept]

    def boxes(distances: Tensor) -> Tensor:
        near = distances[kept]
        return torch.cat([centres - near[:, :2], centres + near[:, 2:]], 1)

    sure = want[0][kept].sigmoid()
    weight = sure.amax(1)
    norm = weight.sum().clamp_min(1.0)
    least = F.binary_cross_entropy(sure, sure, reduction="sum")
    classes = F.binary_cross_entropy_with_logits(got[0][kept], sure, reduction="sum") - least
    giou = generalized_box_iou_loss(boxes(got[1]), boxes(want[1]), reduction="none")
    out: Tensor = (classes + (giou * weight).sum()) / norm
    return out


@torch.no_grad()
def _principal_start(
    network: Network, config: TrainConfig, batches: list[Batch]
) -> Float[Tensor, " k"]:
    """Set the linear branches to principal components; returns the components' deviations."""
    bottleneck = network.bottleneck
    assert bottleneck is not None
    channels = bottleneck.synthesis.channels
    felt = _felt(network, config, batches)
    blocks = []
    for batch in batches:
        p3, heat = network.look(batch.image)
        keep, _ = cut_by_seeker(batch, heat)
        coarse = keep[:, ::2, ::2]
        b, c, h, w = p3.shape
        parts = p3.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1)
        blocks.append(parts[coarse].flatten(1))  # [n, 4 * c], corner by corner
    x = torch.cat(blocks)
    mean, weight = x.mean(0), felt.repeat(BLOCK)
    centred = (x - mean) * weight
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    k = bottleneck.analysis.linear.out_channels
    if k > len(values):
        raise TrainingError(
            f"codec.channels: at most {len(values)} for a P3 of {channels} channels, got {k}"
        )
    best = vectors[:, -k:].flip(1)  # [4 * c, k], largest first
    forward = (best * weight[:, None]).T  # [k, 4 * c]
    linear, spread = bottleneck.analysis.linear, bottleneck.synthesis.spread
    assert linear.bias is not None
    linear.weight.copy_(forward.view(k, 2, 2, channels).permute(0, 3, 1, 2))
    linear.bias.copy_(-forward @ mean)
    spread.weight.copy_(best / weight[:, None])
    spread.bias.copy_(mean)
    return torch.sqrt(values.flip(0)[:k].clamp_min(1e-12))


def _felt(network: Network, config: TrainConfig, batches: list[Batch]) -> Float[Tensor, " c"]:
    """How much the detection loss feels each channel of P3; mean 1."""
    squares: Tensor = torch.zeros(network.stem.channels)
    hooked: list[Tensor] = []

    def note(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> Tensor:
        hooked.append(out.detach().requires_grad_())
        return hooked[-1]

    hook = network.stem.register_forward_hook(note)
    with torch.enable_grad():
        for batch in batches:
            loss = losses_of(network, batch, config)
            (grad,) = torch.autograd.grad(loss.classes + 2 * loss.boxes, hooked.pop())
            squares += grad.square().mean((0, 2, 3))
    hook.remove()
    felt = squares.sqrt()
    return torch.clamp_min(felt / felt.mean(), 0.05)


def _steps_for(deviations: Float[Tensor, " k"], bits: float) -> Float[Tensor, ""]:
    """The one step at which Gaussians of these deviations take so many bits a cell together."""
    low, high = float(deviations.min()) * 1e-3, float(deviations.max()) * 1e3
    for _ in range(60):
        step = (low * high) ** 0.5
        # Entropy of a Gaussian in bins of this step, above zero.
        took = torch.log2(1 + (deviations / step).square() * 17.08).sum() / 2
        low, high = (step, high) if took > bits else (low, step)
    return torch.tensor(low)
