"""Container files: what they copy is there, what they set is known, what they run is a command.

No Docker runs here: that they build is not tested.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .given import (
    DEPLOY,
    DEVICES_PORT,
    EDGE_METRICS_PORT,
    GATEWAY_METRICS_PORT,
    HEALTH_PORT,
    ROOT,
    parsed,
    unknown_variables,
)

FILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
USER = "10001"

Instruction = tuple[str, str]


def instructions(file: Path) -> list[Instruction]:
    """Name and argument of each, comments and line breaks gone."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    split = (line.split(None, 1) for line in whole.splitlines() if line.strip())
    return [(name, argument.strip()) for name, argument in split]


def of(found: list[Instruction], name: str) -> list[str]:
    return [argument for other, argument in found if other == name]


def variables(found: list[Instruction]) -> dict[str, str]:
    pairs = (pair for line in of(found, "ENV") for pair in re.findall(r"(\w+)=(\S+)", line))
    return dict(pairs)


def copied(found: list[Instruction]) -> set[str]:
    lines = [line.split() for line in of(found, "COPY") if not line.startswith("--from")]
    return {name for line in lines for name in line[:-1]}


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def found(request: pytest.FixtureRequest) -> list[Instruction]:
    return instructions(request.param)


def test_each_has_a_stage_that_builds_and_one_that_runs(found: list[Instruction]) -> None:
    bases = of(found, "FROM")
    assert [base.endswith(" AS build") for base in bases] == [True, False]
    first, second = (base.split()[0] for base in bases)
    assert first == second
    assert re.fullmatch(r"\S+:[\w.-]*\d[\w.-]*", second), "a base with a version"
    (taken,) = [line for line in of(found, "COPY") if line.startswith("--from")]
    assert taken == "--from=build /opt/sparsight /opt/sparsight"
    versions = set(re.findall(r"/python(3\.\d+)/", " ".join(of(found, "RUN"))))
    named = re.search(r"python:(3\.\d+)-", second)
    assert versions == {named.group(1) if named else "3.10"}  # JetPack 6 is Ubuntu 22.04


def test_what_is_copied_is_there_and_sent(found: list[Instruction]) -> None:
    names = copied(found)
    assert [name for name in names if not (ROOT / name).exists()] == []
    tomllib = pytest.importorskip("tomllib", reason="reads pyproject.toml, from Python 3.11 on")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {path.split("/")[0] for path in packages}
    needed |= {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    assert names - {"models/default"} == needed
    extras = re.findall(r'pip install [^"]*"\.\[(\S+)\]"', " ".join(of(found, "RUN")))
    (wanted,) = extras
    assert set(wanted.split(",")) <= set(project["project"]["optional-dependencies"])


def test_nothing_is_sent_that_nobody_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[0] == "*"
    sent = {line[1:] for line in lines if line.startswith("!")}
    assert sent == set().union(*(copied(instructions(file)) for file in FILES))


def test_it_runs_as_nobody_special_and_holds_no_secret(found: list[Instruction]) -> None:
    names = [name for name, _ in found]
    last = len(names) - 1 - names[::-1].index("FROM")
    assert of(found[last:], "USER") == [USER]
    assert f"--uid {USER}" in " ".join(of(found[last:], "RUN"))
    told = " ".join([*of(found, "ENV"), *of(found, "ARG")])
    assert not re.search(r"(?i)token|secret|passw|_key=", told)
    assert not re.search(r"\.(key|pem|crt)\b", " ".join(of(found, "COPY")))


def test_what_it_runs_is_a_command(found: list[Instruction]) -> None:
    program, *first = json.loads(of(found, "ENTRYPOINT")[0])
    assert program == "sparsight"
    parsed([*first, *json.loads(of(found, "CMD")[0])])
    _, _, asked = of(found, "HEALTHCHECK")[0].partition("CMD ")
    probe = json.loads(asked)
    if probe[0] == "sparsight":
        parsed(probe[1:])
    else:
        compile(probe[-1], "healthcheck", "exec")


def test_the_clouds_doors_are_its_defaults() -> None:
    found = instructions(DEPLOY / "docker" / "cloud.Dockerfile")
    settings = parsed(json.loads(of(found, "CMD")[0]))
    # Devices come from outside; who asks and who counts is inside the container unless told else.
    assert settings["listen"] == f"0.0.0.0:{DEVICES_PORT}"
    assert settings["health"] == f"127.0.0.1:{HEALTH_PORT}"
    assert settings["metrics"] == f"127.0.0.1:{GATEWAY_METRICS_PORT}"
    assert of(found, "EXPOSE") == [str(DEVICES_PORT)]
    assert settings["health"] in of(found, "HEALTHCHECK")[0]
    assert parsed(["cloud", "up", "--out", "x"])["listen"] == f"127.0.0.1:{DEVICES_PORT}"
    assert "models/default /opt/sparsight/bundle" in of(found, "COPY")
    assert [str(folder) for folder in settings["bundle"]] == ["/opt/sparsight/bundle"]


@pytest.mark.parametrize("name", ["edge", "l4t"])
def test_an_agents_variables_are_settings(name: str) -> None:
    found = instructions(DEPLOY / "docker" / f"{name}.Dockerfile")
    told = variables(found)
    assert unknown_variables(list(told)) == []
    assert told["SPARSIGHT_EDGE_REPORT__METRICS_PORT"] == str(EDGE_METRICS_PORT)
    assert f"127.0.0.1:{EDGE_METRICS_PORT}/metrics" in of(found, "HEALTHCHECK")[0]
    writable = " ".join(of(found, "VOLUME"))
    for folder in ("SPARSIGHT_EDGE_SPOOL__FOLDER", "NUMBA_CACHE_DIR"):
        assert str(Path(told[folder]).parent) in writable
