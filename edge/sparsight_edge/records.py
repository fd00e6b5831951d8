"""What a run leaves for people and programs: two files of JSON lines in its output folder.

    frames.jsonl   each frame that was to be spooled: its key, name, time, size, patches, bytes
    results.jsonl  each answer: the key, status, objects, when it was sent and answered

The key (epoch, seq) joins them. A line of frames is written before its frame is spooled, and one of
results before its frame is acknowledged: after a kill, or when there was no room in the spool, a
key may have two lines, and the last one counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from sparsight.errors import SpoolError, UsageError
from sparsight_edge.uplink.stream import Answered

FRAMES, RESULTS = "frames.jsonl", "results.jsonl"


class Records:
    """The two files, appended to; each is written by one thread."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        """Open the files, in a folder that is made if need be.

        Args:
            folder: The output folder.
            classes: Names of the classes, in the order of labels.

        Raises:
            UsageError: They can't be written.
        """
        self.folder = folder
        self.classes = classes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._frames = (folder / FRAMES).open("a", encoding="utf-8")
            self._results = (folder / RESULTS).open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{folder}: can't be written: {error.strerror}; give another --out"
            ) from error

    def frame(self, line: dict[str, Any]) -> None:
        """Write down a frame.

        Raises:
            SpoolError: It can't be written.
        """
        self._write(self._frames, line)

    def result(self, answered: Answered) -> None:
        """Write down an answer; it is with the system when this returns.

        Raises:
            SpoolError: It can't be written.
        """
        result, found = answered.result, answered.result.detections
        times = result.times
        self._write(
            self._results,
            {
                "device": result.key.device,
                "epoch": result.key.epoch,
                "seq": result.key.seq,
                "stream": answered.stream,
                "status": result.status.name,
                "detail": result.detail,
                "captured_unix_ns": answered.captured_unix_ns,
                "sent_unix_ns": answered.sent_unix_ns,
                "answered_unix_ns": answered.answered_unix_ns,
                "cloud_ms": times
                and {
                    "queue": round(times.queue_ms, 3),
                    "compute": round(times.compute_ms, 3),
                    "commit": round(times.commit_ms, 3),
                },
                "detections": [
                    {
                        "xyxy": [round(side, 2) for side in xyxy],
                        "score": round(score, 4),
                        "label": label,
                        "class": self.classes[label] if label < len(self.classes) else None,
                    }
                    for xyxy, score, label in zip(
                        found.xyxy.tolist(),
                        found.scores.tolist(),
                        found.labels.tolist(),
                        strict=True,
                    )
                ],
            },
        )

    def close(self) -> None:
        """Close the files."""
        self._frames.close()
        self._results.close()

    def _write(self, file: TextIO, line: dict[str, Any]) -> None:
        try:
            file.write(json.dumps(line) + "\n")
            file.flush()
        except OSError as error:
            raise SpoolError(
                f"{file.name}: can't be written: {error.strerror}; make room on the disk"
            ) from error
