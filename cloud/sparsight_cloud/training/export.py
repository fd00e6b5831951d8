"""A checkpoint as a bundle.

    last.safetensors ─ averaged weights (ema/...) ─> network ─ norms folded, 16 bits ─> bundle

The network is built from the checkpoint's own words; neither data nor pretrained weights are
needed.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from sparsight.bundle import WEIGHTS, Manifest, write_bundle
from sparsight.errors import TrainingError, UsageError
from sparsight.model.detector import Detector, save_weights
from sparsight.model.network import Network
from sparsight.settings import DetectSettings, ModelSettings
from sparsight_cloud.training.checkpoint import Progress, read_checkpoint

AVERAGE = "ema/"


def bundle_from_checkpoint(
    checkpoint: Path, out: Path, *, name: str, card: str, detect: DetectSettings
) -> Manifest:
    """Write the averaged weights of a run as a bundle.

    Args:
        checkpoint: A run's `last.safetensors`, of any step.
        out: Folder of the bundle; what a bundle consists of is overwritten there.
        name: For people.
        card: Text of the card: data, its licence, figures, limits.
        detect: How the bundle wants to be run.

    Raises:
        TrainingError: No checkpoint, or one whose weights don't fit its model or half precision.
    """
    return write_detector(
        averaged_network(checkpoint), out, source=checkpoint, name=name, card=card, detect=detect
    )


def write_detector(
    network: Network, out: Path, *, source: Path, name: str, card: str, detect: DetectSettings
) -> Manifest:
    """Write a network as a bundle; folds it.

    Args:
        network: Without a bottleneck.
        out: Folder of the bundle; what a bundle consists of is overwritten there.
        source: Where its weights came from, for messages.
        name: For people.
        card: Text of the card.
        detect: How the bundle wants to be run.

    Raises:
        TrainingError: Its weights don't fit half precision.
        UsageError: The folder can't be made.
    """
    detector = Detector(network, detect)
    for key, value in detector.network.state_dict().items():
        if value.is_floating_point() and not value.half().isfinite().all():
            raise TrainingError(
                f"{source}: {key} holds values beyond half precision; the run has diverged, "
                "lower `lr` and train again"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UsageError(f"{out}: can't be made ({e.strerror}); give another folder") from e
    save_weights(detector.network, out / WEIGHTS)
    (out / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone; a bundle is to be shared
    return write_bundle(out, network.settings, detect, name=name, card=card)


def averaged_network(checkpoint: Path, part: str = "") -> Network:
    """The network of a run with its averaged weights, norms not folded yet, ready to evaluate.

    Args:
        checkpoint: A run's `last.safetensors`.
        part: How the names of the network's weights begin in what was trained.

    Raises:
        TrainingError: No checkpoint, or one whose weights don't fit its model.
    """
    progress, tensors = read_checkpoint(checkpoint, AVERAGE + part)
    network = Network(_settings(checkpoint, progress))
    # Counters are not averaged; what they count is of no use here.
    state = network.state_dict()
    weights = {k.removeprefix(AVERAGE + part): v for k, v in tensors.items()}
    counters = {k: v for k, v in state.items() if not v.is_floating_point()}
    try:
        network.load_state_dict(counters | weights)
    except RuntimeError as e:
        problem = " ".join(str(e).splitlines()[1].split())
        raise TrainingError(f"{checkpoint}: does not fit its own model ({problem})") from e
    return network.eval()


def _settings(checkpoint: Path, progress: Progress) -> ModelSettings:
    try:
        return ModelSettings.model_validate(progress.about.get("model"))
    except ValidationError as e:
        problem = e.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "model"
        raise TrainingError(
            f"{checkpoint}: says nothing usable about its model ({where}: {problem['msg']}); "
            "it is of another version of this program"
        ) from e
