from __future__ import annotations

from pathlib import Path

import pytest

from sparsight.errors import UsageError
from sparsight.wire import Telemetry
from sparsight_edge.telemetry.table import LIVE_SAMPLES_MAX, LiveTable, read_film, read_names


def write(folder: Path, text: str) -> Path:
    file = folder / "flight.csv"
    file.write_text(text)
    return file


def test_pictures_by_name(tmp_path: Path) -> None:
    file = write(
        tmp_path, '\ufeffname, lat_deg,alt_m\r\na.jpg,48.1,\r\n\r\n"b,c.jpg",,-3\r\nd,,\r\n'
    )
    assert read_names(file) == {
        "a.jpg": Telemetry(lat_deg=48.1),
        "b,c.jpg": Telemetry(alt_m=-3),
    }


def test_a_film_by_seconds(tmp_path: Path) -> None:
    track = read_film(write(tmp_path, "lat_deg,film_s\n1,0\n2,1\n"))
    assert track.at(0.5) == Telemetry(lat_deg=1.5)


def test_a_camera_by_the_time_of_day_from_a_file_that_grows(tmp_path: Path) -> None:
    file = write(tmp_path, "time_utc,lat_deg\n")
    table = LiveTable(file)
    at_s = 1_780_315_200.0  # 2026-06-01 12:00 UTC
    assert table.at(at_s) is None
    with file.open("a") as more:
        more.write("2026-06-01T12:00:00,10\n2026-06-01T14:00:01+02:00,1")
        more.flush()
        assert table.at(at_s + 0.25) == Telemetry(lat_deg=10)
        more.write("2\nnonsense\n\0\n\n2026-06-01T12:00:02Z,95\n2026-06-01T12:00:02.5Z,15\n")
        more.flush()
    assert table.at(at_s + 0.5) == Telemetry(lat_deg=11)
    assert table.at(at_s + 1.5) == Telemetry(lat_deg=13)
    assert table.at(at_s + 60) is None
    table.close()


def test_a_long_flight_is_read_as_far_as_it_is_wanted(tmp_path: Path) -> None:
    rows = 3 * LIVE_SAMPLES_MAX
    file = write(tmp_path, "unix_s,alt_m\n" + "".join(f"{i},{i}\n" for i in range(rows)))
    table = LiveTable(file)
    assert table.at(100.5) == Telemetry(alt_m=100.5)
    for _ in range(20):
        found = table.at(rows - 1.5)
    assert found == Telemetry(alt_m=rows - 1.5)
    table.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a header with one of name, film_s, unix_s, time_utc"),
        ("lat_deg,lon_deg\n", "expected a header"),
        ("name,latitude\n", "got 'name,latitude'"),
        ("name,film_s,alt_m\n", "expected a header"),
        ("name,alt_m,alt_m\n", "expected a header"),
        ("film_s,alt_m\n1,2\n", "key is film_s; of pictures it must be name"),
        ("name,alt_m\na,1\nb,high\n", "line 3: could not convert"),
        ("name,alt_m\na\n", "line 2: expected 2 cells, got 1"),
        ("name,lat_deg\na,91\n", "line 2: telemetry.lat_deg: expected -90 to 90"),
        ("name,lat_deg\na,nan\n", "line 2: telemetry.lat_deg"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        read_names(write(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["film_s,alt_m\n1,2\n1,3\n", "film_s,alt_m\nsoon,2\n"])
def test_a_film_s_seconds_grow(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="expected seconds that grow"):
        read_film(write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for read in (read_names, read_film, LiveTable):
        with pytest.raises(UsageError, match="can't be read"):
            read(tmp_path / "gone.csv")
