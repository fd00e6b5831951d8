"""What a sink is, and which there are."""

from __future__ import annotations

from enum import Enum
from typing import Protocol, runtime_checkable


class SinkName(str, Enum):
    """What results can be turned into while the cloud runs; lines of JSON they always are."""

    PARQUET = "parquet"
    COCO = "coco"


@runtime_checkable
class Sink(Protocol):
    """Makes something of committed results, from the files they are in; never in their way."""

    def catch_up(self) -> None:
        """Do what can be done now: at the start, and when a file of results was closed."""
        ...

    def finish(self) -> None:
        """Do the rest: the cloud goes down."""
        ...
