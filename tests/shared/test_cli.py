import sys
import types
from importlib.metadata import EntryPoint

import pytest
import typer

from sparsight.cli import build_app, require_extra, run
from sparsight.errors import DataError

GROUP = "sparsight.commands"


def here(app: typer.Typer) -> None:
    """A group whose packages are there."""

    def fail() -> None:
        """Always fail."""
        raise DataError("no labels for frame.jpg;\nexpected frame.txt")

    app.command("fail")(fail)
    app.command("pass")(lambda: None)


def absent(app: typer.Typer) -> None:
    """A group whose extra is not installed."""
    require_extra("cloud", ["json", "no_such_package"], ["detect", "eval"])
    app.command("detect")(lambda: None)


def broken(app: typer.Typer) -> None:
    """A group with a bug, which must not pass for an extra that is missing."""
    raise ModuleNotFoundError("no module named oops", name="oops")


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("fake_commands")
    module.__dict__.update(here=here, absent=absent, broken=broken)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


@pytest.fixture
def app(group: str) -> typer.Typer:
    return build_app(EntryPoint(name, f"{group}:{name}", GROUP) for name in ("here", "absent"))


def test_help_names_the_commands_and_what_is_missing(
    app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["--help"]) == 0
    text = capsys.readouterr().out
    assert "Always fail." in text
    assert "Install sparsight[cloud] for detect, eval." in text


def test_a_missing_command_says_what_to_install(
    app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["detect", "a.jpg", "--out", "b", "--help"]) == 2
    assert "pip install 'sparsight[cloud]'" in capsys.readouterr().err


def test_an_error_is_one_line_and_its_own_exit_code(
    app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["fail"]) == DataError.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "sparsight: no labels for frame.jpg; expected frame.txt\n"


@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_lets_the_traceback_through(app: typer.Typer, arguments: list[str]) -> None:
    with pytest.raises(DataError):
        run(app, arguments)


@pytest.mark.parametrize(
    ("arguments", "code"), [(["pass"], 0), (["--version"], 0), (["no-such"], 2), ([], 2)]
)
def test_exit_codes(app: typer.Typer, arguments: list[str], code: int) -> None:
    assert run(app, arguments) == code


def test_a_bug_in_a_group_is_not_taken_for_a_missing_extra(group: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="oops"):
        build_app([EntryPoint("broken", f"{group}:broken", GROUP)])
