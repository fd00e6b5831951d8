"""Reads the settings from where they may be given, and knows where each one is from.

    file of --config ─┐
    SPARSIGHT_EDGE_* ─┼─ the last that names a setting wins ─> EdgeSettings, and whence each came
    flags ────────────┘

What nobody knows is refused wherever it stands: a misspelt setting would silently be the default.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    SettingsConfigDict,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from sparsight.errors import UsageError
from sparsight_edge.catalog import (
    ENV_NESTED,
    ENV_PREFIX,
    CommandLine,
    Setting,
    all_settings,
)
from sparsight_edge.settings import EdgeSettings

CONFIG_VARIABLE = f"{ENV_PREFIX}CONFIG"
"""The environment's way to say --config; the only name with our prefix that is no setting."""


@dataclass(frozen=True, slots=True)
class Given:
    """Settings, and what they were read from.

    Attributes:
        settings: All of them.
        origins: Of each that was given, where: the file's name, a variable or a flag.
        line: The command line, for reading it again.
    """

    settings: EdgeSettings
    origins: Mapping[str, str]
    line: CommandLine


def read_settings(line: CommandLine) -> Given:
    """Read all three.

    Args:
        line: The flags, and which file.

    Raises:
        UsageError: The file can't be read, a setting is not known, or a value is not one.
    """
    known = all_settings()
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    if line.file is not None:
        for path, value in _in_file(line.file, known):
            values[path], origins[path] = value, str(line.file)
    for path, value in _in_environment(known):
        values[path], origins[path] = value, known[path].variable
    for path, value in line.flags.items():
        values[path], origins[path] = value, known[path].flag.name
    nested: dict[str, dict[str, object]] = {}
    for path, value in values.items():
        nested.setdefault(known[path].group, {})[known[path].field] = value
    try:
        settings = EdgeSettings.model_validate(nested)
    except ValidationError as error:
        raise _wrong(error, origins) from error
    return Given(settings, origins, line)


class _Sources(BaseSettings, EdgeSettings):
    """What pydantic-settings reads for."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_NESTED, env_ignore_empty=True
    )


def _in_file(file: Path, known: Mapping[str, Setting]) -> Iterator[tuple[str, object]]:
    try:
        with file.open("rb") as opened:
            said = tomllib.load(opened)
    except OSError as error:
        raise UsageError(f"{file}: can't be read: {error.strerror}; see --config") from error
    except ValueError as error:
        raise UsageError(f"{file}: expected TOML: {error}") from error
    for group, fields in said.items():
        if not isinstance(fields, dict):
            raise UsageError(_unknown(str(file), group, known))
        for field, value in fields.items():
            path = f"{group}.{field}"
            if path not in known:
                raise UsageError(_unknown(str(file), path, known))
            yield path, value


def _in_environment(known: Mapping[str, Setting]) -> Iterator[tuple[str, object]]:
    variables = {setting.variable: setting.path for setting in known.values()}
    for name in sorted(map(str.upper, os.environ)):
        if name.startswith(ENV_PREFIX) and name != CONFIG_VARIABLE and name not in variables:
            raise UsageError(_unknown("the environment", name, variables))
    said: dict[str, dict[str, Any]] = EnvSettingsSource(_Sources)()
    for group, fields in said.items():
        for field, value in fields.items():
            yield f"{group}.{field}", value


def _unknown(where: str, name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.0)[0]
    return (
        f"{where}: {name} is no setting, the nearest is {near}; `sparsight edge settings` lists all"
    )


def _wrong(error: ValidationError, origins: Mapping[str, str]) -> UsageError:
    """The first thing that is wrong, in one line."""
    one = error.errors()[0]
    path = ".".join(map(str, one["loc"]))
    where = origins.get(path, "default")
    message = one["msg"].replace("Input should be ", "")
    return UsageError(f"{where}: {path}: expected {message}, got {one['input']!r}")
