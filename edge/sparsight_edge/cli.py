"""The device's commands, for the one command line (`sparsight.cli`).

Options are declared here; what runs is imported when it runs, so that `--help` answers at once.
"""

import json
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparsight.cli import require_extra
from sparsight_edge.capture.grammar import SOURCES_HELP
from sparsight_edge.options import with_settings
from sparsight_edge.settings import CommandLine

EXTRA = "edge"
NEEDS = ("av", "cv2", "grpc", "onnxruntime", "PIL", "prometheus_client")

_EXAMPLES = f"""
{SOURCES_HELP}
Examples:

- `sparsight edge run --source flight1/ --cloud localhost:7070 --bundle models/default --insecure`

- `sparsight edge run --source "flight1/*.jpg" --fps 2 --cloud gw.example:7443
  --bundle models/default --device drone-7 --cert drone-7.pem --key drone-7.key --ca ca.pem`

- `sparsight edge run --source film.mp4 --fps 5 --latest --out run1 ...`

- `sparsight edge run --source rtsp://10.0.0.8/live --fps 2 ...`

- `sparsight edge run --config agent.toml --fps 1`, where agent.toml is such as

      [source]
      uri = "rtsp://10.0.0.8/live"
      fps = 2
      [cloud]
      address = "gw.example:7443"
      device = "drone-7"
      cert = "/etc/sparsight/drone-7.pem"
      key = "/etc/sparsight/drone-7.key"
      ca = "/etc/sparsight/ca.pem"
      [model]
      bundle = "/opt/sparsight/models/default"

Each setting of the file is also a variable, as SPARSIGHT_EDGE_SOURCE__FPS for `fps` below
`[source]`. Flags win over variables, variables over the file; `sparsight edge settings` shows what
is in force.

The exit code is 0 if every frame was acknowledged, 9 if some are left in the spool (the next run
sends them first), 4 if some could not be read.
"""

edge_app = typer.Typer(help="Run a device.", no_args_is_help=True, rich_markup_mode="markdown")


@edge_app.callback()
def _edge() -> None:
    """Run a device."""


@edge_app.command("run", epilog=_EXAMPLES)
@with_settings
def run(
    line: CommandLine,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON, no table.")
    ] = False,
) -> None:
    """Send what a camera sees to the cloud, as features of the patches that matter.

    Frames go to the spool on disk first and stay there until the cloud has answered them: a lost
    link or a restart loses nothing. Ctrl-C ends it; what is not answered goes with the next run.

    Needs --source, --cloud and --bundle, as flags, in the environment or in the file of --config.
    """
    from sparsight_edge.given import read_settings
    from sparsight_edge.plan import make_plan
    from sparsight_edge.session import run_session

    # Pillow warns of damaged metadata that it then does without.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\b")
    plan = make_plan(read_settings(line).settings)
    plan.model.warm()
    code = run_session(plan, Console(stderr=True), Console(), machine=as_json)
    if code:
        raise typer.Exit(code)


@edge_app.command("settings")
@with_settings
def settings(
    line: CommandLine,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no table.")] = False,
    as_toml: Annotated[
        bool,
        typer.Option("--toml", help="Print a file for --config, every setting with its meaning."),
    ] = False,
) -> None:
    """Show every setting that is in force, and where it came from.

    Takes what `edge run` takes. Passwords in the address of a camera are left out of the table and
    of the JSON.

    Examples:
        sparsight edge settings --toml > agent.toml
        sparsight edge settings --config agent.toml
    """
    from sparsight_edge.given import read_settings
    from sparsight_edge.shown import settings_json, settings_table, settings_toml

    given = read_settings(line)
    if as_toml:
        typer.echo(settings_toml(given), nl=False)
    elif as_json:
        typer.echo(json.dumps(settings_json(given), indent=2))
    else:
        Console().print(settings_table(given))


@edge_app.command("build")
def build(
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle, in fp16, int8-trt or fp32.")],
    plans: Annotated[
        Path | None,
        typer.Option(help="Folder of built TensorRT engines; the user's cache without."),
    ] = None,
) -> None:
    """Build a bundle's TensorRT engine on this device.

    Takes minutes, once for each graph, TensorRT and GPU; what is there is not built again. Then
    `edge run` takes it by itself.

    Examples:
        sparsight edge build --bundle models/fp16
    """
    from sparsight.bundle import open_bundle
    from sparsight.errors import BundleError
    from sparsight_edge.engine.choose import build_engine
    from sparsight_edge.engine.trt_plan import default_plans

    opened = open_bundle(bundle)
    if not opened.manifest.rates:
        raise BundleError(f"{bundle}: this bundle has no device half (no rates in its manifest)")
    file, new = build_engine(opened, plans or default_plans())
    typer.echo(f"{file}: {'built' if new else 'was there already'}")


def register(app: typer.Typer) -> None:
    """Add the device's commands.

    Args:
        app: The app of the whole command line.

    Raises:
        ExtraMissing: The packages of the extra `edge` are not installed.
    """
    require_extra(EXTRA, NEEDS, ["edge"])
    app.add_typer(edge_app, name="edge")
