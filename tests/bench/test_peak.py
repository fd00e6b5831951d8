from pathlib import Path

import numpy as np
import pytest
from bench.peak import Watch

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux keeps a high-water mark"
)
MIB = 1 << 20


def test_what_is_gone_again_still_counts() -> None:
    watch = Watch()
    np.ones(96 * MIB, np.uint8)
    assert watch.peak().total_bytes == pytest.approx(96 * MIB, rel=0.1)


def test_the_second_part_has_a_mark_of_its_own() -> None:
    watch = Watch()
    np.ones(96 * MIB, np.uint8)
    watch.split()
    np.ones(48 * MIB, np.uint8)
    peak = watch.peak()
    assert peak.total_bytes == pytest.approx(96 * MIB, rel=0.1)
    assert peak.deep_bytes == pytest.approx(48 * MIB, rel=0.2)
