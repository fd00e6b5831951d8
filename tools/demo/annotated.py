"""The frames with what the cloud found in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools.demo.outcomes import Outcome

from sparsight.drawing import add_legend, draw_objects
from sparsight.pictures import read_picture
from sparsight_cloud.detection.outputs import write_picture

SHOWN_SCORE = 0.25
"""Score from which an object is drawn, as in `sparsight detect`."""


def write_annotated(outcome: Outcome, classes: Sequence[str], out: Path) -> None:
    """Write a frame as OUT/CAMERA/NAME.jpg; nothing of a lost one.

    Raises:
        UsageError: It can't be written.
    """
    if outcome.found is None:
        return
    shown, names = outcome.found.above(SHOWN_SCORE), tuple(classes)
    notes = [f"sent as {outcome.payload_bytes:,} bytes"]
    if outcome.latency is not None:
        notes.append(f"answered in {outcome.latency.total:.0f} ms")
    picture = draw_objects(read_picture(outcome.picture), shown, names)
    picture = add_legend(picture, shown, names, ", ".join(notes))
    write_picture(picture, out / outcome.camera / f"{outcome.picture.stem}.jpg")
