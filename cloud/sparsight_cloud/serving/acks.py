"""Which results devices have stored, so that a restarted cloud need not keep them findable.

    OUT/acks.jsonl    {"device": "drone-1", "epoch": 7, "runs": [[0, 4096], [4100, 4101]]}

Lines are added as devices acknowledge and the file is written anew, short, when the results roll
over. Losing its end costs nothing but a few places in memory, so nobody waits for the disk here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from sparsight_cloud.serving.intervals import Intervals

ACKS = "acks.jsonl"

Acknowledged = tuple[str, int, Intervals]
"""A device, an epoch, and its seqs."""


def read_acks(folder: Path) -> dict[tuple[str, int], Intervals]:
    """What was acknowledged, by device and epoch; lines that are damaged are as if not there."""
    runs: dict[tuple[str, int], list[tuple[int, int]]] = {}
    try:
        lines = (folder / ACKS).read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            raw: dict[str, Any] = orjson.loads(line)
            found = [(int(start), int(end)) for start, end in raw["runs"]]
            runs.setdefault((str(raw["device"]), int(raw["epoch"])), []).extend(found)
        except (ValueError, KeyError, TypeError):
            continue
    return {key: Intervals(found) for key, found in runs.items()}


def add_acks(folder: Path, acknowledged: Iterable[Acknowledged]) -> None:
    """Write some more."""
    with (folder / ACKS).open("ab") as file:
        file.write(b"".join(map(_line, acknowledged)))


def rewrite_acks(folder: Path, acknowledged: Iterable[Acknowledged]) -> None:
    """Write all of them, in as few words as there are."""
    part = folder / f".{ACKS}.part"
    part.write_bytes(b"".join(map(_line, acknowledged)))
    part.replace(folder / ACKS)


def _line(acknowledged: Acknowledged) -> bytes:
    device, epoch, seqs = acknowledged
    return orjson.dumps(
        {"device": device, "epoch": epoch, "runs": list(seqs)}, option=orjson.OPT_APPEND_NEWLINE
    )
