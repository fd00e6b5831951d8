"""The payload format in plain Python: slow, short, and the same bytes as the kernels.

For whoever writes a coder in another language: this file and the drawing in `payload` are the whole
format. It takes what is sound for granted; `payload` is what refuses.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from jaxtyping import Bool

from sparsight.codec.bank import ESCAPE, FRACTIONS, MIDDLE, SCALES
from sparsight.codec.context import SIZES, Context
from sparsight.codec.marks import CONTEXTS
from sparsight.codec.payload import BUNDLE_BYTES, MAGIC, VERSION, CodedFrame
from sparsight.codec.tables import Tables
from sparsight.codec.zones import UNTOLD
from sparsight.geometry import ALIGN_CELLS

Starts = Sequence[int]
"""Of one table: the sum of the frequencies before each symbol, 0 to 2**14."""


def push(symbols: Sequence[tuple[int, Starts]]) -> tuple[list[int], list[int]]:
    """Code symbols, each with its table.

    Returns:
        The words, in the order in which they are read, and the two states.
    """
    states, words = [1 << 16, 1 << 16], list[int]()
    for i in reversed(range(len(symbols))):
        symbol, starts = symbols[i]
        start, width = starts[symbol], starts[symbol + 1] - starts[symbol]
        state = states[i % 2]
        if state >= width << 18:
            words.append(state & 0xFFFF)
            state >>= 16
        states[i % 2] = (state // width << 14) + state % width + start
    return words[::-1], states


class Puller:
    """Reads symbols back, the first first.

    Attributes:
        states: The two states; 2**16 both after the last symbol.
        unread: Words that are left.
    """

    def __init__(self, words: Sequence[int], states: Sequence[int]) -> None:
        """From coded words and the states that the coder ended in."""
        self.states = list(states)
        self.unread = list(words)
        self._turn = 0

    def __call__(self, starts: Starts) -> int:
        """The next symbol, of this table."""
        state = self.states[self._turn]
        slot = state & 0x3FFF
        symbol = bisect_right(starts, slot) - 1
        state = (starts[symbol + 1] - starts[symbol]) * (state >> 14) + slot - starts[symbol]
        if state < 1 << 16:
            state = state << 16 | self.unread.pop(0)
        self.states[self._turn] = state
        self._turn ^= 1
        return symbol


def encode(frame: CodedFrame, tables: Tables, bundle_id: str) -> bytes:
    """What `payload.encode` says of a sound frame."""
    sides = [side // ALIGN_CELLS for side in (*frame.grid_hw, *frame.patch_hw)]
    out = MAGIC + bytes([VERSION]) + bytes.fromhex(bundle_id)[:BUNDLE_BYTES]
    out += bytes([frame.rate, frame.halo])
    out += b"".join(side.to_bytes(2, "little") for side in sides[:2]) + bytes(sides[2:])
    out += _number(len(frame.origins_yx))
    for y, x in frame.origins_yx.tolist():
        out += _number(y // ALIGN_CELLS * sides[1] + x // ALIGN_CELLS)
    if len(frame.origins_yx):
        contexts, raw, bank = _tables(tables)
        symbols = [
            (int(frame.marks[y, x]), contexts[_context(frame.marks, y, x)])
            for y, x in _cells(frame.union())
        ]
        cells = _Cells(tables.contexts[frame.rate], frame)
        for cell in range(len(cells.zones)):
            for k, latent in enumerate(frame.latents[:, cell].tolist()):
                row, middle = cells.expected(cell, k)
                symbol = latent - middle + MIDDLE
                if 0 <= symbol < ESCAPE and bank[row][symbol] < bank[row][symbol + 1]:
                    symbols.append((symbol, bank[row]))
                else:
                    symbols += [(ESCAPE, bank[row]), (latent + 128, raw)]
                cells.note(cell, k, latent)
        words, states = push(symbols)
        out += _number(len(words)) + b"".join(state.to_bytes(4, "little") for state in states)
        out += b"".join(word.to_bytes(2, "little") for word in words)
    else:
        out += _number(0)
    return out + zlib.crc32(out).to_bytes(4, "little")


def decode(data: bytes, tables: Tables) -> CodedFrame:
    """What `payload.decode` says of a sound payload."""
    at = len(MAGIC) + 1 + BUNDLE_BYTES
    rate, halo = data[at], data[at + 1]
    grid_h, grid_w = (
        ALIGN_CELLS * int.from_bytes(data[i : i + 2], "little") for i in (at + 2, at + 4)
    )
    patch_hw = (ALIGN_CELLS * data[at + 6], ALIGN_CELLS * data[at + 7])
    numbers = _numbers(data, at + 8)
    count, at = next(numbers)
    origins = np.zeros((count, 2), np.int32)
    for i in range(count):
        field, at = next(numbers)
        origins[i] = np.array(divmod(field, grid_w // ALIGN_CELLS)) * ALIGN_CELLS
    words_count, at = next(numbers)
    marks = np.zeros((grid_h, grid_w), np.bool_)
    none = np.zeros((tables.channels, 0), np.int8)
    frame = CodedFrame(rate, halo, (grid_h, grid_w), patch_hw, origins, marks, none)
    if not count:
        return frame
    states = [int.from_bytes(data[i : i + 4], "little") for i in (at, at + 4)]
    first = at + 8
    words = [int.from_bytes(data[first + 2 * i :][:2], "little") for i in range(words_count)]
    pull, (contexts, raw, bank) = Puller(words, states), _tables(tables)
    for y, x in _cells(frame.union()):
        marks[y, x] = pull(contexts[_context(marks, y, x)])
    cells = _Cells(tables.contexts[rate], frame)
    latents = np.zeros((tables.channels, len(cells.zones)), np.int8)
    for cell in range(len(cells.zones)):
        for k in range(tables.channels):
            row, middle = cells.expected(cell, k)
            symbol = pull(bank[row])
            latents[k, cell] = pull(raw) - 128 if symbol == ESCAPE else middle + symbol - MIDDLE
            cells.note(cell, k, int(latents[k, cell]))
    return CodedFrame(rate, halo, frame.grid_hw, patch_hw, origins, marks, latents)


class _Cells:
    """The told cells of the latents, and what is known of them so far.

    Attributes:
        zones: Of each.
    """

    def __init__(self, net: Context, frame: CodedFrame) -> None:
        """Of a frame whose marks are known."""
        zones = frame.zones()
        told = zones != UNTOLD
        self.zones: list[int] = zones[told].tolist()
        self._number = {(int(y), int(x)): i for i, (y, x) in enumerate(np.argwhere(told))}
        self._places = list(self._number)
        self._known: list[list[int]] = [[] for _ in self.zones]
        self._around, self._lift = net.around.tolist(), net.lift.tolist()
        self._out, self._own = net.out.tolist(), net.own.tolist()
        self._bias, self._units = net.bias.tolist(), net.units.tolist()
        self._sums: list[list[int]] = []

    def expected(self, cell: int, k: int) -> tuple[int, int]:
        """Row of the bank, and the latent in its middle."""
        if k == 0:
            self._look_around(cell)
        units = self._units[self.zones[cell]][k]
        location = self._sums[0][k] * ((2**18 + units // 2) // units)
        eighths = min(max((location + 2**23) >> 24, -1024), 1016)
        scale = min(max((self._sums[1][k] + 2**11) >> 12, 0), SCALES - 1)
        return scale * FRACTIONS + eighths % FRACTIONS, eighths // FRACTIONS

    def note(self, cell: int, k: int, latent: int) -> None:
        """A latent becomes known."""
        value = (latent * self._units[self.zones[cell]][k] + 8) >> 4
        value = min(max(value, -127), 127)
        size = int(SIZES[abs(value)])
        for later in range(k + 1, len(self._own)):
            self._sums[0][later] += value * self._own[k][0][later]
            self._sums[1][later] += size * self._own[k][1][later]
        self._known[cell].append(value)

    def _look_around(self, cell: int) -> None:
        y, x = self._places[cell]
        hidden = list(self._lift[self.zones[cell]])
        for place, (dy, dx) in enumerate(((0, -1), (-1, 0), (-1, -1), (-1, 1))):
            near = self._number.get((y + dy, x + dx))
            if near is not None:
                for value, weights in zip(
                    [*self._known[near], 16], self._around[place], strict=True
                ):
                    hidden = [h + value * w for h, w in zip(hidden, weights, strict=True)]
        self._sums = [list(row) for row in self._bias[self.zones[cell]]]
        for h, weights in zip(hidden, self._out, strict=True):
            for row, told in zip(self._sums, weights, strict=True):
                for k, weight in enumerate(told):
                    row[k] += min(max(h >> 8, 0), 511) * weight


def _tables(tables: Tables) -> tuple[list[Starts], Starts, list[Starts]]:
    """Tables of the marks by context, of bytes that are all alike, and of the bank."""
    total = 1 << 14
    marks = [[0, total - int(tables.ones[i]), total] for i in range(CONTEXTS)]
    raw = [64 * symbol for symbol in range(257)]
    bank = [[0, *accumulate(row)] for row in tables.bank.tolist()]
    return list(marks), raw, list(bank)


def _cells(union: Bool[np.ndarray, "h w"]) -> Iterator[tuple[int, int]]:
    """Cells of the union, row by row."""
    for y, x in np.argwhere(union):
        yield int(y), int(x)


def _context(marks: Bool[np.ndarray, "h w"], y: int, x: int) -> int:
    """1 for a marked neighbour to the west, 2 north, 4 north-west, 8 north-east."""
    around = ((y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1))
    height, width = marks.shape
    return sum(
        1 << i
        for i, (v, u) in enumerate(around)
        if 0 <= v < height and 0 <= u < width and marks[v, u]
    )


def _number(value: int) -> bytes:
    """LEB128: seven bits a byte, the lowest first; the top bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _numbers(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """LEB128 numbers from here on, each with the place after it."""
    while True:
        value, shift = 0, 0
        while data[at] > 0x7F:
            value |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
        value |= data[at] << shift
        at += 1
        yield value, at
