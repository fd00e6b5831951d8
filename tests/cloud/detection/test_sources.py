from pathlib import Path, PurePath

import pytest

from sparsight.errors import UsageError
from sparsight_cloud.detection.sources import Source, find_sources


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two flights that use the same names."""
    for name in (
        *("one/b.png", "one/a.JPG", "one/notes.txt", "one/._a.jpg", "one/deep/c.tif"),
        *("two/a.jpg", "two/d.webp", "empty/readme.md"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given: str, out: str = "out", recursive: bool = False) -> list[str]:
    return [source.file_name for source in find_sources(given, Path(out), recursive)]


def pictures(*given: str) -> list[str]:
    return [source.picture.as_posix() for source in find_sources(given, Path("out"))]


def test_a_folder_gives_its_pictures_in_order(here: Path) -> None:
    assert find_sources(["one"], Path("out")) == [
        Source(Path("one/a.JPG"), "a.JPG", PurePath("a.jpg")),
        Source(Path("one/b.png"), "b.png", PurePath("b.jpg")),
    ]


def test_recursive_keeps_the_folders_below(here: Path) -> None:
    assert names("one", recursive=True) == ["a.JPG", "b.png", "deep/c.tif"]


def test_a_file_is_taken_whatever_its_ending(here: Path) -> None:
    assert names("one/notes.txt", "one/b.png") == ["notes.txt", "b.png"]


def test_a_pattern_that_the_shell_left_alone(here: Path) -> None:
    assert names("one/*") == ["a.JPG", "b.png", "c.tif"]
    assert names("*/?.png") == ["b.png"]
    assert names("**/*.tif") == ["c.tif"]


def test_a_file_with_a_patterns_letters_in_its_name(here: Path) -> None:
    (here / "a[1].png").touch()
    assert names("a[1].png") == ["a[1].png"]


def test_each_file_once(here: Path) -> None:
    assert names("one/b.png", "one", str(here / "one" / "b.png")) == ["b.png", "a.JPG"]
    (here / "link").symlink_to(here / "one")
    assert names("one", "link") == ["a.JPG", "b.png"]


def test_the_same_name_from_two_folders(here: Path) -> None:
    assert names("one", "two") == ["one/a.JPG", "b.png", "two/a.jpg", "d.webp"]
    assert pictures("one", "two") == ["one/a.jpg", "b.jpg", "two/a.jpg", "d.jpg"]
    assert names("one/a.JPG", "two/a.jpg") == ["one/a.JPG", "two/a.jpg"]


def test_names_that_differ_only_in_the_ending(here: Path) -> None:
    for name in ("b.tif", "b.jpg", "b.png.jpg"):
        (here / "one" / name).touch()
    given = ["one/b.png", "one/b.tif", "one/b.jpg", "one/b.png.jpg"]
    assert names(*given) == ["b.png", "b.tif", "b.jpg", "b.png.jpg"]
    assert pictures(*given) == ["b.png.jpg", "b.tif.jpg", "b.jpg.jpg", "b.png-2.jpg"]


def test_case_does_not_tell_names_apart(here: Path) -> None:
    (here / "one" / "A.jpg").touch()
    assert names("one") == ["A.jpg", "a-2.JPG", "b.png"]
    assert pictures("one/A.jpg", "one/a.JPG") == ["A.jpg", "a-2.jpg"]


def test_an_earlier_runs_pictures_are_no_sources(here: Path) -> None:
    (here / "one" / "out").mkdir()
    (here / "one" / "out" / "a.jpg").touch()
    assert "out/a.jpg" in names("one", recursive=True)
    assert names("one", out="one/out", recursive=True) == ["a.JPG", "b.png", "deep/c.tif"]
    assert names("one/**/*.jpg", "one/b.png", out="one/out") == ["b.png"]


def test_nothing_overwrites_its_source(here: Path) -> None:
    with pytest.raises(UsageError, match=r"two.a\.jpg is one of the pictures.* another --out"):
        find_sources(["two/a.jpg"], Path("two"))
    assert names("one/b.png", out="one") == ["b.png"]  # b.jpg is not there


def test_what_is_missing_stands_beside_what_is_there(here: Path) -> None:
    assert names("gone.jpg", "one/b.png") == ["gone.jpg", "b.png"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["gone.jpg"], "gone.jpg is neither a file nor a folder"),
        (["no/*.png"], r"nothing matches no/\*.png"),
        (["empty"], r"the folder empty holds none, folders in it apart \(--recursive\)"),
        (["gone", "empty"], "gone is neither .*, the folder empty holds none"),
    ],
)
def test_nothing_found_says_what_was_looked_for(here: Path, given: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=f"^no picture found: {says}"):
        find_sources(given, Path("out"))
