"""The command line: one Typer app whose commands are found through entry points.

    pyproject.toml                         [project.entry-points."sparsight.commands"]
    cloud = "sparsight_cloud.cli:register"   -> register(app) adds detect, eval, train ...

A group is named for the extra that brings what its commands need. Where the extra is not installed
`register` raises `ExtraMissing` and the group is left out: `sparsight --help` says which commands
there would be, and running one of them says what to install. So a device with only the edge's
packages has only the edge's commands.

This module knows no command but `bundle`, which both halves have, and imports nothing heavy:
`sparsight --help` answers at once.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from typing import Annotated

import typer
from rich.markup import escape

from sparsight.bundle_cli import bundle_app
from sparsight.errors import SparsightError, UsageError

ENTRY_POINT_GROUP = "sparsight.commands"

Register = Callable[[typer.Typer], None]


class ExtraMissing(ImportError):
    """The packages of an extra are not installed, so its commands can't be offered."""

    def __init__(self, extra: str, commands: Sequence[str], module: str) -> None:
        self.extra = extra
        self.commands = tuple(commands)
        super().__init__(f"install sparsight[{extra}] for {', '.join(commands)}", name=module)


def require_extra(extra: str, modules: Iterable[str], commands: Sequence[str]) -> None:
    """Check, without importing them, that an extra's packages are there.

    Args:
        extra: The extra's name in pyproject.toml.
        modules: Top-level modules that it brings.
        commands: Names of the commands that need it, for the hint.

    Raises:
        ExtraMissing: The first of the modules that is not installed.
    """
    for module in modules:
        if find_spec(module) is None:
            raise ExtraMissing(extra, commands, module)


def build_app(groups: Iterable[EntryPoint] | None = None) -> typer.Typer:
    """Assemble the app from every group whose packages are installed.

    Args:
        groups: Entry points to `register` functions; those of the installed distributions if None.

    Returns:
        The app. Groups left out are named below its help.
    """
    if groups is None:
        groups = entry_points(group=ENTRY_POINT_GROUP)
    # Plain tracebacks: pretty ones print local variables, and those may hold a device's secrets.
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
    )
    app.add_typer(bundle_app(), name="bundle")
    hints = []
    for group in sorted(groups, key=lambda entry: entry.name):
        try:
            register: Register = group.load()
            register(app)
        except ExtraMissing as missing:
            hints.append(str(missing))
            for command in missing.commands:
                _add_placeholder(app, command, missing.extra)
    app.callback(no_args_is_help=True, epilog=_epilog(hints))(_options)
    return app


def group_of(app: typer.Typer, name: str) -> typer.Typer:
    """A group that is there already, for those who add commands to it."""
    for group in app.registered_groups:
        if group.name == name and group.typer_instance is not None:
            return group.typer_instance
    raise KeyError(name)


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        app: The app from `build_app`.
        arguments: What stands behind the program's name.

    Returns:
        The exit code: 0 when all is well, an error's own, or that of a wrong usage (2).

    Raises:
        SparsightError: With `--debug`, so that the traceback shows.
    """
    debug, rest = _take_debug(arguments)
    try:
        app(list(rest), prog_name="sparsight")
    except SystemExit as end:  # Typer ends every command so, the good ones too
        return end.code if isinstance(end.code, int) else 1
    except SparsightError as error:
        if debug:
            raise
        typer.echo(f"sparsight: {' '.join(str(error).splitlines())}", err=True)
        return error.exit_code
    return 0


def main() -> None:
    """Run the command line of this process and end it."""
    # OpenMP reads this once, when torch is imported. Its default lets idle threads spin, which on a
    # busy machine makes two threads many times slower than one (docs/LOG.md, 2026-11-22).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(run(build_app(), sys.argv[1:]))


def _take_debug(arguments: Sequence[str]) -> tuple[bool, Sequence[str]]:
    """Split `--debug` off, wherever it stands: it belongs to the program, not to a command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return len(kept) < end, [*kept, *arguments[end:]]


def _print_version(asked: bool) -> bool:
    """Answer `--version`, which needs no command."""
    if asked:
        typer.echo(f"sparsight {installed_version('sparsight')}")
        raise typer.Exit
    return asked


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works anywhere.")
    ] = False,
) -> None:
    """Find small objects in high-resolution pictures."""
    # Both are here for the help only: `_print_version` has ended the program by now, and
    # `_take_debug` takes its option before Typer sees the arguments.


def _add_placeholder(app: typer.Typer, command: str, extra: str) -> None:
    """Let a command that is left out say what it needs, instead of being unknown."""

    def refuse() -> None:
        raise UsageError(f"{command} needs more packages: pip install 'sparsight[{extra}]'")

    app.command(
        command,
        hidden=True,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )(refuse)


def _epilog(hints: Sequence[str]) -> str | None:
    """The hints as prose below the help, or nothing at all."""
    # Escaped, since neither rich nor Markdown shall take `[cloud]` for anything but text.
    return escape(" ".join(f"{hint[0].upper()}{hint[1:]}." for hint in hints)) or None
