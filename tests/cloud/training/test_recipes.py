import re
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsight.geometry import Letterbox
from sparsight.model.cost import Cost
from sparsight.model.network import Network
from sparsight.settings import ModelSettings
from sparsight.slicer import Patches
from sparsight_cloud.training.config import find_config, load_config, recipes

# Classes, as the readers have them, and the long side of the paper (ESOD, table I and section IV).
PAPER = {"visdrone": (10, 1536), "uavdt": (3, 1280), "tinyperson": (1, 2048)}

STATED = re.compile(
    r"a frame of (?P<w>\d+)x(?P<h>\d+): dense (?P<dense>[\d.]+); at occupancy 0.2 at most "
    r"(?P<low>[\d.]+), at 0.4 at most (?P<high>[\d.]+)"
)


def kept_share(grid_hw: tuple[int, int], share: float) -> Patches:
    """Patches of the smallest size over so much of a grid, without overlap."""
    rows, columns = np.mgrid[0 : grid_hw[0] : 4, 0 : grid_hw[1] : 4].astype(np.int32)
    origins = np.stack([rows.ravel(), columns.ravel()], 1)
    origins = origins[: round(share * len(origins))]
    return Patches(origins, np.ones(len(origins), np.float32), (4, 4), grid_hw)


def test_there_is_a_recipe_for_each_of_the_papers_sets() -> None:
    assert set(recipes()) == set(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_recipe_states_its_data_command_time_and_true_gflops(name: str) -> None:
    classes, long_side_px = PAPER[name]
    file, base = find_config(name)
    assert base == Path.cwd()
    config = load_config(file, base=base)
    assert config.crop.long_side_px == long_side_px
    assert config.data.annotations.is_relative_to(base)
    text = file.read_text(encoding="utf-8")
    assert f"sparsight train {name}" in text
    assert f"{config.minutes:g} minutes" in text
    stated = STATED.search(" ".join(re.sub(r"(?m)^#", "", text).split()))
    assert stated is not None

    with torch.device("cpu"):
        settings = ModelSettings(
            backbone=config.model.backbone,
            neck_channels=config.model.neck_channels,
            classes=tuple(map(str, range(classes))),
        )
        cost = Cost.of(Network(settings))
    grid_hw = Letterbox.fit((int(stated["h"]), int(stated["w"])), long_side_px).cells_hw
    assert float(stated["dense"]) == pytest.approx(cost.dense_gflops(grid_hw), abs=0.06)
    for share, key in ((0.2, "low"), (0.4, "high")):
        patches = kept_share(grid_hw, share)
        cells = int(patches.union().sum())
        head = cells * 21 // 16
        counted = cost.split_gflops(patches, cells, head, head)
        assert float(stated[key]) == pytest.approx(counted, abs=0.06)
