"""Convolutions on kept cells against the same convolutions on whole maps with zeros outside."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sparsight.model.sparse import AreaHolder, CellArea, CellConv2d

AREAS = {
    "all": ((0, 12, 0, 16),),
    "two": ((0, 8, 0, 8), (4, 12, 8, 16)),
    "corner": ((8, 12, 12, 16),),
}


def area_of(name: str, frames: int = 2) -> tuple[Tensor, CellArea]:
    keep = torch.zeros(frames, 12, 16, dtype=torch.bool)
    for y0, y1, x0, x1 in AREAS[name]:
        keep[:, y0:y1, x0:x1] = True
    keep[-1] = False  # a frame of which nothing is kept
    keep[-1, 4:8, 4:8] = True
    return keep, CellArea.of(keep)


def rows_of(whole: Tensor, area: CellArea, level: int) -> Tensor:
    return whole.permute(0, 2, 3, 1).flatten(0, 2)[area.rows[level]]


def reference(conv: CellConv2d, x: Tensor, keep: Tensor) -> Tensor:
    """Whole map, zeros outside what is kept; TensorFlow's padding written out."""
    weight = conv.weight if conv.scale is None else conv.weight * conv.scale[:, None, None, None]
    x = x * keep[:, None]
    k, s = conv.kernel_size[0], conv.stride[0]
    if conv.same:
        total = max(0, k - s)
        x = F.pad(x, (total // 2, total - total // 2, total // 2, total - total // 2))
        return F.conv2d(x, weight, conv.bias, s, groups=conv.groups)
    return F.conv2d(x, weight, conv.bias, s, k // 2, groups=conv.groups)


@pytest.mark.parametrize("area_name", AREAS)
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize(
    ("kernel", "stride", "same"),
    [
        (1, 2, False),
        (3, 1, False),
        (3, 2, False),
        (3, 2, True),
        (5, 1, False),
        (5, 1, True),
        (5, 2, False),
        (5, 2, True),
    ],
)
def test_numbers_and_gradients_are_those_of_the_whole_map(
    kernel: int, stride: int, groups: int, same: bool, area_name: str
) -> None:
    torch.manual_seed(0)
    holder = AreaHolder()
    conv = CellConv2d(
        8, 8, kernel, stride, holder=holder, level=0, groups=groups, bias=True, same=same
    )
    conv.scale = torch.nn.Parameter(torch.rand(8) + 0.5)
    keep, area = area_of(area_name)
    x = torch.randn(2, 8, 12, 16, requires_grad=True)
    level = stride - 1

    with holder.keeping(area):
        got = conv(area.gather(x)).flatten(1)
    want = rows_of(reference(conv, x, keep), area, level)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)

    assert conv.bias is not None and conv.scale is not None
    about = [x, conv.weight, conv.bias, conv.scale]
    pull = torch.randn_like(want)
    for a, b in zip(
        torch.autograd.grad(got, about, pull), torch.autograd.grad(want, about, pull), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert holder.now is None


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_convolution_of_a_deeper_level_looks_up_its_own_cells(level: int) -> None:
    torch.manual_seed(1)
    holder = AreaHolder()
    conv = CellConv2d(4, 6, 3, holder=holder, level=level)
    keep, area = area_of("two")
    step = 1 << level
    keep = keep[:, ::step, ::step]
    x = torch.randn(2, 4, 12 // step, 16 // step)
    with torch.no_grad(), holder.keeping(area):
        got = conv(area.gather(x, level)).flatten(1)
    with torch.no_grad():
        torch.testing.assert_close(
            got, rows_of(reference(conv, x, keep), area, level), rtol=1e-4, atol=1e-5
        )


def test_without_an_area_it_is_a_plain_convolution() -> None:
    conv = CellConv2d(4, 6, 3, 2, holder=AreaHolder(), bias=True)
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, 2, 1))


def test_tensorflow_padding_puts_the_odd_zero_last() -> None:
    conv = CellConv2d(1, 1, 3, 2, holder=AreaHolder(), same=True)
    torch.nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 0] = 1.0  # the first tap of the first output: there is no zero before it
    assert conv(x)[0, 0].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_fold_multiplies_the_scale_in() -> None:
    conv = CellConv2d(4, 6, 3, holder=AreaHolder(), bias=True)
    conv.scale = torch.nn.Parameter(torch.rand(6) + 0.5)
    x = torch.randn(1, 4, 8, 8)
    want = conv(x)
    conv.fold()
    assert conv.scale is None
    torch.testing.assert_close(conv(x), want)


def test_upsampling_gives_each_cell_its_parents_value() -> None:
    _, area = area_of("two")
    coarse = torch.randn(2, 5, 6, 8)
    whole = F.interpolate(coarse, scale_factor=2.0)
    got = area.upsample(area.gather(coarse, 1), 1).flatten(1)
    assert torch.equal(got, rows_of(whole, area, 0))


def test_scatter_puts_rows_back_with_zeros_elsewhere() -> None:
    keep, area = area_of("two")
    x = torch.randn(2, 5, 12, 16)
    back = area.scatter(area.gather(x).flatten(1), 0)
    want = (x * keep[:, None]).permute(0, 2, 3, 1).flatten(1, 2)
    assert torch.equal(back, want)


def test_an_area_ends_with_its_block_even_after_an_error() -> None:
    holder = AreaHolder()
    _, area = area_of("all")

    def fail() -> None:
        with holder.keeping(area):
            assert holder.now is area
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert holder.now is None
