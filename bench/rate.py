"""`make bench`, its second part: `sparsight bench rate` on VisDrone if it is here, else on Munich.

    VisDrone's 89 frames, or Munich's 45 ─┐
    the two sequences over Munich ────────┴─ sparsight bench rate ─> bench/results/rate.json, .svg

Further arguments go to the command: `python -m bench.rate --limit 2 --only whole,ours`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.table import MUNICH, ROOT, VISDRONE

from sparsight.cli import build_app, run

OUT = ROOT / "bench" / "results" / "rate.json"
MUNICH_CLASSES = "van=minibus"
"""Munich's class for one of VisDrone's, where their names differ."""


def arguments(more: Sequence[str], visdrone: Path = VISDRONE) -> list[str]:
    """The command line.

    Args:
        more: Further arguments.
        visdrone: VisDrone's annotations, if they are there.
    """
    if visdrone.exists():
        given = ["--data", str(visdrone), "--images", str(visdrone.parent / "images")]
    else:
        given = ["--data", str(MUNICH), "--images", str(MUNICH.parent)]
        given += ["--class-map", MUNICH_CLASSES]
    given += ["--sequence", str(MUNICH.parent), "--sequence-class-map", MUNICH_CLASSES]
    return ["bench", "rate", *given, "--out", str(OUT), *more]


def main() -> None:
    """Run, and end as the command does."""
    # As `sparsight.cli.main` has it: idle threads that spin take the cores of the others.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(run(build_app(), arguments(sys.argv[1:])))


if __name__ == "__main__":
    main()
