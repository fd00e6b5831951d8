"""Whether the spool's disk can be written, has the room that was promised, and how fast it is."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from sparsight_edge.doctor.finding import Finding
from sparsight_edge.spool.home import LOCK

_PROBE_BYTES = 1 << 20
_SLOW_SYNC_MS = 500.0


def check_disk(folder: Path, max_bytes: int) -> Finding:
    """Write and sync a file where the spool is or would be; nothing is left behind.

    Args:
        folder: Of the spool; it need not exist.
        max_bytes: What the spool may hold.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        sync_ms = _sync_ms(there)
    except OSError as error:
        return Finding(
            "disk",
            "fail",
            f"{there}: can't be written: {error.strerror}",
            "give the agent's user the folder, or another --spool",
        )
    held = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
    free = shutil.disk_usage(there).free
    found = (
        f"{folder}: {free / 1e6:.0f} MB free, {held / 1e6:.1f} MB held, at most "
        f"{max_bytes / 1e6:.0f} MB; 1 MB synced in {sync_ms:.0f} ms"
    )
    if free + held < max_bytes:
        return Finding("disk", "warn", found, "free some, or lower --spool-mb to what there is")
    if sync_ms > _SLOW_SYNC_MS:
        return Finding("disk", "warn", found, "a slow or worn card: put the spool on another disk")
    return Finding("disk", "ok", found)


def is_in_use(folder: Path) -> bool:
    """Whether an agent is running on a spool."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _sync_ms(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(os.urandom(_PROBE_BYTES))
        probe.flush()
        begin_s = time.perf_counter()
        os.fsync(probe.fileno())
        return (time.perf_counter() - begin_s) * 1e3
