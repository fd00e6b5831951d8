"""Every exit code is written down, and what is written down is true."""

import re
from pathlib import Path

from typer.testing import CliRunner

from sparsight import errors
from sparsight.errors import DataError, SparsightError, TrainingError
from sparsight_edge.cli import edge_app
from sparsight_edge.exits import EXITS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "edge.md"


def test_every_error_of_the_agent_is_in_the_table() -> None:
    found = [one for one in vars(errors).values() if isinstance(one, type)]
    ours = {one for one in found if issubclass(one, SparsightError)} - {DataError, TrainingError}
    codes = [one.code for one in EXITS]
    assert {one.exit_code for one in ours} <= set(codes)
    assert codes == sorted(set(codes))


def test_the_docs_have_the_same_table() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \| (.+) \|$", DOCS.read_text(), re.MULTILINE)
    assert rows == [(str(one.code), one.meaning, one.then) for one in EXITS]


def test_the_help_and_the_command_have_them_all() -> None:
    wide = {"COLUMNS": "200"}
    listed = CliRunner().invoke(edge_app, ["exit-codes"], env=wide).stdout
    helped = CliRunner().invoke(edge_app, ["run", "--help"], env=wide).stdout
    for one in EXITS:
        assert str(one.code) in listed and one.meaning in listed and one.then in listed
        assert f"{one.code}: {one.meaning}" in helped
