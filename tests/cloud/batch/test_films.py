from pathlib import Path

import numpy as np
import pytest

from sparsight.errors import PictureError
from sparsight_cloud.batch.films import frame_stamps, read_frames

from .films import HW, grey_of, write_film

N = 30
MANY = 10**9


@pytest.fixture(
    scope="module",
    params=[("a.mp4", "mpeg4"), ("a.mkv", "mpeg4"), ("a.avi", "mjpeg"), ("a.ts", "mpeg2video")],
)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, codec = request.param
    return write_film(tmp_path_factory.mktemp("films") / name, N, codec)


def stamps(film: Path) -> list[int | None]:
    with film.open("rb") as file:
        return frame_stamps(file, film.name)


def read(film: Path, places: list[int], known: bool = True, limit: int = MANY) -> list[object]:
    all_stamps = stamps(film)
    wanted = [(place, all_stamps[place] if known else None) for place in places]
    with film.open("rb") as file:
        return list(read_frames(file, film.name, wanted, limit))


def test_every_frame_has_a_stamp(film: Path) -> None:
    found = [stamp for stamp in stamps(film) if stamp is not None]
    assert len(found) == N and found == sorted(set(found))


@pytest.mark.parametrize("places", [[0], [29], list(range(0, N, 7)), [13, 14], list(range(N))])
@pytest.mark.parametrize("known", [True, False], ids=["stamps", "counted"])
def test_any_frames_can_be_read_on_their_own(film: Path, places: list[int], known: bool) -> None:
    frames = read(film, places, known)
    assert len(frames) == len(places)
    for place, frame in zip(places, frames, strict=True):
        assert isinstance(frame, np.ndarray) and frame.shape == (*HW, 3)
        assert abs(float(frame.mean()) - grey_of(place)) < 2.5, place


def test_a_frame_over_the_limit_is_not_decoded_to_pixels(film: Path) -> None:
    (frame,) = read(film, [3], limit=10)
    assert isinstance(frame, PictureError) and "frame 3: 96x64 is over the limit" in str(frame)


def test_frames_after_the_end_are_lost_and_said(film: Path) -> None:
    last = stamps(film)[-1]
    assert last is not None
    with film.open("rb") as file:
        got = list(read_frames(file, "a", [(29, last), (30, last + 7), (31, last + 99)], MANY))
    assert [isinstance(one, PictureError) for one in got] == [False, True, True]
    assert "a, frame 31: can't be decoded" in str(got[2])


def test_a_cut_film_gives_what_is_there(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", N)
    listed = stamps(film)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    with film.open("rb") as file:
        got = list(read_frames(file, "a.mkv", list(enumerate(listed)), MANY))
    bad = [isinstance(one, PictureError) for one in got]
    assert len(got) == N and not bad[0] and bad[-1] and bad == sorted(bad)


def test_no_film_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film" * 100)
    with pytest.raises(PictureError, match=r"a.mp4: can't be read as a film"):
        stamps(tmp_path / "a.mp4")
    with (tmp_path / "a.mp4").open("rb") as file:
        (got,) = read_frames(file, "a.mp4", [(0, None)], MANY)
    assert isinstance(got, PictureError)
