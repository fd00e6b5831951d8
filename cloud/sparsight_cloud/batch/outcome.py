"""What a run came to, read from its rows, a shard at a time and never all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparsight.detections import Detections
from sparsight.errors import DataError
from sparsight_cloud.batch.rows import Made, name_of, read_parquet
from sparsight_cloud.batch.store import Store, one_line


@dataclass
class Totals:
    """Sums over rows.

    Attributes:
        pictures: Rows without an error.
        failed: Rows with one.
        objects: By class.
        patches: Of all pictures.
        kept_area: Sum of the shares.
        ms: Sum of the times of each stage, in milliseconds.
        errors: The first few.
    """

    pictures: int = 0
    failed: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    patches: int = 0
    kept_area: float = 0.0
    ms: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def add(self, row: dict[str, Any], errors_kept: int = 5) -> None:
        """Count a row."""
        if row["error"] is not None:
            self.failed += 1
            if len(self.errors) < errors_kept:
                self.errors.append(row["error"])
            return
        self.pictures += 1
        self.objects.update(row["classes"])
        self.patches += row["patches"]
        self.kept_area += row["kept_area"]
        for stage in ("read", "look", "deep"):
            self.ms[stage] += row[f"{stage}_ms"]


def read_rows(store: Store, shards: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Rows of some shards, in the order of their ids; one shard is held at a time.

    Raises:
        DataError: A file of rows is damaged or gone.
    """
    for shard in shards:
        name = name_of(shard)
        try:
            with store.open(name) as file:
                rows = read_parquet(file).to_pylist()
        except (OSError, ValueError) as error:
            raise DataError(
                f"{store.place(name)}: can't be read ({one_line(error)}); remove it and start "
                "the same command again"
            ) from error
        yield from rows


def objects_of(row: dict[str, Any]) -> Detections:
    """The objects of a row."""
    return Detections(
        np.array(row["boxes"], np.float32).reshape(-1, 4),
        np.array(row["scores"], np.float32),
        np.array(row["labels"], np.int64),
    )


def packing(made: Sequence[Made], budget_cells: int) -> dict[str, float | int | None]:
    """How full the batches of the deep part were.

    Args:
        made: Of every shard.
        budget_cells: What a batch may hold.

    Returns:
        `batches`, their mean `cells`, `filled` (cells over the budget) and `padding` (the share of
        the computed cells that no patch asked for).
    """
    batches = sum(one.batches for one in made)
    kept = sum(one.kept_cells for one in made)
    computed = sum(one.computed_cells for one in made)
    return {
        "batches": batches,
        "cells": round(kept / batches) if batches else None,
        "filled": round(kept / batches / budget_cells, 3) if batches else None,
        "padding": round(1 - kept / computed, 4) if computed else 0.0,
    }
