"""Marks: each is told by those before it, only inside the union, and blobs are cheap."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import Bool

from sparsight.codec.marks import CONTEXTS, contexts, count_marks, pull_marks
from sparsight.codec.rans import LOWEST, push
from sparsight.codec.tables import Tables

from .frames import blobs, some_context, tables_of

MAPS = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)


def tables_for(marks: Bool[np.ndarray, "h w"], union: Bool[np.ndarray, "h w"]) -> Tables:
    return tables_of([some_context(3)], count_marks(marks, union))


@given(st.data(), MAPS)
@settings(max_examples=60)
def test_what_is_coded_comes_back(data: st.DataObject, shape: tuple[int, int]) -> None:
    union = data.draw(hnp.arrays(np.bool_, shape))
    marks = data.draw(hnp.arrays(np.bool_, shape)) & union
    tables = tables_for(marks, union)
    coder, rows = tables.coder, contexts(marks)[union]
    words, states = np.empty(len(rows), np.uint16), np.zeros(2, np.int64)
    at = push(marks[union].astype(np.int64), rows, coder.starts, words, states)
    out = np.zeros(shape, np.bool_)
    end = pull_marks(words[at:], states, 0, 0, union, coder.starts, coder.slots, out)
    assert end == len(words) - at
    assert states.tolist() == [LOWEST, LOWEST]
    np.testing.assert_array_equal(out, marks)


def test_a_context_is_the_four_neighbours_before_a_cell() -> None:
    marks = np.zeros((5, 5), np.bool_)
    marks[2, 2] = True
    told = contexts(marks)
    assert told[2, 3] == 1  # it lies to the west
    assert told[3, 2] == 2  # north
    assert told[3, 3] == 4  # north-west
    assert told[3, 1] == 8  # north-east
    assert told.sum() == 15
    assert contexts(np.ones((3, 4), np.bool_))[2].tolist() == [10, 15, 15, 7]


def test_only_the_union_is_counted() -> None:
    marks = blobs(24, 24, 0)
    union = np.zeros((24, 24), np.bool_)
    union[4:12, 8:24] = True
    counts = count_marks(marks & union, union)
    assert counts.shape == (CONTEXTS, 2)
    assert counts.sum() == union.sum()
    assert counts[:, 1].sum() == (marks & union).sum()


def test_blobs_cost_a_fraction_of_a_bit_a_cell() -> None:
    everywhere = np.ones((96, 160), np.bool_)
    tables = tables_for(blobs(96, 160, 1), everywhere)
    marks = blobs(96, 160, 2)
    rows = contexts(marks)[everywhere]
    words, states = np.empty(len(rows), np.uint16), np.zeros(2, np.int64)
    at = push(marks.ravel().astype(np.int64), rows, tables.coder.starts, words, states)
    assert 0.1 < marks.mean() < 0.3
    assert 16 * (len(words) - at) < 0.35 * marks.size


def test_too_few_words_are_noticed() -> None:
    marks = blobs(24, 24, 3)
    everywhere = np.ones_like(marks)
    tables = tables_for(blobs(24, 24, 4), everywhere)
    coder, rows = tables.coder, contexts(marks)[everywhere]
    words, states = np.empty(len(rows), np.uint16), np.zeros(2, np.int64)
    at = push(marks.ravel().astype(np.int64), rows, coder.starts, words, states)
    for few in (words[:0], words[at:-1]):
        out = np.zeros_like(marks)
        start = states.copy()
        assert pull_marks(few, start, 0, 0, everywhere, coder.starts, coder.slots, out) == -1
