"""The same frames as whole pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from tools.demo.rivals import Rivals

RNG = np.random.default_rng(5)


def draw(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{i}.png" for i in range(count)]
    for path in paths:
        coarse = RNG.integers(0, 255, (12, 20, 3), np.uint8)
        Image.fromarray(coarse).resize((200, 120), Image.Resampling.BICUBIC).save(path)
    return paths


def test_sizes_are_those_of_files_of_that_quality(tmp_path: Path) -> None:
    paths = draw(tmp_path, 3)
    with Rivals(paths) as rivals:
        sizes = rivals.sizes()
    assert list(sizes) == paths
    for path, size in sizes.items():
        plain = io.BytesIO()
        Image.open(path).save(plain, "JPEG", quality=75)
        assert 0.8 * plain.tell() < size.jpeg_bytes <= plain.tell()
        if features.check("avif"):
            assert size.avif_bytes is not None and 200 < size.avif_bytes < size.jpeg_bytes


def test_left_early_it_codes_no_more(tmp_path: Path) -> None:
    paths = draw(tmp_path, 1) * 1
    paths += [tmp_path / f"missing-{i}.png" for i in range(50)]
    with pytest.raises(KeyboardInterrupt), Rivals(paths):
        raise KeyboardInterrupt
