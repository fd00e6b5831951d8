"""Annotated pictures, spread evenly over a run, drawn from its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sparsight.drawing import add_legend, draw_objects
from sparsight.errors import PictureError
from sparsight_cloud.batch.items import Item
from sparsight_cloud.batch.orders import Order
from sparsight_cloud.batch.outcome import objects_of, read_rows
from sparsight_cloud.batch.reading import read_items
from sparsight_cloud.batch.store import Store
from sparsight_cloud.detection.outputs import as_jpeg

SAMPLES = "samples"
"""Name of their folder."""


def write_samples(store: Store, items: Sequence[Item], order: Order, n: int) -> Iterator[str]:
    """Write OUT/samples/ID.jpg.

    Args:
        store: The folder of results, with all rows.
        items: The items of the run.
        order: What it was run with.
        n: How many, at most; an item with an error has none.

    Yields:
        What was wrong, of each that could be read before and now can't.

    Raises:
        UsageError: One can't be written.
    """
    for place in spread(len(items), n):
        rows = read_rows(store, [place // order.shard])
        row = next(row for row in rows if row["id"] == place)
        if row["error"] is not None:
            continue
        (frame,) = read_items([items[place]], order.max_pixels)
        if isinstance(frame, PictureError):
            yield str(frame)
            continue
        found = objects_of(row)
        note = f"{row['patches']} patches, {row['kept_area']:.0%} kept"
        drawn = add_legend(draw_objects(frame, found, order.classes), found, order.classes, note)
        store.write(f"{SAMPLES}/{place:06d}.jpg", as_jpeg(drawn))


def spread(count: int, n: int) -> list[int]:
    """At most n of the places from 0 to `count` - 1, evenly from the first to the last."""
    if n >= count:
        return list(range(count))
    return [round(float(at)) for at in np.linspace(0, count - 1, n)]
