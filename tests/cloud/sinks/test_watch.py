from __future__ import annotations

from io import StringIO

from rich.console import Console

from sparsight_cloud.sinks.watch import Watch

from .written import CAPTURED_UNIX_NS, CLASSES, a_record, a_refusal


def text(watch: Watch, now_unix_s: float) -> str:
    console = Console(file=StringIO(), width=80, markup=False)
    console.print(watch.table(now_unix_s))
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def test_a_row_a_stream_of_a_device() -> None:
    watch = Watch(CLASSES)
    for seq in range(20):
        watch.saw(a_record(seq, 3))
    watch.saw(a_record(0, 0, device="drone-2"))
    rows = text(watch, CAPTURED_UNIX_NS / 1e9 + 1).splitlines()
    first = next(row for row in rows if "drone-1" in row)
    cells = [cell.strip() for cell in first.strip("│").split("│")]
    assert cells == ["drone-1/cam", "20", "0", "60", "2.0", "0.50 s", "2 car, 1 van"]
    assert any("drone-2" in row and "nothing" in row for row in rows)


def test_what_was_refused_is_seen() -> None:
    watch = Watch(CLASSES)
    watch.saw(a_refusal(0))
    assert "bad_payload" in text(watch, 0)


def test_who_fell_silent_has_no_pace() -> None:
    watch = Watch(CLASSES)
    watch.saw(a_record(0))
    assert " 0.1 " in text(watch, CAPTURED_UNIX_NS / 1e9 + 1)
    assert " 0.0 " in text(watch, CAPTURED_UNIX_NS / 1e9 + 60)


def test_many_classes_are_summed_up() -> None:
    watch = Watch({"ab" * 32: ("car", "van")})
    watch.saw(a_record(0, 8))
    assert "4 car, 4 van" in text(watch, 0)


def test_bundles_that_come_later_have_names_too() -> None:
    watch = Watch({})
    watch.saw(a_record(0, 1))
    assert "1 0" in text(watch, 0)
    watch.classes = CLASSES
    watch.saw(a_record(1, 1))
    assert "1 car" in text(watch, 0)
