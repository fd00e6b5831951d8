import mmap
from pathlib import Path

import pytest
from bench.peak import Watch

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux keeps a high-water mark"
)
MIB = 1 << 20


def use_and_free(size_bytes: int) -> None:
    """Memory straight from the kernel: other tests change what the C library does with its own."""
    with mmap.mmap(-1, size_bytes) as block:
        for start in range(0, size_bytes, mmap.PAGESIZE):
            block[start] = 1


def test_what_is_gone_again_still_counts() -> None:
    watch = Watch()
    use_and_free(96 * MIB)
    assert watch.peak().total_bytes == pytest.approx(96 * MIB, rel=0.1)


def test_the_second_part_has_a_mark_of_its_own() -> None:
    watch = Watch()
    use_and_free(96 * MIB)
    watch.split()
    use_and_free(48 * MIB)
    peak = watch.peak()
    assert peak.total_bytes == pytest.approx(96 * MIB, rel=0.1)
    assert peak.deep_bytes == pytest.approx(48 * MIB, rel=0.2)
