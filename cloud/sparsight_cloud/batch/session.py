"""A whole run before a person's eyes: begun or gone on with, watched, counted, summed up.

items ─ begin ─> shards ─ those whose file is not there ─ Ray ─> OUT/rows ─ counted ─> summary
                                                 └─> progress, and an end at too many errors
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sparsight.errors import DataError, PictureError
from sparsight_cloud.batch.coco import COCO, write_coco
from sparsight_cloud.batch.items import Item, Shard, shards_of
from sparsight_cloud.batch.orders import Order, begin, done_shards
from sparsight_cloud.batch.outcome import Totals, packing, read_rows
from sparsight_cloud.batch.rows import ROWS, Made
from sparsight_cloud.batch.samples import SAMPLES, write_samples
from sparsight_cloud.batch.store import Store
from sparsight_cloud.batch.summary import as_json, show
from sparsight_cloud.batch.work import Pace, Wanted, work

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell gives it."""

SUMMARY = "summary.json"
"""Name of the file that ends a run: where it is, nothing was left to do."""


@dataclass(frozen=True, slots=True)
class Screens:
    """Where things are said.

    Attributes:
        people: Progress and errors; stderr.
        results: Tables; stdout.
        machine: Print JSON to `results` and nothing else.
    """

    people: Console
    results: Console
    machine: bool = False


@dataclass(frozen=True, slots=True)
class Extras:
    """What is made of the rows.

    Attributes:
        coco: A COCO file.
        samples: So many annotated pictures.
    """

    coco: bool = False
    samples: int = 0


def run_batch(
    items: Sequence[Item],
    bundle: Path,
    order: Order,
    store: Store,
    wanted: Wanted,
    extras: Extras,
    screens: Screens,
) -> int:
    """Do what is not done yet, and sum up all of it.

    Args:
        items: Everything that is to be done, done or not.
        bundle: Folder of the bundle, at the same place on every machine of the cluster.
        order: What decides the rows.
        store: Where they go.
        wanted: How they are made.
        extras: What is made of them.
        screens: Where things are said.

    Returns:
        The exit code: 0, that of `PictureError` if an item failed, 130 after Ctrl-C.

    Raises:
        UsageError: The folder holds another run, can't be written, or Ray can't go on.
        DataError: Rows are damaged or missing.
        PictureError: There were more errors than are allowed.
    """
    resumed = begin(store, order, items)
    shards = shards_of(items, order.shard)
    done = _done(store, wanted)
    earlier = _pictures(done)
    todo = [shard for shard in shards if shard.number not in done]
    if resumed:
        _say(screens, f"{store.uri}: {earlier} of {len(items)} were done earlier")
    pace: Pace | None = None
    if todo:
        for made_of_all in (SUMMARY, COCO):
            store.forget(made_of_all)
        try:
            pace = work(todo, done, bundle, order, store, wanted, screens.people)
        except KeyboardInterrupt:
            written = _pictures(done_shards(store))
            _say(
                screens,
                f"interrupted: {written} of {len(items)} are done and stay in {store.uri}; "
                "the same command goes on from there",
            )
            return INTERRUPTED
    made = _all_of(shards, done_shards(store))
    totals = Totals()
    numbers = range(len(shards))
    for row in read_rows(store, numbers):
        totals.add(row)
    if extras.coco:
        write_coco(store, lambda: read_rows(store, numbers), order.classes)
    if extras.samples:
        for problem in write_samples(store, items, order, extras.samples):
            _say(screens, f"no annotated picture: {problem}")
    summary = as_json(store.uri, order, totals, packing(made, order.budget_cells), earlier, pace)
    store.write(SUMMARY, json.dumps(summary, indent=1).encode() + b"\n")
    if screens.machine:
        screens.results.out(json.dumps(summary, indent=1), highlight=False)
    else:
        show(screens.results, summary)
        files = [ROWS, SUMMARY, *[COCO] * extras.coco, *[SAMPLES] * bool(extras.samples)]
        screens.results.print(
            f"in {store.uri}: {', '.join(files)}", markup=False, highlight=False, soft_wrap=True
        )
    return PictureError.exit_code if totals.failed else 0


def _done(store: Store, wanted: Wanted) -> dict[int, Made]:
    done = done_shards(store)
    if not wanted.retry_errors:
        return done
    return {number: made for number, made in done.items() if not made.failed}


def _all_of(shards: Sequence[Shard], done: dict[int, Made]) -> list[Made]:
    """What every shard took; a run does not end well with a hole."""
    lacking = [
        shard.number
        for shard in shards
        if shard.number not in done or done[shard.number].pictures != len(shard.items)
    ]
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(shards)} shards are missing after the run, the first is "
            f"{lacking[0]}; start the same command again"
        )
    return [done[shard.number] for shard in shards]


def _pictures(done: dict[int, Made]) -> int:
    return sum(made.pictures for made in done.values())


def _say(screens: Screens, line: str) -> None:
    screens.people.print(line, markup=False, highlight=False, soft_wrap=True)
