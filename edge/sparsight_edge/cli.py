"""The device's commands, for the one command line (`sparsight.cli`).

Options are declared here; what runs is imported when it runs, so that `--help` answers at once.
"""

import json
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sparsight.cli import require_extra
from sparsight_edge.capture.grammar import SOURCES_HELP
from sparsight_edge.catalog import CommandLine
from sparsight_edge.exits import DOCTOR_FAILED, EXITS, exits_help
from sparsight_edge.options import with_settings

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

SIGTERM and Ctrl-C drain: nothing more is captured, what is on its way is spooled, answers are
waited for up to --grace-s. A second one ends at once. SIGHUP reads the settings again; on a
terminal it means that that is gone, and drains.

Exit codes (`sparsight edge exit-codes` says what to do):

{exits_help()}
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
    tui: Annotated[
        bool,
        typer.Option("--tui", help="Show the status on the whole screen, if there is a terminal."),
    ] = False,
) -> None:
    """Send what a camera sees to the cloud, as features of the patches that matter.

    Frames go to the spool on disk first and stay there until the cloud has answered them: a lost
    link or a restart loses nothing. Ctrl-C ends it; what is not answered goes with the next run.

    Needs --source, --cloud and --bundle, as flags, in the environment or in the file of --config.
    """
    import structlog

    from sparsight.errors import SparsightError
    from sparsight.logs import log_to_stderr
    from sparsight_edge.current import CurrentSettings
    from sparsight_edge.given import read_settings
    from sparsight_edge.plan import make_plan
    from sparsight_edge.session import run_session

    # Pillow warns of damaged metadata that it then does without.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\b")
    given = read_settings(line)
    log_to_stderr(given.settings.report.log_format, given.settings.report.log_level)
    current, people, results = CurrentSettings(given), Console(stderr=True), Console()
    try:
        plan = make_plan(given.settings)
        plan.model.warm()
        code = run_session(plan, current, people, results, tui=tui, machine=as_json)
    except SparsightError as error:
        if given.settings.report.log_format == "text":
            raise
        structlog.get_logger(__name__).error(str(error), exit_code=error.exit_code)
        code = error.exit_code
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


@edge_app.command("doctor")
@with_settings
def doctor(
    line: CommandLine,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no lines.")] = False,
) -> None:
    """Look at everything that an agent needs, and say what to do where something is wrong.

    Bundle, engine, camera, disk, certificate, link, clock and cloud; takes what `edge run` takes.
    Nothing is sent but a greeting, and none while an agent runs. Ends with 10 if a check fails.

    Examples:
        sparsight edge doctor --config agent.toml
    """
    from sparsight_edge.doctor.examine import examine
    from sparsight_edge.given import read_settings

    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\b")
    console, found = Console(), []
    for finding in examine(read_settings(line).settings):
        found.append(finding)
        if not as_json:
            console.print(finding.line(), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps([one.json() for one in found], indent=2))
    if any(one.verdict == "fail" for one in found):
        raise typer.Exit(DOCTOR_FAILED)


@edge_app.command("exit-codes")
def exit_codes() -> None:
    """List the exit codes of `sparsight edge`, what each means, and what to do then."""
    table = Table("code", "means", "then")
    for one in EXITS:
        table.add_row(str(one.code), escape(one.meaning), escape(one.then))
    Console().print(table)


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


@edge_app.command("try-build")
def try_build(
    graph: Annotated[Path, typer.Argument(help="A device half, `edge.onnx` of a bundle.")],
    long_side: Annotated[
        int, typer.Option(min=64, max=16384, help="Long side of the largest input, in pixels.")
    ] = 1536,
) -> None:
    """Try whether TensorRT builds an engine of a graph; keeps nothing.

    With `tensorrt-rtx` (extra trt-ci) it builds ahead of time and needs no GPU. Ends with 5 if
    TensorRT does not take the graph, with 2 if there is no TensorRT.

    Examples:
        sparsight edge try-build models/default/edge.onnx
    """
    from sparsight_edge.engine.choose import try_graph

    size, name = try_graph(graph, long_side)
    typer.echo(f"{graph}: {name} builds it, {size / 1e6:.1f} MB for inputs to {long_side} px")


def register(app: typer.Typer) -> None:
    """Add the device's commands.

    Args:
        app: The app of the whole command line.

    Raises:
        ExtraMissing: The packages of the extra `edge` are not installed.
    """
    require_extra(EXTRA, NEEDS, ["edge"])
    app.add_typer(edge_app, name="edge")
