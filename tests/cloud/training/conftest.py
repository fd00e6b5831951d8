"""What tests of training share."""

import json
from pathlib import Path

import pytest
import torch

from .scenes import draw_set

# The exporter to ONNX shows autograd a device that needs a thread, and a process with one can't be
# forked to train. Autograd looks once, on its first pass: this one, before any test.
torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of `scenes`, with the classes of the split bundle."""
    folder = draw_set(tmp_path_factory.mktemp("codec") / "set")
    raw = json.loads((folder / "squares.json").read_text())
    raw["categories"].append({"id": 3, "name": "green"})
    (folder / "squares.json").write_text(json.dumps(raw))
    return folder
