"""A user's YOLOX checkpoint as a bundle to fine-tune.

    yolox_*.pth ─ tensors only ─ size by their shapes ─┬─ backbone ─ first layer in our terms ─┐
                                                       └─ neck, head: left, ours are others    │
    bundle <─ half precision <─ Network: stem, trunk as given; seeker, neck, head untrained <──┘

YOLOX is given blue, green, red from 0 to 255. Its first layer takes that up here: the channels of
its weights change places and are multiplied by 255, so that frames come as red, green, blue from 0
to 1 and every map of the backbone is what it was.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sparsight.bundle import Manifest
from sparsight.errors import BundleError
from sparsight.model.network import Network
from sparsight.model.yolox import YOLOX, CspDarknet, YoloxSize
from sparsight.settings import DetectSettings, ModelSettings
from sparsight_cloud.training.export import write_detector

FILE_BYTES_MAX = 2 << 30
"""The largest there is, YOLOX-X with its optimiser, takes 0.8 GB."""

CLASSES_MAX = 10_000
BACKBONE = "backbone.backbone."
FIRST = "stem.conv.conv.weight"
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
"""What goes with the first layer in our terms."""

_NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
_EXPECTED = "expected one of Megvii's YOLOX (nano, tiny, s, m, l or x), as its trainer writes"


@dataclass(frozen=True, slots=True)
class YoloxCheckpoint:
    """What is of use in a checkpoint.

    Attributes:
        backbone: Its name in `sparsight.model.yolox.YOLOX`.
        state: The backbone's tensors under our names, the first layer in our terms.
        classes: How many its head tells apart.
        left: How many tensors of neck and head are not carried over.
    """

    backbone: str
    state: dict[str, Tensor]
    classes: int
    left: int


def read_yolox(file: Path) -> YoloxCheckpoint:
    """Read a checkpoint; nothing in it is run.

    Raises:
        BundleError: It can't be read, holds more than tensors, or is of another model.
    """
    state = _tensors(file)
    name = _name_of(file, state)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in CspDarknet(YOLOX[name]).state_dict().items()}
    shapes[FIRST] = torch.Size((YOLOX[name].width, 12, 3, 3))
    given = {k.removeprefix(BACKBONE): v for k, v in state.items() if k.startswith(BACKBONE)}
    for key, shape in shapes.items():
        value = given.get(key)
        if value is None or value.shape != shape:
            came = "none" if value is None else list(value.shape)
            raise BundleError(
                f"{file}: {BACKBONE}{key} of {name} has shape {list(shape)}, got {came}; "
                f"{_EXPECTED}"
            )
        if not value.isfinite().all():
            raise BundleError(f"{file}: {BACKBONE}{key} holds values that are no numbers")
        if key.endswith("running_var") and (value < 0).any():
            raise BundleError(f"{file}: {BACKBONE}{key} holds variances below 0; it is damaged")
    predict = state.get("head.cls_preds.0.weight")
    classes = 0 if predict is None or predict.ndim != 4 else min(len(predict), CLASSES_MAX)
    kept = {k: v.float() if v.is_floating_point() else v for k, v in given.items() if k in shapes}
    kept[FIRST] = first_layer(kept[FIRST].float())
    return YoloxCheckpoint(name, kept, classes, len(state) - len(kept))


def first_layer(weight: Float[Tensor, "w 12 3 3"]) -> Float[Tensor, "w 3 6 6"]:
    """YOLOX's 3x3 over pixels sorted by the parity of their place, as a 6x6 of stride 2.

    Args:
        weight: Of twelve channels: top left, bottom left, top right, bottom right pixels, each
            blue, green, red from 0 to 255.

    Returns:
        Of red, green, blue from 0 to 1.
    """
    # Channels are (right, bottom, colour); a pixel lies 2 * tap + parity from the kernel's corner.
    parts = weight.view(-1, 2, 2, 3, 3, 3).flip(3)
    return parts.permute(0, 3, 4, 2, 5, 1).reshape(-1, 3, 6, 6) * 255


def import_yolox(
    checkpoint: YoloxCheckpoint, file: Path, out: Path, *, classes: tuple[str, ...], name: str
) -> Manifest:
    """Write a bundle whose stem and trunk are the checkpoint's.

    Args:
        checkpoint: As read.
        file: Where it came from, for messages and the card.
        out: Folder of the bundle.
        classes: Names of the classes, of the untrained head.
        name: For people.

    Raises:
        TrainingError: Its weights don't fit half precision.
    """
    settings = ModelSettings(backbone=checkpoint.backbone, classes=classes, mean=MEAN, std=STD)
    network = Network(settings, checkpoint.state).eval()
    card = _card(checkpoint, file.name, name)
    return write_detector(network, out, source=file, name=name, card=card, detect=DetectSettings())


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        size = file.stat().st_size
    except OSError as e:
        raise BundleError(f"{file}: can't be read ({e.strerror}); {_EXPECTED}") from e
    size = max(size, _unpacked_bytes(file))
    if size > FILE_BYTES_MAX:
        raise BundleError(f"{file}: {size:,} bytes, more than any YOLOX has ({FILE_BYTES_MAX:,})")
    # Its trainer writes the AP as a number of numpy's. Nothing else is let in beside tensors.
    numbers: list[Any] = [
        (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
        (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
        np.dtype,
        type(np.dtype(np.float64)),
        type(np.dtype(np.float32)),
    ]
    # What a damaged or hostile file makes of the reader is of any kind.
    try:
        with torch.serialization.safe_globals(numbers):
            raw = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as e:
        # What torch says advises to open such files all the same.
        raise BundleError(
            f"{file}: is damaged, or holds more than tensors ({type(e).__name__}), which is not "
            f"opened; {_EXPECTED}"
        ) from e
    model = raw.get("model", raw) if isinstance(raw, dict) else None
    if not isinstance(model, dict) or not model:
        raise BundleError(f"{file}: holds no model; {_EXPECTED}")
    return {
        k.removeprefix("module."): v
        for k, v in model.items()
        if isinstance(k, str) and isinstance(v, Tensor) and _is_plain(v)
    }


def _unpacked_bytes(file: Path) -> int:
    """What a file says it holds. Torch unpacks what is packed, a thousand times its size."""
    try:
        with zipfile.ZipFile(file) as packed:
            return sum(entry.file_size for entry in packed.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return 0  # not packed, or nothing that torch opens either


def _is_plain(value: Tensor) -> bool:
    """Whether it is numbers in memory. A file may say that a tensor has none, or is a list."""
    there = value.layout is torch.strided and value.device.type == "cpu" and not value.is_nested
    return there and value.dtype in _NUMBERS


def _name_of(file: Path, state: Mapping[str, Tensor]) -> str:
    first = state.get(f"{BACKBONE}{FIRST}")
    if first is None or first.ndim != 4:
        raise BundleError(f"{file}: has no {BACKBONE}{FIRST}; {_EXPECTED}")
    blocks = {key.split(".")[5] for key in state if key.startswith(f"{BACKBONE}dark2.1.m.")}
    depthwise = f"{BACKBONE}dark2.0.dconv.conv.weight" in state
    found = YoloxSize(first.shape[0], len(blocks), depthwise)
    for name, size in YOLOX.items():
        if size == found:
            return name
    raise BundleError(
        f"{file}: a YOLOX of {found.width} channels, {found.depth} blocks"
        f"{', depth-wise' if depthwise else ''} is none of {', '.join(YOLOX)}; train one of these"
    )


def _card(checkpoint: YoloxCheckpoint, file: str, name: str) -> str:
    return f"""# {name}

Imported from `{file}`, a {checkpoint.backbone} of {checkpoint.classes} classes, to be fine-tuned.

- from the checkpoint: stem and trunk, all of its backbone; the numbers are the same, frames come
  as red, green, blue
- untrained: seeker, neck and head. Ours are of another make; {checkpoint.left} tensors of the
  checkpoint are not in here. It finds nothing of use before it was trained
- licence: that of the checkpoint; YOLOX's own are Apache-2.0

{recipe_of(checkpoint.backbone, "THIS FOLDER")}"""


def recipe_of(backbone: str, folder: str) -> str:
    """What to put into a training configuration, in YAML.

    Args:
        backbone: Name of the imported backbone.
        folder: Where its bundle is.
    """
    mean, std = list(MEAN), list(STD)
    return (
        f"    model:\n      backbone: {backbone}\n      start: {folder}\n"
        f"      pretrained: none\n      mean: {mean}\n      std: {std}\n"
    )
