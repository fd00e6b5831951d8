"""Make the golden payloads and deltas of the present versions; what is there stays as it is.

    python -m tools.golden

Run once after a new payload version, and commit what it wrote: `tests/golden/README.md`.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.shared.codec.frames import BUNDLE, some_frame, some_tables

from sparsight.codec.parts import check_of
from sparsight.codec.payload import VERSION, CodedFrame, encode
from sparsight.codec.reuse import VERSION as DELTA_VERSION
from sparsight.codec.reuse import encode_delta
from sparsight.codec.tables import Tables

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
FOLDER = GOLDEN / f"payload-v{VERSION}"
DELTAS = GOLDEN / f"delta-v{DELTA_VERSION}"


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


def pairs(tables: Tables) -> dict[str, tuple[CodedFrame, CodedFrame]]:
    """A reference and a frame for each thing that a reader of deltas may get wrong."""
    scene = some_frame(tables, (40, 64), (8, 12), 4, 1, 6, 1)
    latents = scene.latents.copy()
    latents[:, ::9] ^= 1
    return {
        "the-same": (scene, scene),
        "other-latents": (scene, replace(scene, latents=latents)),
        "other-patches": (scene, some_frame(tables, (40, 64), (8, 12), 5, 1, 8, 1)),
        "patches-out-of-nothing": (some_frame(tables, (40, 64), (8, 12), 0, 1, 6, 1), scene),
    }


def main() -> int:
    """Write the folders that are not there; what is there stays as it is."""
    tables = some_tables(rates=3, channels=6)
    for folder, write in ((FOLDER, _write_payloads), (DELTAS, _write_deltas)):
        if folder.exists():
            sys.stderr.write(f"{folder}: is there and must never change\n")
        else:
            folder.mkdir(parents=True)
            write(tables)
    return 0


def _write_payloads(tables: Tables) -> None:
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


def _write_deltas(tables: Tables) -> None:
    for name, (reference, frame) in pairs(tables).items():
        payload = encode(reference, tables, BUNDLE)
        delta = encode_delta(frame, reference, check_of(payload), tables)
        assert delta is not None
        (DELTAS / f"{name}.reference").write_bytes(payload)
        (DELTAS / f"{name}.delta").write_bytes(delta)
        (DELTAS / f"{name}.whole").write_bytes(encode(frame, tables, BUNDLE))


if __name__ == "__main__":
    sys.exit(main())
