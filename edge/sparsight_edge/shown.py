"""The settings in force, for people, for programs, and as a file to start from."""

from __future__ import annotations

import itertools
import json
import textwrap
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from sparsight_edge.capture.grammar import parse_source
from sparsight_edge.given import Given
from sparsight_edge.settings import Setting, all_settings

_WIDTH = 98


def settings_table(given: Given) -> Table:
    """A row for each; those that were given stand out."""
    table = Table(title="edge settings", title_justify="left")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for _, group in itertools.groupby(all_settings().values(), lambda one: one.group):
        for setting in group:
            value = _without_secrets(setting, given)
            table.add_row(
                setting.path,
                "[dim]-[/]" if value in (None, "") else escape(str(value)),
                escape(given.origins.get(setting.path, "")) or "[dim]default[/]",
            )
        table.add_section()
    return table


def settings_json(given: Given) -> dict[str, dict[str, object]]:
    """Each with its value and its origin."""
    return {
        path: {
            "value": _plain(_without_secrets(setting, given)),
            "from": given.origins.get(path, "default"),
        }
        for path, setting in all_settings().items()
    }


def settings_toml(given: Given) -> str:
    """A file for `--config`: what was given is set, all else is there as a comment."""
    lines = [
        "# Settings of `sparsight edge run --config FILE`; what is commented out is the default.",
        "# Flags and variables such as SPARSIGHT_EDGE_SOURCE__FPS win over this file.",
    ]
    for group, grouped in itertools.groupby(all_settings().values(), lambda one: one.group):
        settings = list(grouped)
        lines += ["", f"[{group}]  # {settings[0].title}"]
        for setting in settings:
            lines += textwrap.wrap(
                f"{setting.description} ({setting.flag.names})",
                _WIDTH,
                initial_indent="# ",
                subsequent_indent="# ",
            )
            value = _plain(setting.of(given.settings))
            ours = setting.path in given.origins
            lines.append(("" if ours else "# ") + f"{setting.field} = {_toml(value)}".rstrip())
    return "\n".join(lines) + "\n"


def _without_secrets(setting: Setting, given: Given) -> object:
    value = setting.of(given.settings)
    if setting.path == "source.uri" and value is not None:
        return parse_source(str(value)).shown
    return value


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _toml(value: object) -> str:
    """A value in TOML; nothing for none. Its strings are JSON's."""
    return "" if value is None else json.dumps(value, ensure_ascii=False)
