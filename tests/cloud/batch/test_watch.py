import re
import time
from io import StringIO

from rich.console import Console

from sparsight_cloud.batch.rows import Made
from sparsight_cloud.batch.watch import Watch


def test_lines_where_there_is_no_terminal() -> None:
    said = StringIO()
    began_unix_s = time.time() - 10
    with Watch(Console(file=said, width=200), 100, 20, every_s=0) as watch:
        watch.saw(Made(20, 0, 1, 1, 1, began_unix_s), 0)
        watch.saw(Made(20, 1, 1, 1, 1, began_unix_s), 1)
    first, second, third = said.getvalue().splitlines()
    assert first == "80 pictures to do; starting Ray"
    assert second == "40 of 100 pictures, 2.0/s, 0 min 30 s left"
    assert re.fullmatch(r"60 of 100 pictures, 4\.0/s, 0 min 10 s left, 1 failed", third)


def test_lines_come_now_and_then() -> None:
    said = StringIO()
    with Watch(Console(file=said), 100, 0, every_s=60) as watch:
        watch.saw(Made(20, 0, 1, 1, 1, time.time()), 0)
    assert said.getvalue().count("\n") == 1


def test_a_bar_in_a_terminal() -> None:
    said = StringIO()
    with Watch(Console(file=said, force_terminal=True, width=120), 100, 0) as watch:
        watch.saw(Made(20, 2, 1, 1, 1, time.time() - 10), 2)
    assert "2.0 pictures/s, 2 failed" in said.getvalue() and "20/100" in said.getvalue()
