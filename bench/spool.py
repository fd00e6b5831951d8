"""The spool's append log against SQLite in WAL mode: the same promise, the same work.

    python -m bench.spool --frames 10000

    append ─> [store] ─ take ─> in flight ─ finish
                 ^
                 └── sync, once a second, from another thread

The promise: a frame survives a kill when `append` returns, and the machine's end when `sync` does.
Three rounds each: as fast as it goes (CPU time and bytes written, a frame), paced as by a camera
(how long the longest append took), and a restart with all frames waiting (how long until the first
one can be sent, and what they take on the disk).

SQLite gets what its own documentation advises: `journal_mode=WAL`, `synchronous=NORMAL`, statements
that are prepared once, a page size that suits the frames. In `sqlite-batched` what was answered is
deleted once a second, together: after a kill up to a second of answered frames is sent again, which
the append log does not do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

from sparsight_edge.spool.settings import SpoolSettings
from sparsight_edge.spool.spool import Spool

BODY_BYTES = (6_000, 10_000)
IN_FLIGHT = 16
SYNC_S = 1.0
PAGE_BYTES = 4096

Key = tuple[int, int]


class Store(Protocol):
    """Frames on a disk."""

    def append(self, body: bytes) -> None:
        """Keep a frame."""

    def take(self) -> tuple[Key, bytes] | None:
        """The oldest that was not taken."""

    def finish(self, key: Key) -> None:
        """Forget a frame."""

    def sync(self) -> None:
        """Make all of it last."""

    def close(self) -> None:
        """Let go of the files."""


class Log:
    """The spool."""

    def __init__(self, folder: Path) -> None:
        """Open it."""
        self._spool = Spool(folder, "bench", SpoolSettings(4 << 30))
        self._stop = threading.Event()
        self.sync, self.close = self._spool.sync, self._spool.close

    def append(self, body: bytes) -> None:
        """Keep a frame."""
        self._spool.append(body, self._stop)

    def take(self) -> tuple[Key, bytes] | None:
        """The oldest that was not taken."""
        one = self._spool.take()
        return None if one is None else ((one.epoch, one.seq), one.body)

    def finish(self, key: Key) -> None:
        """Forget a frame."""
        self._spool.finish(*key)


class Sqlite:
    """A table of a database in WAL mode."""

    batched = False

    def __init__(self, folder: Path) -> None:
        """Open it."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "spool.db"
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS frames (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB)"
        )
        self._wal_fd = os.open(f"{file}-wal", os.O_RDONLY)
        self._taken = 0
        self._answered: list[tuple[int]] = []

    def append(self, body: bytes) -> None:
        """Keep a frame."""
        with self._lock:
            self._db.execute("INSERT INTO frames (body) VALUES (?)", (body,))

    def take(self) -> tuple[Key, bytes] | None:
        """The oldest that was not taken."""
        with self._lock:
            found = self._db.execute(
                "SELECT id, body FROM frames WHERE id > ? ORDER BY id LIMIT 1", (self._taken,)
            ).fetchone()
        if found is None:
            return None
        self._taken = found[0]
        return (0, found[0]), found[1]

    def finish(self, key: Key) -> None:
        """Forget a frame."""
        with self._lock:
            if self.batched:
                self._answered.append((key[1],))
            else:
                self._db.execute("DELETE FROM frames WHERE id = ?", (key[1],))

    def sync(self) -> None:
        """Make all of it last: what the log file does not hold was synced when it left it."""
        if self._answered:
            with self._lock:
                answered, self._answered = self._answered, []
                self._db.execute("BEGIN")
                self._db.executemany("DELETE FROM frames WHERE id = ?", answered)
                self._db.execute("COMMIT")
        os.fdatasync(self._wal_fd)

    def close(self) -> None:
        """Let go of the files."""
        self.sync()
        self._db.close()
        os.close(self._wal_fd)


class BatchedSqlite(Sqlite):
    """Likewise, but what was answered is deleted once a second."""

    batched = True


STORES: dict[str, Callable[[Path], Store]] = {
    "log": Log,
    "sqlite": Sqlite,
    "sqlite-batched": BatchedSqlite,
}
ROWS = {
    "cpu_us": "CPU, µs a frame",
    "written_bytes": "bytes written a frame",
    "append_us": "append, µs (median)",
    "append_worst_ms": "append, ms (longest)",
    "restart_ms": "restart, ms",
    "waiting_bytes": "disk, bytes a frame that waits",
    "drained_bytes": "disk when all are answered, bytes",
}


def measure(frames: int, fps: float, folder: Path | None = None) -> dict[str, Any]:
    """All rounds of all stores.

    Args:
        frames: In each round.
        fps: Of the paced round.
        folder: On the disk that is meant; the system's for temporary files if None.

    Returns:
        Figures of each store by the names of `ROWS`, and `over_log`: each over the append log's.
    """
    noise = os.urandom(1 << 20)
    low, high = BODY_BYTES
    bodies = [noise[i * 977 % 900_000 :][: low + i * 7919 % (high - low)] for i in range(997)]
    figures = {name: _figures(open_, frames, fps, bodies, folder) for name, open_ in STORES.items()}
    base = figures["log"]
    return {
        "frames": frames,
        "body_bytes": round(sum(map(len, bodies)) / len(bodies)),
        "fps": fps,
        "sqlite": sqlite3.sqlite_version,
        "stores": figures,
        "over_log": {
            name: {
                row: round(value / base[row], 3) if base[row] else None for row, value in of.items()
            }
            for name, of in figures.items()
            if name != "log"
        },
    }


def _figures(
    open_: Callable[[Path], Store],
    frames: int,
    fps: float,
    bodies: Sequence[bytes],
    folder: Path | None,
) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        home = Path(name)
        store = open_(home / "fast")
        cpu_s, written = time.process_time(), _written_bytes()
        with _syncing(store):
            _run(store, frames, bodies, 0.0)
            store.sync()
        cpu_s, written = time.process_time() - cpu_s, _written_bytes() - written
        drained = _disk_bytes(home / "fast")
        store.close()
        store = open_(home / "paced")
        with _syncing(store):
            took_s = sorted(_run(store, frames, bodies, 1 / fps))
        store.close()
        restart_s, waiting = _restart(open_, home, frames, bodies)
    return {
        "cpu_us": round(cpu_s / frames * 1e6, 1),
        "written_bytes": round(written / frames),
        "append_us": round(took_s[len(took_s) // 2] * 1e6, 1),
        "append_worst_ms": round(took_s[-1] * 1e3, 2),
        "restart_ms": round(restart_s * 1e3, 1),
        "waiting_bytes": round(waiting / frames),
        "drained_bytes": drained,
    }


def _run(store: Store, frames: int, bodies: Sequence[bytes], every_s: float) -> list[float]:
    """Append, take and finish; how long each append took, seconds."""
    flying: deque[Key] = deque()
    took_s = []
    due_s = time.perf_counter()
    for i in range(frames):
        due_s += every_s
        time.sleep(max(0.0, due_s - time.perf_counter()) if every_s else 0.0)
        begin_s = time.perf_counter()
        store.append(bodies[i % len(bodies)])
        took_s.append(time.perf_counter() - begin_s)
        if (one := store.take()) is not None:
            flying.append(one[0])
        if len(flying) > IN_FLIGHT:
            store.finish(flying.popleft())
    while flying:
        store.finish(flying.popleft())
    return took_s


def _restart(
    open_: Callable[[Path], Store], home: Path, frames: int, bodies: Sequence[bytes]
) -> tuple[float, int]:
    """Seconds until a frame can be sent after a kill with all waiting, and their bytes on disk."""
    store = open_(home / "waiting")
    for i in range(frames):
        store.append(bodies[i % len(bodies)])
    store.sync()
    shutil.copytree(home / "waiting", home / "killed")  # as a kill leaves it
    waiting = _disk_bytes(home / "waiting")
    store.close()
    begin_s = time.perf_counter()
    store = open_(home / "killed")
    one = store.take()
    seconds = time.perf_counter() - begin_s
    assert one is not None and one[1] == bodies[0]
    store.close()
    return seconds, waiting


@contextmanager
def _syncing(store: Store) -> Iterator[None]:
    """Sync once a second, as an agent does."""
    stop = threading.Event()

    def sync() -> None:
        while not stop.wait(SYNC_S):
            store.sync()

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _written_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


def table_of(result: dict[str, Any]) -> Table:
    """For people."""
    title = f"{result['frames']} frames of {result['body_bytes']} bytes, paced at {result['fps']:g}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in result["stores"]:
        table.add_column(name, justify="right")
        if name in result["over_log"]:
            table.add_column("/ log", justify="right")
    for row, words in ROWS.items():
        cells = []
        for name, figures in result["stores"].items():
            cells.append(f"{figures[row]:,}")
            if name in result["over_log"]:
                over = result["over_log"][name][row]
                cells.append("-" if over is None else f"{over:g}")
        table.add_row(words, *cells)
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--fps", type=float, default=500.0, help="of the paced round")
    parser.add_argument("--folder", type=Path, help="on the disk that is meant")
    parser.add_argument("--json", action="store_true", help="no table")
    options = parser.parse_args(arguments)
    if options.frames < 1 or not options.fps > 0:
        parser.error("--frames and --fps: expected more than 0")
    result = measure(options.frames, options.fps, options.folder)
    if options.json:
        json.dump(result, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        Console().print(table_of(result))


if __name__ == "__main__":
    main()
