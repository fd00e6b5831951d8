"""What deploy/ is held against: the real command line, the real settings, the defaults."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from sparsight.cli import build_app
from sparsight_edge.catalog import all_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

DEVICES_PORT = 7443
HEALTH_PORT = 7444
GATEWAY_METRICS_PORT = 9100
EDGE_METRICS_PORT = 9101

_EDGE = "SPARSIGHT_EDGE_"


@functools.cache
def program() -> Any:
    return typer.main.get_command(build_app())


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """What the command line makes of some words, `sparsight` left out; nothing is run.

    It raises whatever the command line would say of words that it does not take.
    """
    command = program()
    context = command.make_context("sparsight", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return dict(context.params)


def unknown_variables(names: Sequence[str]) -> list[str]:
    """Those that look like an agent's settings and are none."""
    known = {setting.variable for setting in all_settings().values()}
    return [name for name in names if name.startswith(_EDGE) and name not in known]
