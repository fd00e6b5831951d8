"""The device's commands, for the one command line (`sparsight.cli`).

Options are declared here; what runs is imported when it runs, so that `--help` answers at once.
"""

import socket
import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from sparsight.cli import require_extra
from sparsight_edge.capture.grammar import SOURCES_HELP

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

The exit code is 0 if every frame was acknowledged, 9 if some are left in the spool (the next run
sends them first), 4 if some could not be read.
"""

edge_app = typer.Typer(help="Run a device.", no_args_is_help=True, rich_markup_mode="markdown")


@edge_app.callback()
def _edge() -> None:
    """Run a device."""


@edge_app.command("run", epilog=_EXAMPLES)
def run(
    source: Annotated[
        str, typer.Option(help="Pictures, a film, or a camera's address; all forms are below.")
    ],
    cloud: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the cloud's gateway is.")],
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle; the cloud needs it too.")],
    rate: Annotated[
        int | None,
        typer.Option(
            min=0, help="Quality level of the codec, 0 is the finest; the middle one without."
        ),
    ] = None,
    spool: Annotated[
        Path | None,
        typer.Option(help="Folder for frames until they are answered; ./spool-DEVICE without."),
    ] = None,
    spool_mb: Annotated[int, typer.Option(min=1, help="Disk that frames may take, in MB.")] = 512,
    when_full: Annotated[
        Literal["block", "drop-oldest"] | None,
        typer.Option(
            help="What a full spool does: wait, or drop its oldest frames. Waits, unless --latest."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Name of this device, that of its certificate; the host's name without."),
    ] = None,
    stream: Annotated[str, typer.Option(help="Name of this source in the results.")] = "main",
    cert: Annotated[Path | None, typer.Option(help="The device's certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Who vouches for the cloud, PEM.")] = None,
    server_name: Annotated[
        str, typer.Option(help="Name in the cloud's certificate, if it is not HOST.")
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="No TLS; only to a cloud on this machine.")
    ] = False,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames a second: as a camera's of files, at most so many of a camera."),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin anew when the source ends.")] = False,
    latest: Annotated[
        bool | None,
        typer.Option(
            "--latest/--every-frame",
            help="Skip frames that there is no time for, or take each one and let the source "
            "wait. Latest of cameras, else every frame.",
        ),
    ] = None,
    camera_timeout_s: Annotated[
        float,
        typer.Option(min=0.1, help="A camera that says nothing for so long is opened anew."),
    ] = 10.0,
    telemetry: Annotated[
        Path | None,
        typer.Option(
            help="Where the camera was: a CSV file with name, film_s, unix_s or time_utc and "
            "lat_deg, lon_deg, alt_m, yaw_deg, pitch_deg, roll_deg, or a film's .SRT. Without: "
            "the .SRT beside a film, the headers of pictures."
        ),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=0, help="Capture so many frames, then end.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="The most pixels a frame may have; 200 million.")
    ] = None,
    engine: Annotated[
        Literal["auto", "onnx", "openvino", "tensorrt"],
        typer.Option(
            help="What runs the network. auto: TensorRT where `edge build` was run, else "
            "onnxruntime; openvino needs the extra of its name."
        ),
    ] = "auto",
    plans: Annotated[
        Path | None,
        typer.Option(help="Folder of built TensorRT engines; the user's cache without."),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, max=256, help="Threads of an engine on the CPU.")
    ] = 1,
    drain_s: Annotated[
        float, typer.Option(min=0, help="At the end, how long to wait while no answer comes.")
    ] = 60.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for frames.jsonl and results.jsonl.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve figures to Prometheus; 0 is any.")
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Address to serve them on.")] = "127.0.0.1",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON, no table.")
    ] = False,
) -> None:
    """Send what a camera sees to the cloud, as features of the patches that matter.

    Frames go to the spool on disk first and stay there until the cloud has answered them: a lost
    link or a restart loses nothing. Ctrl-C ends it; what is not answered goes with the next run.
    """
    from sparsight.errors import UsageError
    from sparsight.pictures import MAX_PIXELS
    from sparsight.wire import FrameKey
    from sparsight_edge.agent import AgentSettings
    from sparsight_edge.capture.camera import CameraSettings
    from sparsight_edge.capture.grammar import parse_source
    from sparsight_edge.model import EdgeModel
    from sparsight_edge.session import Plan, run_session
    from sparsight_edge.spool.settings import SpoolSettings
    from sparsight_edge.uplink.channel import Endpoint

    if insecure and any((cert, key, ca)):
        raise UsageError("give --cert, --key and --ca, or --insecure, but not both")
    if not insecure and not any((cert, key, ca)):
        raise UsageError(
            "the cloud wants to know who this is: give --cert, --key and --ca, or --insecure for "
            "one on this machine"
        )
    newest_wins = parse_source(source).live if latest is None else latest
    endpoint = Endpoint(cloud, cert, key, ca, server_name)
    name = device or socket.gethostname()
    FrameKey(name, 0, 0)  # a name that can't be sent is refused before anything is made with it
    # Pillow warns of damaged metadata that it then does without.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\b")
    model = EdgeModel.load(bundle, rate, threads, engine, plans)
    model.warm()
    plan = Plan(
        source=source,
        fps=fps,
        loop=loop,
        latest=latest,
        max_pixels=max_pixels or MAX_PIXELS,
        device=name,
        model=model,
        endpoint=endpoint,
        spool=spool or Path(f"spool-{_in_a_path(name)}"),
        spool_settings=SpoolSettings(
            spool_mb * 1_000_000, when_full or ("drop-oldest" if newest_wins else "block")
        ),
        agent=AgentSettings(
            stream=stream, max_frames=max_frames, newest_wins=newest_wins, drain_s=drain_s
        ),
        out=out,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
        telemetry=telemetry,
        camera=CameraSettings(silent_s=camera_timeout_s),
    )
    code = run_session(plan, Console(stderr=True), Console(), machine=as_json)
    if code:
        raise typer.Exit(code)


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


def _in_a_path(name: str) -> str:
    """A device's name as part of a file's."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
