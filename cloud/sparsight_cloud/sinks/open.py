"""Sinks by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from sparsight_cloud.sinks.coco import CocoSink
from sparsight_cloud.sinks.parquet import ParquetSink
from sparsight_cloud.sinks.sink import Sink, SinkName

_MAKERS: dict[SinkName, Callable[[Path], Sink]] = {
    SinkName.PARQUET: ParquetSink,
    SinkName.COCO: CocoSink,
}


def open_sinks(out: Path, names: Iterable[SinkName]) -> list[Sink]:
    """The sinks of a folder of results, each once."""
    return [_MAKERS[name](out) for name in dict.fromkeys(names)]
