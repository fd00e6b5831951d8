"""Settings as flags of a command: each field of `settings.py` becomes an option of Typer.

run(line, *, as_json: ...)  ──with_settings──>  edge run --config --source ... --json
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sparsight_edge.settings import ENV_PREFIX, CommandLine, Setting, all_settings

_CONFIG = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar=f"{ENV_PREFIX}CONFIG",
            show_envvar=True,
            help="TOML file of settings; flags and SPARSIGHT_EDGE_... in the environment win over "
            "it. `sparsight edge settings --toml` writes one.",
        ),
    ],
)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every setting as a flag, and `--config`.

    Args:
        command: Takes a `CommandLine` first, then options of its own.

    Returns:
        What Typer is to run. What was not given as a flag is looked for elsewhere.
    """
    settings = {setting.path.replace(".", "__"): setting for setting in all_settings().values()}

    def run(config: Path | None, **said: Any) -> None:
        flags = {
            setting.path: value
            for name, setting in settings.items()
            if (value := said.pop(name)) is not None
        }
        command(CommandLine(config, flags), **said)

    own = list(inspect.signature(command).parameters.values())[1:]
    options = [_option(name, setting) for name, setting in settings.items()]
    signature = inspect.Signature([_CONFIG, *options, *own])
    run.__signature__ = signature  # type: ignore[attr-defined]  # what inspect looks for
    run.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _option(name: str, setting: Setting) -> inspect.Parameter:
    shown = setting.default
    option = typer.Option(
        setting.flag.names,
        help=setting.description,
        metavar=setting.flag.metavar or None,
        # The flag's own default is "not given".
        show_default=str(shown) if shown not in (None, "", False) else False,
        min=setting.least,
        max=setting.most,
        rich_help_panel=setting.title,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[setting.annotation | None, option],
    )
