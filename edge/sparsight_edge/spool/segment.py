"""One append-only file of frames, and beside it the list of those that are done.

    0000000007.0000000000.seg   header | record | record | record | (torn tail)
    0000000007.0000000000.done  place  | place  | (torn tail)

    header  magic 4s, epoch u64, first seq u64, crc32 u32 of these
    record  length u32, crc32 u32 of the body, crc32 u32 of these two, body
    place   number of the record u32, crc32 u32 of it

Frames of a segment have one epoch and consecutive seqs, so a record's place is its key. Little
endian. A file may end anywhere, since the machine may stop anywhere: what is behind the last whole
record was never promised to anybody. A body that rotted is passed over, a record's head that did
hides what is behind it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from array import array
from pathlib import Path
from zlib import crc32

MAGIC = b"SPG1"
HEADER = struct.Struct("<4sQQI")
RECORD = struct.Struct("<III")
PLACE = struct.Struct("<II")

PENDING, TAKEN, HELD, DONE = range(4)
"""What a frame is: to be sent, being sent, not to be sent for now, answered or gone."""


class Segment:
    """One file of frames, its place list, and what is to be done with each.

    Five bytes of memory a frame. Not for threads: the spool that owns it has the lock.

    Attributes:
        file: The frames.
        epoch: The boot that they are of.
        first_seq: Number of the first.
        states: `PENDING`, `TAKEN`, `HELD` or `DONE` of each.
        open_frames: How many are not done.
        bytes: What both files take on disk, with a place for every frame.
        damaged: Frames that could not be read when the file was opened.
        hint: No frame before this place is `PENDING`.
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
        self._ends = array("Q")  # where each record ends
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
        file = folder / f"{epoch:010d}.{first_seq:010d}.seg"
        segment = cls(file, epoch, first_seq)
        segment._write_fd = os.open(
            file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        head = HEADER.pack(MAGIC, epoch, first_seq, 0)[:-4]
        try:
            _write(segment._write_fd, head + struct.pack("<I", crc32(head)))
            sync_folder(folder)
        except OSError:
            segment.remove()
            raise
        return segment

    @classmethod
    def load(cls, file: Path) -> Segment | None:
        """Read what an earlier boot left.

        Returns:
            The segment, never to be written again but for its done frames; None if the file ended
            before its first frame did.

        Raises:
            OSError: It can't be read.
        """
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(HEADER.size)
            if len(head) < HEADER.size:
                return None
            magic, epoch, first_seq, check = HEADER.unpack(head)
            if magic != MAGIC or check != crc32(head[:-4]):
                return None
            segment = cls(file, epoch, first_seq)
            while len(record := stream.read(RECORD.size)) == RECORD.size:
                length, body_check, head_check = RECORD.unpack(record)
                if head_check != crc32(record[:-4]) or length > size - stream.tell():
                    break
                rotten = crc32(stream.read(length)) != body_check
                if rotten and stream.tell() == size:
                    break  # of the last record: torn, not rotten
                segment._take_down(length, DONE if rotten else PENDING)
                segment.damaged += rotten
        if not segment.states:
            return None
        segment._read_done()
        return segment

    def __len__(self) -> int:
        return len(self.states)

    def append(self, body: bytes) -> None:
        """Write a frame; it is there, for every process of this machine, when this returns.

        Raises:
            OSError: It can't be written whole, and then none of it is there.
        """
        head = struct.pack("<II", len(body), crc32(body))
        try:
            _write(self._write_fd, head + struct.pack("<I", crc32(head)) + body)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._write_fd, self._length)
                os.lseek(self._write_fd, self._length, os.SEEK_SET)
            raise
        self._take_down(len(body), PENDING)

    def read(self, place: int) -> bytes | None:
        """A frame's bytes, or None if they rotted.

        Raises:
            OSError: The file can't be read.
        """
        if self._read_fd < 0:
            self._read_fd = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        begin = self._ends[place - 1] if place else HEADER.size
        record = os.pread(self._read_fd, self._ends[place] - begin, begin)
        head, body = record[: RECORD.size], record[RECORD.size :]
        if len(head) < RECORD.size or crc32(body) != RECORD.unpack(head)[1]:
            return None
        return body

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

    def _take_down(self, length: int, state: int) -> None:
        self._length += RECORD.size + length
        self._ends.append(self._length)
        self.states.append(state)
        self.open_frames += state != DONE
        self.bytes += record_bytes(length)

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
