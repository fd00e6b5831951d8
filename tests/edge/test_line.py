import threading
import time

import pytest

from sparsight_edge.line import Line


def test_items_pass_in_order_and_the_end_comes_last() -> None:
    line: Line[int] = Line(2)
    got: list[int] = []

    def take() -> None:
        while (item := line.take()) is not None:
            got.append(item)

    taker = threading.Thread(target=take)
    taker.start()
    for i in range(1, 500):
        assert line.put(i)
    line.end()
    taker.join(30)
    assert got == list(range(1, 500))
    assert line.take() is None


def test_a_full_line_makes_put_wait() -> None:
    line: Line[int] = Line(1)
    line.put(1)
    putter = threading.Thread(target=line.put, args=(2,))
    putter.start()
    time.sleep(0.05)
    assert putter.is_alive()
    assert line.take() == 1
    putter.join(30)
    assert line.take() == 2
    assert line.skipped == 0


def test_the_newest_wins() -> None:
    line: Line[int] = Line(1, newest_wins=True)
    for i in range(5):
        line.put(i)
    assert line.take() == 4
    assert line.skipped == 4


def test_an_abandoned_line_holds_nobody() -> None:
    line: Line[int] = Line(1)
    line.put(1)
    said: list[bool] = []
    putter = threading.Thread(target=lambda: said.append(line.put(2)))
    putter.start()
    line.abandon()
    putter.join(30)
    assert said == [False]
    assert line.take() is None


def test_nothing_in_time() -> None:
    line: Line[int] = Line(1)
    with pytest.raises(TimeoutError):
        line.take(0.01)
    line.put(1)
    assert line.take(0.01) == 1
    line.end()
    assert line.take(0.01) is None
