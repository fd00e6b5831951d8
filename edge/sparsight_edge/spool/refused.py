"""What the cloud refused as bad, kept for people to look at: `refused.jsonl`, bounded.

One line a frame: its key, why, and the message itself in base64. When the file is full it becomes
`refused.1.jsonl`, in the place of the one before.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from pathlib import Path

NAME, OLD_NAME = "refused.jsonl", "refused.1.jsonl"


class RefusedRecord:
    """Writes the record; from one thread."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """A record in this folder of at most so many bytes, both files together."""
        self.file = folder / NAME
        self.max_bytes = max_bytes

    def add(self, epoch: int, seq: int, body: bytes, reason: str) -> None:
        """Write a line; not written if the disk refuses, for it is only a record."""
        line = json.dumps(
            {
                "epoch": epoch,
                "seq": seq,
                "reason": reason,
                "refused_unix_s": round(time.time(), 3),
                "message": base64.b64encode(body).decode(),
            }
        )
        if len(line) + 1 > self.max_bytes // 2:
            line = json.dumps({"epoch": epoch, "seq": seq, "reason": reason, "message": None})
        with contextlib.suppress(OSError):
            if self._size() + len(line) + 1 > self.max_bytes // 2 and self.file.exists():
                self.file.replace(self.file.with_name(OLD_NAME))
            with self.file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def _size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0
