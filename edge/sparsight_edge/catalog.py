"""The list of all settings, made of the groups: each with its names, its bounds and its words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sparsight.errors import UsageError
from sparsight_edge.settings import EdgeSettings, Flag, Group, Live

ENV_PREFIX = "SPARSIGHT_EDGE_"
ENV_NESTED = "__"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a group, as everyone but pydantic sees it.

    Attributes:
        path: `GROUP.FIELD`.
        flag: Its flag.
        live: Whether it may change while the agent runs.
        annotation: Its type.
        default: What it is if it is not given.
        description: What it means.
        least: Its lower bound, if it has one.
        most: Its upper bound.
        title: Of its group.
    """

    path: str
    flag: Flag
    live: bool
    annotation: Any
    default: object
    description: str
    least: float | None
    most: float | None
    title: str

    @property
    def group(self) -> str:
        """Its group in the file."""
        return self.path.partition(".")[0]

    @property
    def field(self) -> str:
        """Its key in the group."""
        return self.path.partition(".")[2]

    @property
    def variable(self) -> str:
        """Its variable in the environment."""
        return f"{ENV_PREFIX}{self.group}{ENV_NESTED}{self.field}".upper()

    def of(self, settings: EdgeSettings) -> object:
        """Its value."""
        return getattr(getattr(settings, self.group), self.field)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What was given on the command line.

    Attributes:
        file: The file of `--config`.
        flags: Values by the path of their setting.
    """

    file: Path | None
    flags: Mapping[str, object]


def all_settings() -> dict[str, Setting]:
    """Every setting by its path, in order."""
    found = {}
    for group, whole in EdgeSettings.model_fields.items():
        model = whole.annotation
        assert isinstance(model, type) and issubclass(model, Group) and model.__doc__
        title = model.__doc__.splitlines()[0].rstrip(".")
        for name, field in model.model_fields.items():
            path = f"{group}.{name}"
            marks = field.metadata
            found[path] = Setting(
                path,
                next(mark for mark in marks if isinstance(mark, Flag)),
                any(isinstance(mark, Live) for mark in marks),
                field.annotation,
                field.default,
                field.description or "",
                next((mark.ge for mark in marks if hasattr(mark, "ge")), None),
                next((mark.le for mark in marks if hasattr(mark, "le")), None),
                title,
            )
    return found


def needed(value: _T | None, path: str) -> _T:
    """A value that a command can't do without.

    Raises:
        UsageError: It was not given.
    """
    if value is None:
        setting = all_settings()[path]
        raise UsageError(
            f"{path} is not given: say {setting.flag.name}, {setting.variable}, or "
            f"{setting.field} below [{setting.group}] in the file of --config"
        )
    return value
