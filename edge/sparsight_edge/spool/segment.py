"""One append-only file of frames, and beside it the list of those that are done.

    0000000007.0000000000.seg   header | record | record | record | (torn tail)     (`frame_file`)
    0000000007.0000000000.done  place  | place  | (torn tail)

    place   number of the record u32, crc32 u32 of it

Frames of a segment have one epoch and consecutive seqs, so a record's place is its key. What is
behind the last whole record was never promised to anybody; what rotted is passed over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from array import array
from pathlib import Path
from zlib import crc32

from sparsight.errors import SpoolError
from sparsight.frame_file import (
    HEADER,
    RECORD,
    Found,
    body_of,
    header,
    name_of,
    read_file,
    record,
    seed_of,
)

PLACE = struct.Struct("<II")

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_ROTTEN = (errno.EIO, errno.ENOENT)  # the frame is gone for good; all else may pass

PENDING, TAKEN, HELD, DONE = range(4)
"""What a frame is: to be sent, being sent, not to be sent for now, answered or gone."""


class Segment:
    """One file of frames, its place list, and what is to be done with each.

    Thirteen bytes of memory a frame. Not for threads: the spool that owns it has the lock.

    Attributes:
        file: The frames.
        epoch: The boot that they are of.
        first_seq: Number of the first.
        states: `PENDING`, `TAKEN`, `HELD` or `DONE` of each.
        open_frames: How many are not done.
        bytes: What both files take on disk, with a place for every frame.
        damaged: Frames that could not be read when the file was opened.
        hint: No frame before this place is `PENDING`.
        begun_unix_s: When its boot began, as the wall clock said at its last frame; the spool puts
            it right by later files of that boot.
    """

    def __init__(self, file: Path, epoch: int, first_seq: int) -> None:
        self.file = file
        self.epoch = epoch
        self.first_seq = first_seq
        self.states = bytearray()
        self.open_frames = 0
        self.bytes = HEADER.size
        self.damaged = 0
        self.hint = 0
        self.begun_unix_s = 0.0
        self._seed = seed_of(epoch, first_seq)
        self._begins = array("Q")  # of each record
        self._ran = array("I")  # when it was appended, tenths of a second after the boot
        self._oldest = 0  # all before this place are done
        self._old = False
        self._length = HEADER.size
        self._write_fd = -1
        self._done_fd = -1
        self._read_fd = -1

    @classmethod
    def create(cls, folder: Path, epoch: int, first_seq: int) -> Segment:
        """Begin a file.

        Raises:
            OSError: It can't be written.
        """
        file = folder / name_of(epoch, first_seq)
        segment = cls(file, epoch, first_seq)
        segment._write_fd = os.open(
            file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        try:
            _write(segment._write_fd, header(epoch, first_seq))
            sync_folder(folder)
        except OSError:
            segment.remove()
            raise
        return segment

    @classmethod
    def load(cls, file: Path) -> Segment | None:
        """Read what an earlier boot left.

        Returns:
            The segment, never to be written again but for its done frames; None if the file is
            none of a spool's.

        Raises:
            OSError: It can't be read.
            SpoolError: It is of a later version.
        """
        found = read_file(file)
        if found is None:
            return None
        segment = cls(file, found.epoch, found.first_seq)
        segment._take_over(found)
        segment._read_done()
        return segment

    def __len__(self) -> int:
        return len(self.states)

    def append(self, body: bytes, unix_s: float, ran_s: float) -> None:
        """Write a frame; it is there, for every process of this machine, when this returns.

        Raises:
            OSError: It can't be written whole, and then none of it is there.
        """
        data = record(self._seed, len(self), body, int(unix_s * 1e3), int(ran_s * 1e3))
        try:
            _write(self._write_fd, data)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._write_fd, self._length)
                os.lseek(self._write_fd, self._length, os.SEEK_SET)
            raise
        self.bytes += record_bytes(len(body))
        self._note(self._length, self._length + len(data), ran_s, PENDING)

    def read(self, place: int) -> bytes | None:
        """A frame's bytes, or None if they rotted.

        Raises:
            SpoolError: They are there, but can't be read now.
        """
        begin = self._begins[place]
        end = self._begins[place + 1] if place + 1 < len(self) else self._length
        try:
            if self._read_fd < 0:
                self._read_fd = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
            data = os.pread(self._read_fd, end - begin, begin)
        except OSError as error:
            if error.errno in _ROTTEN:
                return None
            raise SpoolError(
                f"{self.file}: can't be read: {error.strerror}; its frames are sent by the next run"
            ) from error
        return body_of(data, old=self._old)

    def finish(self, place: int) -> None:
        """Note that a frame is done; not noted if the disk refuses, and then it is sent again."""
        self.states[place] = DONE
        self.open_frames -= 1
        with contextlib.suppress(OSError):
            if self._done_fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._done_fd = os.open(self._done_file, flags, 0o600)
            number = struct.pack("<I", place)
            written = os.write(self._done_fd, number + struct.pack("<I", crc32(number)))
            if written < PLACE.size:  # a full disk; what comes next must begin at its own place
                os.ftruncate(self._done_fd, os.fstat(self._done_fd).st_size - written)

    def oldest(self) -> int:
        """The first place that is not done; there is one."""
        while self.states[self._oldest] == DONE:
            self._oldest += 1
        return self._oldest

    def ran_s(self, place: int) -> float:
        """When a frame was appended, seconds after its boot, to a tenth."""
        return self._ran[place] / 10

    def sync_fd(self) -> int:
        """A descriptor of its own to the file being written, to be synced and closed; -1: none."""
        return os.dup(self._write_fd) if self._write_fd >= 0 else -1

    def seal(self) -> None:
        """Write no more frames; all of them are on the disk when this returns.

        Raises:
            OSError: They are not.
        """
        if self._write_fd >= 0:
            fd, self._write_fd = self._write_fd, -1
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)

    def rest(self) -> None:
        """Let go of what is opened anew when it is needed: a spool may have many files."""
        for name in ("_done_fd", "_read_fd"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                os.close(fd)

    def close(self) -> None:
        """Let go of the files."""
        self.rest()
        fd, self._write_fd = self._write_fd, -1
        if fd >= 0:
            os.close(fd)

    def remove(self) -> None:
        """Delete the files."""
        self.close()
        # In this order: frames without their list would all be sent again.
        self.file.unlink(missing_ok=True)
        self._done_file.unlink(missing_ok=True)

    @property
    def _done_file(self) -> Path:
        return self.file.with_suffix(".done")

    def _note(self, begin: int, end: int, ran_s: float, state: int) -> None:
        self._length = end
        self._begins.append(begin)
        self._ran.append(min(int(ran_s * 10), 0xFFFF_FFFF))
        self.states.append(state)
        self.open_frames += state != DONE

    def _take_over(self, found: Found) -> None:
        self._old = found.old
        for one in found.records:
            ran_s = one.ran_ms / 1e3
            for _ in range(one.place - len(self)):  # what could not be found before it
                self._note(self._length, self._length, ran_s, DONE)
                self.damaged += 1
            self._note(one.begin, one.end, ran_s, PENDING if one.whole else DONE)
            self.damaged += not one.whole
            self.begun_unix_s = one.unix_ms / 1e3 - ran_s
        self.damaged += found.rotten_tail
        self.bytes = found.bytes + PLACE.size * len(self)

    def _read_done(self) -> None:
        if not self._done_file.exists():
            return
        data = self._done_file.read_bytes()
        whole = len(data) - len(data) % PLACE.size
        for place, check in PLACE.iter_unpack(data[:whole]):
            good = check == crc32(struct.pack("<I", place)) and place < len(self.states)
            if good and self.states[place] != DONE:
                self.states[place] = DONE
                self.open_frames -= 1
        if whole < len(data):  # what is appended now must begin at a place of its own
            os.truncate(self._done_file, whole)


def record_bytes(body_length: int) -> int:
    """What a frame takes on disk, with its place in the list of those that are done."""
    return RECORD.size + body_length + PLACE.size


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last.

    Raises:
        OSError: They may not.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
