"""Codec and detector trained together, a dense detector as their teacher.

    crop ─┬─ teacher, the whole frame ─────────────────────────────────────────> answer, right
          │                                                                         │ distance
          └─ stem, seeker ─ kept area ─ codec at a rate ─ trunk, neck, head ──> answer ─ labels

loss = 1/2 of the labels' loss + distance to the teacher's answers + lambda of the rate * bits a
latent cell in the patches. The teacher sees the whole frame, so what cutting costs is learned away
with what coding costs; some samples skip the codec and its halo, so that the deep part stays good
at both. With `model.learn: cloud` stem and seeker stay as the start has them, and the teacher looks
through them too; with `all` the stem learns to give what is worth its bits, and the seeker to read
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sparsight.bundle import Manifest
from sparsight.errors import TrainingError
from sparsight.model.bottleneck import LATENT_LEVEL
from sparsight.model.detector import Detector
from sparsight.model.network import Network, cell_centres
from sparsight.model.sparse import CellArea
from sparsight_cloud.training.bottleneck import (
    FEATURE_WEIGHT,
    Ways,
    answers_apart,
    bits_names,
    coded,
    fingerprint,
    require_classes,
)
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.losses import detector_losses
from sparsight_cloud.training.pretrained import pretrained_state
from sparsight_cloud.training.prior import Prior
from sparsight_cloud.training.schedule import detector_optimiser
from sparsight_cloud.training.step import Batch, cut_by_seeker
from sparsight_cloud.training.tasks import train_mode
from sparsight_cloud.training.warm import start_from_bundle

LABEL_WEIGHT = 0.5
UNCODED = 0.2
"""Share of the samples that skip the codec and have no halo."""

NETWORK = "network."
"""How the names of the detector's weights begin in what is trained."""


class Together(nn.Module):
    """All that learns.

    Attributes:
        network: The detector with its bottleneck.
        prior: Likelihoods of the latents, for each rate and zone.
        log_steps: Logarithms of the step sizes of each rate, zone and channel.
    """

    def __init__(self, network: Network, prior: Prior, steps: Float[Tensor, "r z k"]) -> None:
        super().__init__()
        self.network = network
        self.prior = prior
        self.log_steps = nn.Parameter(steps.log())


class JointTask:
    """The bottleneck of a bundle with trunk, neck and head, or with all of the detector."""

    def __init__(
        self,
        config: TrainConfig,
        classes: tuple[str, ...],
        first: Iterable[Batch],
        device: torch.device,
        *,
        fresh: bool,
    ) -> None:
        """A network to train.

        Args:
            config: The run; `model.start` names the bundle to go on from, `model.teacher` the one
                to learn from, the start without, and `model.codec` the one whose codec to go on
                from, if the start has none.
            classes: Of the data; the bundles' must be the same.
            first: Some batches, to set up norms and likelihoods with.
            device: Where to compute.
            fresh: Whether the run begins; if not, a checkpoint brings the weights.

        Raises:
            BundleError: A bundle is missing or damaged.
            TrainingError: None was named, one of other classes, or none with a codec of as many
                rates as lambdas.
        """
        net = config.model
        if net.start is None:
            raise TrainingError(
                "model.start: expected the bundle that goes on learning, got none; name one"
            )
        self.config = config
        given = Detector.from_bundle(net.start)
        require_classes(net.start, given.network, classes)
        assert given.manifest is not None
        self._mark = given.manifest.mark
        self.teacher = given.network
        if net.teacher is not None:
            self.teacher = Detector.from_bundle(net.teacher).network
            require_classes(net.teacher, self.teacher, classes)
        self._alike = net.learn == "cloud" and net.teacher is None
        before, manifest = _codec_of(net.codec or net.start, len(config.codec.lambdas))
        settings = given.network.settings.model_copy(update={"codec": before.settings.codec})
        network = Network(settings, pretrained_state(net.pretrained, settings.backbone))
        steps = torch.tensor([rate.steps for rate in manifest.rates])
        deviation = torch.ones_like(steps)
        if fresh:
            batches = list(first)
            start_from_bundle(network, net.start, batches)
            assert network.bottleneck is not None and before.bottleneck is not None
            network.bottleneck.load_state_dict(before.bottleneck.state_dict())
            deviation = _deviations(network.eval(), batches) / steps  # norms are to stay
        self.teacher.to(device)
        network.to(device)
        network.stem.freeze_below(net.freeze_below_stride)
        train_mode(network)
        if net.learn == "cloud":
            for part in (network.stem, network.seeker):
                part.eval().requires_grad_(False)
        prior = Prior(deviation.flatten(0, 1))
        self.together = Together(network, prior, steps).to(device)
        self._lambdas = config.codec.lambdas
        losses = ("distance", "features", "classes", "boxes", "seeker")
        self.watched: tuple[str, ...] = (
            *(f"loss_{name}" for name in losses),
            *bits_names(len(self._lambdas)),
        )
        self.about: dict[str, object] = {
            "stage": "joint",
            "model": settings.model_dump(mode="json"),
            "stem": fingerprint(given.network, "stem."),
            "learn": net.learn,
            "lambdas": list(self._lambdas),
        }

    @property
    def module(self) -> Together:
        """Detector, prior and steps."""
        return self.together

    def optimiser(self) -> torch.optim.AdamW:
        """AdamW with a lower rate for the backbone; priors and steps learn fastest."""
        t = self.together
        quick = (*t.prior.parameters(), t.log_steps)
        return detector_optimiser(t.network, self.config.optimiser, quick)

    def losses(
        self, batch: Batch, rng: np.random.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Labels, distance to the teacher and bits, each sample at a rate drawn by chance."""
        t = self.together
        assert t.network.bottleneck is not None
        p3, heat = t.network.look(batch.image)
        keep, labels = cut_by_seeker(batch, heat)
        with torch.no_grad():
            want = self.teacher.detect(p3 if self._alike else self.teacher.stem(batch.image))
        bare = rng.random(len(keep)) < UNCODED
        halos = np.where(bare, 0, self.config.patches.halo).tolist()
        ways = Ways.drawn(heat, keep, self._mark, len(self._lambdas), halos, rng)
        rows, bits = coded(t.network.bottleneck, t.prior, t.log_steps, p3, ways, rng)
        area = ways.area
        right = area.gather(p3)
        skips = torch.from_numpy(bare).to(p3.device)
        _, h, w = area.shapes[0]
        seen = torch.where(skips[area.rows[0] // (h * w)][:, None, None, None], right, rows)
        got = t.network.detect_rows(seen, area)
        centres, strides = cell_centres((h, w), p3.device)
        told = detector_losses(heat, *got, centres, strides, labels)
        distance = answers_apart(want, got, keep)
        real = right.detach()  # P3 is not to move towards its copy
        feature = F.mse_loss(rows, real) / real.var().clamp_min(1e-6)
        price = ways.a_cell(bits * bits.new_tensor(self._lambdas)[ways.rates])
        total = LABEL_WEIGHT * told.total + distance + FEATURE_WEIGHT * feature + price
        return total, {
            "loss_distance": distance.item(),
            "loss_features": feature.item(),
            "loss_classes": told.classes.item(),
            "loss_boxes": told.boxes.item(),
            "loss_seeker": told.seeker.item(),
            **ways.bits_by_rate(bits),
        }


def _codec_of(folder: Path, rates: int) -> tuple[Network, Manifest]:
    """The network and manifest of a bundle with a codec of so many rates."""
    given = Detector.from_bundle(folder)
    if given.network.bottleneck is None or given.manifest is None or not given.manifest.rates:
        raise TrainingError(
            f"{folder}: has no codec to go on from; train one with `stage: bottleneck`, or name a "
            "bundle with one as `model.codec`"
        )
    if len(given.manifest.rates) != rates:
        raise TrainingError(
            f"codec.lambdas: expected {len(given.manifest.rates)}, one for each rate of {folder}, "
            f"got {rates}"
        )
    return given.network, given.manifest


@torch.no_grad()
def _deviations(network: Network, batches: list[Batch]) -> Float[Tensor, " k"]:
    """Standard deviation of each channel of the latents in the patches of some batches."""
    assert network.bottleneck is not None
    seen = []
    for batch in batches:
        p3, heat = network.look(batch.image)
        keep, _ = cut_by_seeker(batch, heat)
        latents = network.bottleneck.analysis(p3)
        seen.append(CellArea.of(keep).gather(latents, LATENT_LEVEL).flatten(1))
    return torch.cat(seen).std(0).clamp_min(1e-6)
