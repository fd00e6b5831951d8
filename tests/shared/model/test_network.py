"""Kept cells against whole maps, over the whole depth of the network."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from sparsight.errors import UsageError
from sparsight.model.network import Network, cell_centres
from sparsight.model.sparse import CellConv2d, CellMaxPool2d
from sparsight.model.trunk import in_tiles

NetworkOf = Callable[[str], Network]
JOINED = ["tf_efficientnet_lite0", "resnet18", "mobilenetv4_conv_small", "yolox_nano"]


def image_of(height: int, width: int, frames: int = 1) -> Tensor:
    torch.manual_seed(7)
    return torch.rand(frames, 3, height, width) * 255


def two_areas() -> Tensor:
    keep = torch.zeros(2, 16, 24, dtype=torch.bool)
    keep[0, 0:8, 4:12] = True
    keep[0, 4:12, 12:20] = True
    keep[1, 12:16, 20:24] = True
    return keep


def cells_of(keep: Tensor) -> Tensor:
    """Which of all cells of all levels are kept, level after level."""
    return torch.cat([keep[:, :: 1 << i, :: 1 << i].flatten(1) for i in range(3)], 1)


@contextmanager
def zeros_outside(network: Network, keep: Tensor) -> Iterator[None]:
    """Whole maps whose every layer after P3 sees nothing outside the kept area."""

    def blank(module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        step = keep.shape[2] // args[0].shape[3]
        nothing = -torch.inf if isinstance(module, CellMaxPool2d) else 0.0
        return (torch.where(keep[:, None, ::step, ::step], args[0], nothing),)

    parts = (network.trunk, network.neck, network.head)
    kinds = (CellConv2d, CellMaxPool2d)
    layers = [m for part in parts for m in part.modules() if isinstance(m, kinds)]
    hooks = [m.register_forward_pre_hook(blank) for m in layers]
    yield
    for hook in hooks:
        hook.remove()


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize("backbone", JOINED)
def test_everything_kept_is_the_whole_map(network_of: NetworkOf, backbone: str) -> None:
    network, image = network_of(backbone), image_of(128, 192, 2)
    with torch.no_grad():
        want = network(image)
        got = network(image, torch.ones(2, 16, 24, dtype=torch.bool))
    assert want[1].std() > 0.1, "logits that hardly differ would prove nothing"
    for a, b in zip(got, want, strict=True):
        close(a, b)


@pytest.mark.parametrize("backbone", JOINED)
def test_a_kept_area_is_the_whole_map_with_zeros_outside(
    network_of: NetworkOf, backbone: str
) -> None:
    network, image, keep = network_of(backbone), image_of(128, 192, 2), two_areas()
    cells = cells_of(keep)
    with torch.no_grad():
        heat, logits, distances = network(image, keep)
        with zeros_outside(network, keep):
            want_heat, want_logits, want_distances = network(image)
        whole_logits = network(image)[1]
    close(heat, want_heat)
    close(logits[cells], want_logits[cells])
    close(distances[cells], want_distances[cells])
    assert not logits[~cells].any()
    # The rule shows: cells at the edge of the area know nothing of what lies beyond it.
    assert (logits - whole_logits)[cells].abs().max() > 0.01


def test_gradients_are_those_of_the_whole_map_with_zeros_outside(network: Network) -> None:
    image, keep = image_of(128, 192, 2), two_areas()
    cells = cells_of(keep)
    pulls = torch.randn(2, cells.shape[1], 3), torch.randn(2, cells.shape[1], 4)

    def gradients(net: Network, kept: Tensor | None) -> dict[str, Tensor]:
        heat, logits, distances = net(image, kept)
        seen = (logits * pulls[0])[cells].sum() + (distances.log() * pulls[1])[cells].sum()
        (seen + heat.sum()).backward()
        return {k: p.grad for k, p in net.named_parameters() if p.grad is not None}

    got = gradients(copy.deepcopy(network), keep)
    other = copy.deepcopy(network)
    with zeros_outside(other, keep):
        want = gradients(other, None)
    assert got.keys() == want.keys()
    assert len(got) == len(list(network.parameters()))
    for name, g in want.items():
        error = (got[name] - g).abs().max() / g.abs().max().clamp(min=1e-3)
        assert error < 1e-3, f"{name}: {error:.1e}"


def test_freezing_the_stem_leaves_the_numbers_and_its_weights_alone(network: Network) -> None:
    image = image_of(64, 64)
    want = network(image)[1].detach()
    assert network.stem.freeze_below(8) > 0
    logits = network(image)[1]
    close(logits, want)
    logits.sum().backward()
    frozen = [p for p in network.stem.parameters() if not p.requires_grad]
    assert frozen and all(p.grad is None for p in frozen)
    assert any(p.grad is not None for p in network.trunk.parameters())


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "resnet18", "regnetx_002"])
def test_fold_changes_nothing(network_of: NetworkOf, backbone: str) -> None:
    network, image, keep = network_of(backbone), image_of(128, 192, 2), two_areas()
    with torch.no_grad():
        want = [*network(image), *network(image, keep)]
        network.fold()
        got = [*network(image), *network(image, keep)]
        network.fold()  # a second time is no mistake
        again = network(image)
    for a, b in zip(got, want, strict=True):
        close(a, b)
    assert torch.equal(again[1], got[1])


def test_stages_that_mix_cells_see_patches_alone(network_of: NetworkOf) -> None:
    network, image = network_of("efficientnet_b0"), image_of(128, 256)
    assert not network.trunk.joined
    keep = torch.ones(1, 16, 32, dtype=torch.bool)
    with torch.no_grad():
        p3 = network.stem(image)
        halves = [in_tiles(network.trunk, half) for half in p3.split(16, 3)]
        whole = in_tiles(network.trunk, p3)
        for level in range(2):
            close(whole[level], torch.cat([h[level] for h in halves], 3))
        p4, _ = network.trunk(p3)
        assert (p4 - whole[0]).abs().max() > 1e-3 * p4.abs().max()
        want = network.head(network.neck(p3, *whole))[0]
        close(network(image, keep)[1], want)


def test_sides_must_fit_the_strides(network: Network) -> None:
    with pytest.raises(UsageError, match=r"multiples of 32 px, got \(96, 100\)"):
        network(torch.zeros(1, 3, 96, 100))


def test_cells_are_centred_on_their_pixels() -> None:
    centres, strides = cell_centres((8, 4), torch.device("cpu"))
    assert len(centres) == 32 + 8 + 2
    assert centres[0].tolist() == [4.0, 4.0]
    assert centres[1].tolist() == [12.0, 4.0]
    assert centres[32].tolist() == [8.0, 8.0]
    assert centres[-1].tolist() == [16.0, 48.0]
    assert strides.unique(return_counts=True)[1].tolist() == [32, 8, 2]
