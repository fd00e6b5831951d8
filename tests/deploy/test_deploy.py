"""What is deployed is what the package is: units, scripts and settings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from sparsight_edge.catalog import CommandLine
from sparsight_edge.given import read_settings
from sparsight_edge.plan import spool_folder

from .given import DEPLOY, ROOT

UNIT = DEPLOY / "systemd" / "sparsight-edge.service"
INSTALL = DEPLOY / "jetson" / "install.sh"
BOARDS = sorted((DEPLOY / "jetson").glob("*.toml"))
EXPOSURE_MAX = 2.0
"""Of systemd's ten; a unit without any of it has 9.6."""


def call(*command: object, code: int = 0) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """The units as they lie on a machine where the program is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/sparsight/venv/bin/sparsight", "/bin/true"))
    shutil.copytree(tmp_path, tmp_path / "plain")
    drop_in = tmp_path / f"{UNIT.name}.d"
    drop_in.mkdir()
    shutil.copy(DEPLOY / "jetson" / "jetson.conf", drop_in)
    return [tmp_path / "plain" / UNIT.name, unit]


def test_systemd_finds_nothing_wrong(installed: list[Path]) -> None:
    for unit in installed:
        assert call("systemd-analyze", "verify", unit) == ""


def test_systemd_finds_little_exposed(installed: list[Path]) -> None:
    for unit in installed:
        said = call("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
        (level,) = re.findall(r"exposure level for \S+ (\S+)", said)
        assert float(level) <= EXPOSURE_MAX, said


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_a_boards_settings_are_settings(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SPARSIGHT_EDGE_")]:
        monkeypatch.delenv(name)
    settings = read_settings(CommandLine(board, {})).settings
    assert settings.cloud.cert and settings.model.bundle == Path("/opt/sparsight/bundle")
    unit = UNIT.read_text()
    assert re.findall(r"^TimeoutStopSec=(\d+)", unit, re.MULTILINE)
    stop_s = int(re.findall(r"^TimeoutStopSec=(\d+)", unit, re.MULTILINE)[0])
    assert settings.cloud.grace_s < stop_s / 2
    state, cache = Path("/var/lib/sparsight"), Path("/var/cache/sparsight")
    assert state in spool_folder(settings, "drone").parents
    assert settings.model.plans is not None and cache in settings.model.plans.parents


def test_the_script_says_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    said = call(
        *(INSTALL, "--dry-run", "--root", tmp_path, "--bundle", ROOT / "models" / "default"),
        *("--board", "orin-nx"),
    )
    assert list(tmp_path.iterdir()) == []
    assert f"'{tmp_path}/etc/sparsight/agent.toml'" in said and "orin-nx.toml" in said
    assert "[edge,tensorrt]'" in said
    for name in re.findall(r"'(\S+/deploy/jetson/\S+)'", said):
        assert Path(name).exists(), name


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--bundel", "x"], "--bundel is not known"),
        ([], "say which bundle"),
        (["--bundle"], "--bundle wants a value"),
        (["--bundle", "/nowhere"], "/nowhere: no bundle here"),
        (["--bundle", ROOT / "models" / "default", "--board", "nano"], "--board: expected"),
    ],
)
def test_the_script_refuses_what_it_does_not_know(options: list[object], says: str) -> None:
    assert says in call(INSTALL, "--dry-run", *options, code=2)


@pytest.mark.slow
def test_the_script_installs_and_installs_again(tmp_path: Path) -> None:
    wheel = tmp_path / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        about = "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n"
        about += "Provides-Extra: edge\nProvides-Extra: tensorrt\n"
        tag = "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr("small.py", "")
        file.writestr("small-1.0.dist-info/METADATA", about)
        file.writestr("small-1.0.dist-info/WHEEL", tag)
        file.writestr("small-1.0.dist-info/RECORD", "")
    root = tmp_path / "root"
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    command = (INSTALL, "--root", root, "--bundle", bundle, "--package", wheel)
    call(*command)
    settings = root / "etc" / "sparsight" / "agent.toml"
    assert settings.read_text() == (DEPLOY / "jetson" / "orin-nano.toml").read_text()
    assert settings.stat().st_mode & 0o777 == 0o640
    settings.write_text("mine")
    (bundle / "manifest.json").write_text("new")
    (bundle / "more").touch()
    call(*command)
    assert settings.read_text() == "mine"
    there = root / "opt" / "sparsight" / "bundle"
    assert sorted(path.name for path in there.iterdir()) == ["manifest.json", "more"]
    assert (there / "manifest.json").read_text() == "new"
    assert not there.with_name("bundle.new").exists()
    python = root / "opt" / "sparsight" / "venv" / "bin" / "python"
    assert "small" in call(python, "-m", "pip", "list", "--disable-pip-version-check")
    units = root / "etc" / "systemd" / "system"
    assert (units / UNIT.name).read_bytes() == UNIT.read_bytes()
    assert (units / f"{UNIT.name}.d" / "jetson.conf").exists()
