"""Settings from a file, the environment and flags; what is written down about them is true."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sparsight.errors import UsageError
from sparsight.pictures import MAX_PIXELS
from sparsight_edge.catalog import CommandLine, all_settings, needed
from sparsight_edge.cli import edge_app
from sparsight_edge.given import CONFIG_VARIABLE, Given
from sparsight_edge.given import read_settings as read_line
from sparsight_edge.plan import find_endpoint, make_plan, rate_limits
from sparsight_edge.rate.ladder import RateLimits
from sparsight_edge.settings import CloudGroup, EdgeSettings
from sparsight_edge.shown import settings_json, settings_toml

FILE = """
[source]
uri = "rtsp://joe:secret@cam/live"
fps = 2
[spool]
max_mb = 100
folder = "/var/lib/x"
"""


def read_settings(file: Path | None, flags: dict[str, object]) -> Given:
    return read_line(CommandLine(file, flags))


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SPARSIGHT_EDGE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(FILE)
    return file


def test_without_anything_all_are_at_their_defaults() -> None:
    given = read_settings(None, {})
    assert given.settings == EdgeSettings() and given.origins == {}


def test_flags_win_over_the_environment_and_that_over_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSIGHT_EDGE_SPOOL__MAX_MB", "200")
    monkeypatch.setenv("SPARSIGHT_EDGE_SOURCE__FPS", "3.5")
    monkeypatch.setenv("SPARSIGHT_EDGE_MODEL__THREADS", "")  # as compose files pass what is unset
    given = read_settings(file, {"spool.max_mb": 300, "source.latest": False})
    assert given.settings.spool.max_mb == 300
    assert given.settings.source.fps == 3.5
    assert given.settings.spool.folder == Path("/var/lib/x")
    assert given.settings.source.latest is False
    assert given.origins == {
        "source.uri": str(file),
        "spool.folder": str(file),
        "source.fps": "SPARSIGHT_EDGE_SOURCE__FPS",
        "spool.max_mb": "--spool-mb",
        "source.latest": "--latest",
    }


def test_read_again_the_file_is_new_and_the_flags_are_the_same(file: Path) -> None:
    given = read_settings(file, {"source.fps": 9.0})
    file.write_text(FILE.replace("100", "50"))
    again = read_line(given.line)
    assert again.settings.spool.max_mb == 50 and again.settings.source.fps == 9


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[spool]\nmx_mb = 3", "spool.mx_mb is no setting, the nearest is spool.max_mb"),
        ("[spol]\nmax_mb = 3", "spol.max_mb is no setting, the nearest is spool.max_mb"),
        ("spool = 3", "spool is no setting, the nearest is spool."),
        ("[spool]\nmax_mb = 0", "spool.max_mb: expected greater than or equal to 1, got 0"),
        ("[spool]\nmax_mb = 'x'", "spool.max_mb: expected a valid integer, "),
        ("[model]\nengine = 'gpu'", "model.engine: expected 'auto', 'onnx', "),
        ("[spool\n", "expected TOML: "),
        ("\xff", "expected TOML: "),
    ],
)
def test_what_is_wrong_in_the_file_is_one_line(file: Path, text: str, says: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as error:
        read_settings(file, {})
    assert str(error.value).startswith(f"{file}: {says}")


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml: can't be read: No such file"):
        read_settings(tmp_path / "gone.toml", {})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "SPARSIGHT_EDGE_SPOOL__MX_MB",
            "3",
            "the environment: SPARSIGHT_EDGE_SPOOL__MX_MB is no setting, the nearest is "
            "SPARSIGHT_EDGE_SPOOL__MAX_MB",
        ),
        ("SPARSIGHT_EDGE_SPOOL", "{}", "SPARSIGHT_EDGE_SPOOL is no setting"),
        ("SPARSIGHT_EDGE_SPOOL__MAX_MB", "x", "SPARSIGHT_EDGE_SPOOL__MAX_MB: spool.max_mb: exp"),
    ],
)
def test_what_is_wrong_in_the_environment_is_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as error:
        read_settings(None, {})
    assert says in str(error.value)


def test_other_programs_variables_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSIGHT_OTHER", "1")
    monkeypatch.setenv(CONFIG_VARIABLE, "agent.toml")
    assert read_settings(None, {}).origins == {}


def test_every_setting_is_a_flag_of_its_own_and_explained() -> None:
    settings = all_settings().values()
    names = [name for one in settings for name in one.flag.names.split("/")]
    assert len(names) == len(set(names)) and all(name.startswith("--") for name in names)
    assert all(one.description.endswith(".") and one.title for one in settings)
    command = typer.main.get_command(edge_app).commands["run"]  # type: ignore[attr-defined]
    options = {name for one in command.params for name in [*one.opts, *one.secondary_opts]}
    assert options >= set(names) | {"--config", "--json"}


def test_what_is_needed_and_not_given_says_where_to_give_it() -> None:
    with pytest.raises(UsageError) as error:
        needed(None, "source.uri")
    assert str(error.value) == (
        "source.uri is not given: say --source, SPARSIGHT_EDGE_SOURCE__URI, or uri below [source] "
        "in the file of --config"
    )
    with pytest.raises(UsageError, match=r"source\.uri is not given"):
        make_plan(EdgeSettings())
    with pytest.raises(UsageError, match=r"cloud\.address is not given"):
        find_endpoint(CloudGroup())


def test_the_written_file_reads_back_as_what_is_in_force(file: Path, tmp_path: Path) -> None:
    given = read_settings(
        file, {"source.loop": True, "source.stream": 'ü "x" \\ \n', "cloud.ca": "ca"}
    )
    written = tmp_path / "written.toml"
    written.write_text(settings_toml(given))
    back = read_settings(written, {})
    assert back.settings == given.settings
    assert back.origins.keys() == given.origins.keys()
    lines = written.read_text().splitlines()
    assert [line for line in lines if len(line) > 100] == []
    assert "# The least grave of what is logged. (--log-level, reloads)" in lines
    assert "# threads = 1" in lines and "[report]  # What it tells" in lines
    # Every line that is commented out is a setting, too.
    keys = re.findall(r"^(?:# )?(\w+) =", written.read_text(), re.MULTILINE)
    assert sorted(keys) == sorted(one.field for one in all_settings().values())


def test_a_password_is_not_shown(file: Path) -> None:
    given = read_settings(file, {})
    shown = settings_json(given)
    assert shown["source.uri"]["value"] == "rtsp://cam/live"
    assert shown["source.uri"]["from"] == str(file)
    assert shown["model.threads"] == {"value": 1, "from": "default", "reloads": False}
    assert shown["report.log_level"]["reloads"]


def test_the_command_shows_them_in_three_ways(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*arguments: str) -> str:
        done = CliRunner().invoke(edge_app, ["settings", *arguments], env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        return done.stdout

    table = said("--config", str(file), "--threads", "4")
    assert "secret" not in table and "--threads" in table and "agent.toml" in table
    assert json.loads(said("--json"))["spool.max_mb"]["value"] == 512
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    assert "max_mb = 100" in said("--toml").splitlines()


def test_the_limit_of_pixels_is_as_the_help_says() -> None:
    assert MAX_PIXELS == 200_000_000


def test_a_promise_lets_the_rate_follow_unless_it_is_fixed() -> None:
    def limits(**flags: object) -> RateLimits | None:
        return rate_limits(
            read_settings(None, {k.replace("__", "."): v for k, v in flags.items()}).settings
        )

    assert limits() is None
    assert limits(link__max_kbps=400.0) == limits(link__adapt=True) == RateLimits()
    assert limits(link__max_kbps=400.0, model__rate=1) is None
    assert limits(link__max_kbps=400.0, link__adapt=False) is None
    bounds = limits(link__adapt=True, link__finest_rate=1, link__coarsest_rate=3)
    assert bounds is not None and (bounds.finest, bounds.coarsest) == (1, 3)
    with pytest.raises(UsageError, match="are for --adapt: give it too"):
        limits(link__target_age_s=2.0)
    with pytest.raises(UsageError, match=r"link\.max_kbps|--max-kbps"):
        limits(link__max_kbps=float("inf"))
    with pytest.raises(UsageError, match="--rate fixes the rate, --adapt lets it follow"):
        limits(link__adapt=True, model__rate=1)
    assert [s.path for s in all_settings().values() if s.live and s.group == "link"] == [
        "link.max_kbps",
        "link.finest_rate",
        "link.coarsest_rate",
        "link.min_patches",
        "link.max_skip",
        "link.target_age_s",
    ]
