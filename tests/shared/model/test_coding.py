"""The codec's two ends: through bytes a map is what the rounding alone makes of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.split import LONG_SIDE_PX, STEPS, ZONE_STEPS, scene
from torch import Tensor

from sparsight.codec.payload import CodedFrame, decode, encode
from sparsight.codec.zones import UNTOLD
from sparsight.errors import UsageError
from sparsight.geometry import Letterbox
from sparsight.model.coding import FrameCodec, kept_of
from sparsight.model.detector import Detector
from sparsight.model.passes import Kept
from sparsight.model.sparse import CellArea
from sparsight.pictures import letterbox
from sparsight.slicer import Patches

BUNDLE = "ab" * 32


@pytest.fixture(scope="module")
def detector(split_bundle: Path) -> Detector:
    return Detector.from_bundle(split_bundle)


@pytest.fixture(scope="module")
def codec(detector: Detector) -> FrameCodec:
    assert detector.codec is not None
    return detector.codec


@pytest.fixture(scope="module")
def p3(detector: Detector) -> Tensor:
    frame = scene(20)
    image = letterbox(frame, Letterbox.fit((frame.shape[0], frame.shape[1]), LONG_SIDE_PX))
    with torch.no_grad():
        out: Tensor = detector.network.stem(torch.from_numpy(image).permute(2, 0, 1)[None])
    return out


def kept(p3: Tensor, *origins: tuple[int, int]) -> Kept:
    """Patches of 8x8 cells; every third cell marked, also outside of them."""
    grid = (p3.shape[2], p3.shape[3])
    at = np.array(origins, np.int32).reshape(-1, 2)
    marks = np.arange(grid[0] * grid[1]).reshape(grid) % 3 == 0
    return Kept(Patches(at, np.zeros(len(at), np.float32), (8, 8), grid), marks)


def area(*some: Kept) -> CellArea:
    return CellArea.of(torch.from_numpy(np.stack([k.area() for k in some])))


def told_zones(coded: CodedFrame) -> list[int]:
    zones = coded.zones()
    told: list[int] = zones[zones != UNTOLD].tolist()
    return told


@torch.no_grad()
def straight(codec: FrameCodec, p3: Tensor, some: Kept, coded: CodedFrame) -> Tensor:
    """P3 as the cloud would see it, with no tables and no bytes between."""
    steps = codec.steps[coded.rate][told_zones(coded)]
    cells = area(some).gather(codec.bottleneck.analysis(p3), 1).flatten(1)
    whole = (cells / steps).round().clamp(-128, 127)
    out: Tensor = codec.bottleneck.synthesis(whole * steps, area(some))
    return out


@torch.no_grad()
def test_bytes_between_the_halves_change_nothing(codec: FrameCodec, p3: Tensor) -> None:
    some = [kept(p3, (0, 4), (4, 8)), kept(p3, (8, 24)), kept(p3, (0, 0), (0, 16), (8, 4))]
    some[:2] = [replace(k, halo=halo) for k, halo in zip(some, (1, 9), strict=False)]
    assert [bool((k.area() > k.patches.union()).any()) for k in some] == [True, True, False]
    frames = []
    for rate, k in enumerate(some):
        coded = codec.code(p3, k, rate)
        frames.append(decode(encode(coded, codec.tables, BUNDLE), codec.tables))
        np.testing.assert_array_equal(frames[-1].marks, k.marks & k.patches.union())
        again = kept_of(frames[-1])
        np.testing.assert_array_equal(again.patches.origins_yx, k.patches.origins_yx)
        assert again.halo == k.halo
        assert (again.patches.size_hw, again.patches.grid_hw) == ((8, 8), k.patches.grid_hw)
    rows = codec.rows(frames, area(*some))  # three rates in one batch, each with its own steps
    want = torch.cat([straight(codec, p3, *pair) for pair in zip(some, frames, strict=True)])
    torch.testing.assert_close(rows, want, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_cell_is_told_as_finely_as_its_zone_has_it(codec: FrameCodec, p3: Tensor) -> None:
    marks = np.zeros((p3.shape[2], p3.shape[3]), np.bool_)
    marks[6::8, 3::4] = True
    where = replace(kept(p3, *((0, x) for x in range(0, 32, 8))), marks=marks, halo=1)
    frame = codec.code(p3, where, 1)
    frame = decode(encode(frame, codec.tables, BUNDLE), codec.tables)
    seen: list[Tensor] = []
    hook = codec.bottleneck.synthesis.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    codec.rows([frame], area(where))
    hook.remove()
    unclipped = torch.from_numpy((frame.latents.T > -128) & (frame.latents.T < 127))
    off = (seen[0] - area(where).gather(codec.bottleneck.analysis(p3), 1).flatten(1)).abs()
    zones = torch.tensor(told_zones(frame))[:, None]
    for zone, step in enumerate(ZONE_STEPS):
        worst = off[unclipped & (zones == zone)].max()  # of many, it comes near half a step
        assert float(worst) == pytest.approx(step * STEPS[1] / 2, rel=0.1)


@torch.no_grad()
def test_rates_order_the_bytes(codec: FrameCodec, p3: Tensor) -> None:
    every = kept(p3, *((y, x) for y in range(0, p3.shape[2] - 4, 8) for x in range(0, 32, 8)))
    sizes = [
        len(encode(codec.code(p3, every, rate), codec.tables, BUNDLE)) for rate in range(len(STEPS))
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1.2 * sizes[-1]


@torch.no_grad()
def test_a_frame_with_nothing_in_it_is_tens_of_bytes(codec: FrameCodec, p3: Tensor) -> None:
    coded = codec.code(p3, kept(p3), 0)
    data = encode(coded, codec.tables, BUNDLE)
    assert len(data) == 27
    assert codec.rows([decode(data, codec.tables)], area(kept(p3))).shape[0] == 0


@torch.no_grad()
def test_a_latent_beyond_a_byte_is_the_nearest_byte(codec: FrameCodec, p3: Tensor) -> None:
    some = kept(p3, (0, 0))
    coded = codec.code(p3 * 1000, some, 1)
    assert (coded.latents == 127).any()
    assert (coded.latents == -128).any()
    encode(coded, codec.tables, BUNDLE)


@torch.no_grad()
def test_a_rate_that_is_none(codec: FrameCodec, p3: Tensor) -> None:
    for rate in (-1, 3):
        with pytest.raises(UsageError, match=f"expected 0 to 2, the finest first, got {rate}"):
            codec.code(p3, kept(p3, (0, 0)), rate)
