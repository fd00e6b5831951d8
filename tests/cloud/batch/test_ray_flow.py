"""Which parts share processes."""

import pytest

from sparsight_cloud.batch.ray_flow import Gpus, Pool, pools_of


@pytest.mark.parametrize(
    ("gpus", "pools"),
    [
        (Gpus(), [Pool(("read", "look", "deep"), 0.0)]),
        (Gpus(deep=0.5), [Pool(("read", "look"), 0.0), Pool(("deep",), 0.5)]),
        (Gpus(look=1), [Pool(("read",), 0.0), Pool(("look",), 1), Pool(("deep",), 0.0)]),
        (
            Gpus(0.25, 0.75),
            [Pool(("read",), 0.0), Pool(("look",), 0.25), Pool(("deep",), 0.75)],
        ),
    ],
)
def test_a_part_with_a_gpu_has_a_pool_of_its_own(gpus: Gpus, pools: list[Pool]) -> None:
    assert pools_of(gpus) == pools


def test_payloads_need_no_reading_and_no_look() -> None:
    assert pools_of(Gpus(), recorded=True) == [Pool(("recall", "deep"), 0.0)]
    assert pools_of(Gpus(0.5, 0.5), recorded=True) == [
        Pool(("recall",), 0.5),
        Pool(("deep",), 0.5),
    ]
