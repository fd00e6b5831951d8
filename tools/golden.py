"""Make the golden payloads of the codec's present version; those that are there stay as they are.

    python -m tools.golden

Run once after a new payload version, and commit what it wrote: `tests/golden/README.md`.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.shared.codec.frames import BUNDLE, some_frame, some_tables

from sparsight.codec.payload import VERSION, CodedFrame, encode
from sparsight.codec.tables import Tables

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "golden" / f"payload-v{VERSION}"


def frames(tables: Tables) -> dict[str, CodedFrame]:
    """A frame for each thing that a decoder may get wrong."""
    whole = some_frame(tables, (20, 28), (20, 28), 1, 0, 5)
    return {
        "empty": some_frame(tables, patches=0),
        "one-patch": some_frame(tables, (32, 48), (8, 8), 1, 0, 1),
        "overlapping": some_frame(tables, (32, 48), (12, 16), 9, 1, 2),
        "wide-map": some_frame(tables, (64, 160), (8, 8), 12, 2, 3),
        "beyond-the-edge": some_frame(tables, (8, 12), (16, 16), 3, 1, 4),
        "all-marked": replace(whole, marks=whole.union()),
        "halo": some_frame(tables, (40, 64), (8, 12), 4, 1, 6, 1),
        "halo-here-and-there": some_frame(tables, (64, 96), (12, 12), 6, 0, 7, 40),
    }


def main() -> int:
    """Write the folder; refuses if it is there."""
    if FOLDER.exists():
        sys.stderr.write(f"{FOLDER}: is there and must never change\n")
        return 1
    FOLDER.mkdir(parents=True)
    tables = some_tables(rates=3, channels=6)
    tables.save(FOLDER / "tables.npz")
    for name, frame in frames(tables).items():
        (FOLDER / f"{name}.payload").write_bytes(encode(frame, tables, BUNDLE))
        np.savez_compressed(
            FOLDER / f"{name}.npz",
            rate=frame.rate,
            halo=frame.halo,
            grid_hw=frame.grid_hw,
            patch_hw=frame.patch_hw,
            origins_yx=frame.origins_yx,
            marks=np.packbits(frame.marks),
            latents=frame.latents,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
