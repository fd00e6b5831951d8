"""The folder of a spool: whose it is, which boot this is, and that nobody else uses it.

lock         held by the running agent
agent.json   {"format": 2, "device": ..., "epoch": ...}
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from sparsight.errors import SpoolError, UsageError
from sparsight_edge.spool.segment import sync_folder

FORMAT, OLD_FORMAT = 2, 1  # of format 1: files of frames without their times
_LOCK, _AGENT = "lock", "agent.json"


class Home:
    """A spool's folder, held by this process.

    Attributes:
        folder: The folder.
        device: Whose frames are in it.
        epoch: This boot; greater than that of every frame in the folder.
    """

    def __init__(self, folder: Path, device: str, newest_epoch: int) -> None:
        """Take the folder and begin a boot.

        Args:
            folder: It exists.
            device: Name of this device.
            newest_epoch: Of the frames in the folder; 0 if there are none.

        Raises:
            UsageError: The folder is another device's, or another agent runs on it.
            SpoolError: It can't be written.
        """
        self.folder = folder
        self.device = device
        try:
            self._lock_fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolError(f"{folder}: the spool can't be written: {error.strerror}") from error
        try:
            self._take()
            last = self._read()
            owner = last.get("device", device)
            if owner != device:
                raise UsageError(
                    f"{folder}: holds frames of the device {owner!r}, this one is {device!r}; "
                    "give each device its own --spool"
                )
            # A spool that was deleted must not begin again at keys that the cloud has seen, so the
            # clock is a floor. It may be wrong: the number only ever grows.
            self.epoch = 1 + max(int(last.get("epoch", 0)), newest_epoch, int(time.time()))
            self._write()
        except BaseException:
            os.close(self._lock_fd)
            raise

    def close(self) -> None:
        """Let others have the folder."""
        os.close(self._lock_fd)

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"{self.folder}: another agent is running on this spool; give each its own --spool"
            ) from error

    def _read(self) -> dict[str, Any]:
        """What the last boot wrote; nothing if it can't be read, for the frames say more."""
        try:
            said: Any = json.loads((self.folder / _AGENT).read_bytes())
        except (OSError, ValueError):
            return {}
        if not (isinstance(said, dict) and isinstance(said.get("epoch"), int)):
            return {}
        if said.get("format") not in (OLD_FORMAT, FORMAT):
            raise SpoolError(
                f"{self.folder}: a spool of format {said.get('format')!r}, this program reads "
                f"{OLD_FORMAT} and {FORMAT}; send its frames with the program that wrote it, or "
                "give another --spool"
            )
        return said

    def _write(self) -> None:
        new = self.folder / f"{_AGENT}.new"
        text = json.dumps({"format": FORMAT, "device": self.device, "epoch": self.epoch})
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.folder / _AGENT)
            sync_folder(self.folder)
        except OSError as error:
            raise SpoolError(
                f"{self.folder}: the spool can't be written: {error.strerror}"
            ) from error
