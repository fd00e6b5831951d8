"""The bytes of a file of frames, and how frames are found in it when some of them rotted.

    header  magic 4s, epoch u64, first seq u64, crc32 u32 of these
    record  mark 4s, place u32, length u32, wall clock u64 ms, time since boot u64 ms,
            crc32 u32 of the body, crc32 u32 of epoch, first seq and these, body

A device's spool is made of these, and so is a cloud's archive. In a spool, first seq and place are
a frame's seq; elsewhere ask the frame.

Little endian. A record's place is its number in the file. Its head's checksum holds for this file
only, so what a disk shows of a file that was there before is no frame. A file may end anywhere,
since the machine may stop anywhere: a record that is too short was being written. One that is long
enough and wrong has rotted, and the next one is found by its mark; so rot costs what it hits. The
header's numbers are in the file's name too.

Files of before 2026-11-28 (`SPG1`) are read, not written: their records are a length u32, crc32 u32
of the body, crc32 u32 of these two, and the body; a head that rotted hides what is behind it.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from errno import EIO
from pathlib import Path
from zlib import crc32

from sparsight.errors import SpoolError

MAGIC, OLD_MAGIC = b"SPG2", b"SPG1"
HEADER = struct.Struct("<4sQQI")
RECORD = struct.Struct("<4sIIQQII")
OLD_RECORD = struct.Struct("<III")
MARK = b"\xf5Fr\n"

_NAME = re.compile(r"(\d+)\.(\d+)\.seg")
_BLOCK_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Record:
    """A frame as it was found in a file.

    Attributes:
        place: Its number in the file.
        begin: Where it begins, bytes.
        end: Where it ends, bytes.
        whole: Its body is what was written.
        unix_ms: What the wall clock showed when it was appended.
        ran_ms: Time since the boot then.
    """

    place: int
    begin: int
    end: int
    whole: bool
    unix_ms: int
    ran_ms: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds.

    Attributes:
        epoch: Boot of its frames.
        first_seq: Number of the frame at place 0.
        old: It is of the format before.
        records: In order; what lies between two was other records.
        rotten_tail: Behind the last one lies another that rotted.
        bytes: Size of the file.
    """

    epoch: int
    first_seq: int
    old: bool
    records: list[Record]
    rotten_tail: bool
    bytes: int


def header(epoch: int, first_seq: int) -> bytes:
    """The first bytes of a file."""
    head = struct.pack("<4sQQ", MAGIC, epoch, first_seq)
    return head + struct.pack("<I", crc32(head))


def record(seed: int, place: int, body: bytes, unix_ms: int, ran_ms: int) -> bytes:
    """A frame as it is written.

    Args:
        seed: Of its file (`seed_of`).
        place: Its number there.
        body: The frame.
        unix_ms: Wall clock.
        ran_ms: Time since the boot.
    """
    head = RECORD.pack(MARK, place, len(body), unix_ms, ran_ms, crc32(body), 0)[:-4]
    return head + struct.pack("<I", crc32(head, seed)) + body


def body_of(data: bytes, *, old: bool) -> bytes | None:
    """The frame in a record, or None if it rotted.

    Args:
        data: From the record's begin; more may follow.
        old: It is of the format before.
    """
    form = OLD_RECORD if old else RECORD
    if len(data) < form.size:
        return None
    head = form.unpack(data[: form.size])
    length, check = (head[0], head[1]) if old else (head[2], head[5])
    body = data[form.size : form.size + length]
    return body if len(body) == length and crc32(body) == check else None


def seed_of(epoch: int, first_seq: int) -> int:
    """What a file's checksums of heads begin with."""
    return crc32(struct.pack("<QQ", epoch, first_seq))


def name_of(epoch: int, first_seq: int) -> str:
    """A file's name."""
    return f"{epoch:010d}.{first_seq:010d}.seg"


def read_file(file: Path) -> Found | None:
    """Look for frames in a file.

    Returns:
        What it holds; None if it is not a spool's.

    Raises:
        OSError: It can't be read; a part that can't be is taken for rotten.
        SpoolError: It is of a later version.
    """
    data, changed_ms = _read(file)
    head = data[: HEADER.size].ljust(HEADER.size, b"\0")
    magic, epoch, first_seq, check = HEADER.unpack(head)
    sound = check == crc32(head[:-4])
    if sound and magic not in (MAGIC, OLD_MAGIC):
        raise SpoolError(
            f"{file}: frames of format {magic.decode('ascii', 'replace')}, this program reads "
            f"{OLD_MAGIC.decode()} and {MAGIC.decode()}; send them with the program that wrote them"
        )
    if not sound:
        named = _NAME.fullmatch(file.name)
        if named is None:
            return None
        epoch, first_seq = int(named[1]), int(named[2])
    old = sound and magic == OLD_MAGIC
    records = [] if old else list(_records(data, epoch, first_seq))
    if not records and (old or not sound):  # a header that rotted does not tell the format
        records = list(_old_records(data, changed_ms))
        old = old or bool(records)
    end = records[-1].end if records else HEADER.size
    rotten = not old and _is_rotten(data, end, seed_of(epoch, first_seq))
    return Found(epoch, first_seq, old, records, rotten, len(data))


def epoch_in(file: Path) -> int:
    """The boot in a file's name; 0 if there is none."""
    named = _NAME.fullmatch(file.name)
    return int(named[1]) if named else 0


def _records(data: bytes, epoch: int, first_seq: int) -> Iterator[Record]:
    seed, place, end, at = seed_of(epoch, first_seq), 0, HEADER.size, HEADER.size
    while (at := data.find(MARK, at)) >= 0:
        head = _head(data, at, seed)
        # As many records as were passed over must have had room there.
        if head is None or not 0 <= head[1] - place <= (at - end) // RECORD.size:
            at += 1
            continue
        _, place, length, unix_ms, ran_ms, body_check, _ = head
        body = memoryview(data)[at + RECORD.size : at + RECORD.size + length]
        if len(body) < length:
            return
        begin, at = at, at + RECORD.size + length
        yield Record(place, begin, at, crc32(body) == body_check, unix_ms, ran_ms)
        place, end = place + 1, at


def _head(data: bytes, at: int, seed: int) -> tuple[bytes, int, int, int, int, int, int] | None:
    head = data[at : at + RECORD.size]
    if len(head) < RECORD.size:
        return None
    fields: tuple[bytes, int, int, int, int, int, int] = RECORD.unpack(head)
    return fields if fields[0] == MARK and fields[-1] == crc32(head[:-4], seed) else None


def _is_rotten(data: bytes, end: int, seed: int) -> bool:
    """Whether what is behind the last record was one; zeros are what power cuts leave."""
    if len(data) - end < RECORD.size or not data[end:].strip(b"\0"):
        return False
    return _head(data, end, seed) is None


def _old_records(data: bytes, changed_ms: int) -> Iterator[Record]:
    place, at = 0, HEADER.size
    while len(head := data[at : at + OLD_RECORD.size]) == OLD_RECORD.size:
        length, body_check, head_check = OLD_RECORD.unpack(head)
        body = memoryview(data)[at + OLD_RECORD.size : at + OLD_RECORD.size + length]
        if head_check != crc32(head[:-4]) or len(body) < length:
            return
        begin, at = at, at + OLD_RECORD.size + length
        yield Record(place, begin, at, crc32(body) == body_check, changed_ms, 0)
        place += 1


def _read(file: Path) -> tuple[bytes, int]:
    """A file's bytes, zeros for those that the disk lost, and when it was changed last, ms."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        data = b"".join(_read_part(fd, 0, found.st_size))
        return data, found.st_mtime_ns // 1_000_000
    finally:
        os.close(fd)


def _read_part(
    fd: int, begin: int, end: int, chunk_bytes: int = 256 * _BLOCK_BYTES
) -> Iterator[bytes]:
    for at in range(begin, end, chunk_bytes):
        want = min(chunk_bytes, end - at)
        try:
            yield os.pread(fd, want, at)
        except OSError as error:
            if error.errno != EIO:
                raise
            if chunk_bytes > _BLOCK_BYTES:
                yield from _read_part(fd, at, at + want, _BLOCK_BYTES)
            else:
                yield bytes(want)
