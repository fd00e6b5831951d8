"""The stem in strips against the stem as a whole."""

from collections.abc import Callable

import pytest
import torch

from sparsight.model import strips
from sparsight.model.network import Network

NetworkOf = Callable[[str], Network]


@pytest.mark.parametrize(
    "backbone",
    [
        "tf_efficientnet_lite0",
        "resnet18",
        "mobilenetv4_conv_small",
        "efficientnet_b0",
        "swin_tiny_patch4_window7_224",
    ],
)
def test_strips_give_the_numbers_of_the_whole(
    network_of: NetworkOf, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Strips and bands of a few rows, as a large frame would have them.
    monkeypatch.setattr(strips, "STRIP_BYTES", 1 << 14)
    monkeypatch.setattr(strips, "MAP_BYTES", 1 << 17)
    stem = network_of(backbone).stem
    for hw in ((256, 96), (32, 64), (96, 32)):
        image = torch.rand(1, 3, *hw) * 255
        with torch.no_grad():
            got = stem(image)
            want = stem.units(stem.normalise(image))
        want = want.permute(0, 3, 1, 2) if stem.nhwc else want
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
        assert got.shape[2:] == (hw[0] // 8, hw[1] // 8)


def test_bytes_and_floats_are_the_same_picture(network: Network) -> None:
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(network.stem(image), network.stem(image.float()))


def test_pixels_are_normalised_as_the_settings_say(network: Network) -> None:
    image = torch.full((1, 3, 32, 32), 255.0)
    assert torch.allclose(network.stem.normalise(image), torch.ones(()))
    assert torch.allclose(network.stem.normalise(image * 0), -torch.ones(()))
