"""The part of a run that computes: the shards through a driver, and someone who watches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from sparsight.errors import PictureError, UsageError
from sparsight_cloud.batch.driver import Started, Where, drive
from sparsight_cloud.batch.items import Shard
from sparsight_cloud.batch.orders import Order
from sparsight_cloud.batch.ray_flow import Job
from sparsight_cloud.batch.rows import Made
from sparsight_cloud.batch.store import Store
from sparsight_cloud.batch.watch import Watch


@dataclass(frozen=True, slots=True)
class Wanted:
    """How rows are made.

    Attributes:
        where: What computes.
        max_errors: The most items that may have an error; None for any number.
        retry_errors: Do shards once more that have items with an error.
    """

    where: Where = field(default_factory=Where)
    max_errors: int | None = None
    retry_errors: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it went.

    Attributes:
        pictures: Done, errors included.
        seconds: From the opening of the first picture to the last row; the start of processes and
            the loading of models lie before.
        start_s: From the beginning to the opening of the first picture.
        workers: Processes of each stage.
    """

    pictures: int
    seconds: float
    start_s: float
    workers: int

    @property
    def per_s(self) -> float:
        """Pictures a second."""
        return self.pictures / max(self.seconds, 1e-9)


def work(
    todo: Sequence[Shard],
    done: dict[int, Made],
    bundle: Path,
    order: Order,
    store: Store,
    wanted: Wanted,
    people: Console,
) -> Pace:
    """Do some shards.

    Args:
        todo: At least one.
        done: Those that are done already; the others are added as they are written.
        bundle: Folder of the bundle.
        order: What decides the rows.
        store: Where they go.
        wanted: How they are made.
        people: Sees progress.

    Raises:
        UsageError: Ray can't be started, joined, or can't go on.
        PictureError: There were more errors than are allowed.
    """
    _hold(done, wanted)
    begin_unix_s = time.time()
    job = Job(bundle, order.settings, order.max_pixels, order.budget_cells, store.address)
    opened_unix_s: list[float] = []
    workers = 0
    pictures = sum(len(shard.items) for shard in todo)
    earlier = sum(made.pictures for made in done.values())
    with (
        Watch(people, earlier + pictures, earlier) as watch,
        closing(drive(job, todo, wanted.where, watch.died)) as driving,
    ):
        try:
            for message in driving:
                if isinstance(message, Started):
                    workers = message.workers
                    continue
                number, made = message
                done[number] = made
                opened_unix_s.append(made.began_unix_s)
                watch.saw(made, sum(one.failed for one in done.values()))
                _hold(done, wanted)
        except UsageError as error:
            raise UsageError(
                f"the run can't go on: {error}; what is done stays in {store.uri}, and the same "
                "command goes on from there"
            ) from error
        end_unix_s = time.time()
    first_unix_s = min(opened_unix_s, default=end_unix_s)
    return Pace(pictures, end_unix_s - first_unix_s, first_unix_s - begin_unix_s, workers)


def _hold(done: dict[int, Made], wanted: Wanted) -> None:
    """End a run that goes wrong.

    Raises:
        PictureError: It has more errors than are allowed.
    """
    failed = sum(made.failed for made in done.values())
    if wanted.max_errors is not None and failed > wanted.max_errors:
        raise PictureError(
            f"{failed} pictures can't be read, more than --max-errors {wanted.max_errors}; column "
            "`error` of the rows says why. Allow more, or try them again with --retry-errors where "
            "the files are good"
        )
