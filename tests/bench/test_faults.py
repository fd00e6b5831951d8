"""What the bench of faults makes of its figures; the cluster that it breaks is in `test_nodes`."""

from __future__ import annotations

import pytest
from bench.faults import FAULTS, longest_gap_s, main, table_of
from rich.console import Console


def test_a_stall_counts_from_the_fault_to_the_end() -> None:
    assert longest_gap_s([0.5, 1.0, 1.5, 4.0, 9.0], 1.2, 5.0) == 2.5
    assert longest_gap_s([], 1.0, 4.0) == 3.0
    assert longest_gap_s([3.5], 1.0, 4.0) == 2.5


def test_there_is_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"sent": 9, "lost": 0, "doubled": 0, "in_two_logs": 1, "stall_s": 1.25}
    rows = [{"fault": name, **figures, "device_stall_s": 5.0} for name in FAULTS]
    Console(width=200).print(table_of(rows))
    shown = capsys.readouterr().out
    assert all(name in shown for name in FAULTS)


def test_a_fault_that_there_is_not_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["flood"])
    assert "flood: expected some of replica, node" in capsys.readouterr().err
