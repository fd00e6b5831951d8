from dataclasses import replace

import numpy as np
import pytest
from bench.entropy import measure_coded
from tests.shared.codec.frames import NOTHING, still_context

from sparsight.codec.bank import FRACTIONS, MIDDLE
from sparsight.codec.marks import CONTEXTS
from sparsight.codec.payload import CodedFrame, encode
from sparsight.codec.tables import Tables
from sparsight.errors import UsageError

BUNDLE = "ab" * 32
ROW = 9


def half_of_four() -> Tables:
    """Latents 0 to 3 with shares 1/2, 1/4, 1/8, 1/8, whatever is around; marks with 1/2."""
    counts = NOTHING.copy()
    counts[ROW * FRACTIONS, MIDDLE : MIDDLE + 4] = np.array([8, 4, 2, 2]) * 10**9
    return Tables.fit([still_context(1, ROW)], counts, np.ones((CONTEXTS, 2), np.int64))


HALF_OF_FOUR = half_of_four()


def a_frame(cells: int) -> CodedFrame:
    """Latents that are as often as the table says, on one patch."""
    latents = np.repeat(np.array([0, 1, 2, 3], np.int8), np.array([8, 4, 2, 2]) * cells // 16)
    side = 2 * int(np.sqrt(cells))
    marks = np.zeros((side, side), np.bool_)
    return CodedFrame(
        0, 0, (side, side), (side, side), np.zeros((1, 2), np.int32), marks, latents[None]
    )


def test_the_entropy_is_that_of_the_tables() -> None:
    cells = 64 * 64
    payload = encode(a_frame(cells), HALF_OF_FOUR, BUNDLE)
    found = measure_coded(HALF_OF_FOUR, [payload, payload])
    # 1.75 bits a latent, and a bit for each of the four marks around it.
    assert found.entropy_bytes == pytest.approx(2 * cells * (1.75 + 4) / 8, rel=1e-3)
    assert found.entropy_bytes < found.coded_bytes < 1.01 * found.entropy_bytes
    assert found.payload_bytes == 2 * len(payload) > found.coded_bytes
    assert (found.frames, found.rate) == (2, 0)


def test_frames_without_patches_have_none() -> None:
    frame = a_frame(64)
    empty = replace(
        frame,
        origins_yx=np.zeros((0, 2), np.int32),
        latents=np.zeros((1, 0), np.int8),
    )
    with pytest.raises(UsageError, match="none has a patch"):
        measure_coded(HALF_OF_FOUR, [encode(empty, HALF_OF_FOUR, BUNDLE)])
