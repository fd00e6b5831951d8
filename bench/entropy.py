"""What a payload would take if its coder were perfect: the entropy under the bundle's own tables.

payload ─ decode ─> marks, latents ─ contexts ─ -log2(frequency / 2**14) of each ─ + ─> bytes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparsight.codec.payload import coded_symbols, decode, peek
from sparsight.codec.rans import PROBABILITY_BITS
from sparsight.codec.tables import Tables
from sparsight.errors import UsageError


@dataclass(frozen=True, slots=True)
class CodedBytes:
    """Some frames of one rate, added up.

    Attributes:
        rate: The codec's quality level.
        frames: How many.
        payload_bytes: Whole payloads: header, list of patches and checksum included.
        coded_bytes: The entropy coder's part of them: states and words.
        entropy_bytes: What a perfect coder would need for it.
    """

    rate: int
    frames: int
    payload_bytes: int
    coded_bytes: int
    entropy_bytes: float


def measure_coded(tables: Tables, payloads: Sequence[bytes]) -> CodedBytes:
    """Hold payloads of one rate against their entropy; one without patches has none.

    Raises:
        UsageError: None has patches.
    """
    coded_bytes, bits, rates = 0, 0.0, set()
    for payload in payloads:
        head, frame = peek(payload), decode(payload, tables)
        rates.add(head.rate)
        if not head.patches:
            continue
        coded_bytes += head.words.coded_bytes
        symbols, rows = coded_symbols(frame, tables)
        starts = tables.coder.starts
        used = starts[rows, symbols + 1] - starts[rows, symbols]
        bits += float((PROBABILITY_BITS - np.log2(used)).sum())
    (rate,) = rates
    if not bits:
        raise UsageError("frames: none has a patch, so there is no entropy to compare with")
    return CodedBytes(rate, len(payloads), sum(map(len, payloads)), coded_bytes, bits / 8)
