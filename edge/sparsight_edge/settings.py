"""Every setting of the agent, in groups: the one place where each is named, bounded, explained.

    field of a group ─┬─> [spool] max_mb = 512             in the file of --config
                      ├─> SPARSIGHT_EDGE_SPOOL__MAX_MB     in the environment
                      └─> --spool-mb                       a flag (`options.py`), and its help

`catalog.py` lists them all, `given.py` reads the three. To add a setting, add a field here: its
`Flag`, its bounds and its description make the rest, and `Live` lets it change while the agent runs
(`current.py`). What the parts of the agent take (`SpoolSettings`, `AgentSettings` ...) is made of
these in `plan.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from sparsight_edge.spool.settings import Order, WhenFull

EngineName: TypeAlias = Literal["auto", "onnx", "openvino", "tensorrt"]


@dataclass(frozen=True, slots=True)
class Flag:
    """How a setting is given on the command line.

    Attributes:
        names: As Typer has it, such as `--loop/--once`.
        metavar: What stands behind it in the help; empty for its type.
    """

    names: str
    metavar: str = ""

    @property
    def name(self) -> str:
        """How messages call it."""
        return self.names.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Live:
    """Marks a setting that may change while the agent runs; all others need a restart."""


class Group(BaseModel):
    """Settings that belong together. The first line of a group's docstring is its title."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class SourceGroup(Group):
    """What is looked at."""

    uri: Annotated[str | None, Flag("--source")] = Field(
        None, description="Pictures, a film, or a camera's address; all forms are below."
    )
    stream: Annotated[str, Flag("--stream")] = Field(
        "main", description="Name of this source in the results."
    )
    fps: Annotated[float | None, Flag("--fps")] = Field(
        None,
        description="Frames a second: as a camera's of files, at most so many of a camera.",
    )
    loop: Annotated[bool, Flag("--loop/--once")] = Field(
        False, description="Begin anew when the source ends."
    )
    latest: Annotated[bool | None, Flag("--latest/--every-frame")] = Field(
        None,
        description="Skip frames that there is no time for, or take each one and let the source "
        "wait. Latest of cameras, else every frame.",
    )
    camera_timeout_s: Annotated[float, Flag("--camera-timeout-s")] = Field(
        10.0, ge=0.1, description="A camera that says nothing for so long is opened anew."
    )
    telemetry: Annotated[Path | None, Flag("--telemetry")] = Field(
        None,
        description="Where the camera was: a CSV file with name, film_s, unix_s or time_utc and "
        "lat_deg, lon_deg, alt_m, yaw_deg, pitch_deg, roll_deg, or a film's .SRT. Without: "
        "the .SRT beside a film, the headers of pictures.",
    )
    max_frames: Annotated[int | None, Flag("--max-frames")] = Field(
        None, ge=0, description="Capture so many frames, then end."
    )
    max_pixels: Annotated[int | None, Flag("--max-pixels")] = Field(
        None, ge=1, description="The most pixels a frame may have; 200 million without."
    )


class CloudGroup(Group):
    """Where it goes, and who this device is."""

    address: Annotated[str | None, Flag("--cloud", "HOST:PORT")] = Field(
        None, description="Where the cloud's gateway is."
    )
    device: Annotated[str, Flag("--device")] = Field(
        "",
        description="Name of this device, that of its certificate; the host's name without.",
    )
    cert: Annotated[Path | None, Flag("--cert")] = Field(
        None, description="The device's certificate, PEM."
    )
    key: Annotated[Path | None, Flag("--key")] = Field(None, description="Its private key, PEM.")
    ca: Annotated[Path | None, Flag("--ca")] = Field(
        None, description="Who vouches for the cloud, PEM."
    )
    server_name: Annotated[str, Flag("--server-name")] = Field(
        "", description="Name in the cloud's certificate, if it is not HOST."
    )
    insecure: Annotated[bool, Flag("--insecure")] = Field(
        False, description="No TLS; only to a cloud on this machine."
    )
    drain_s: Annotated[float, Flag("--drain-s")] = Field(
        60.0, ge=0, description="At the end, how long to wait while no answer comes."
    )
    grace_s: Annotated[float, Flag("--grace-s")] = Field(
        5.0, ge=0, description="After SIGTERM or Ctrl-C, how long to wait for answers in all."
    )


class ModelGroup(Group):
    """The network, and what runs it."""

    bundle: Annotated[Path | None, Flag("--bundle")] = Field(
        None, description="Folder of the bundle; the cloud needs it too."
    )
    rate: Annotated[int | None, Flag("--rate")] = Field(
        None,
        ge=0,
        description="Quality level of the codec, 0 is the finest; the middle one without.",
    )
    engine: Annotated[EngineName, Flag("--engine")] = Field(
        "auto",
        description="What runs the network. auto: TensorRT where `edge build` was run, else "
        "onnxruntime; openvino needs the extra of its name.",
    )
    plans: Annotated[Path | None, Flag("--plans")] = Field(
        None, description="Folder of built TensorRT engines; the user's cache without."
    )
    threads: Annotated[int, Flag("--threads")] = Field(
        1, ge=1, le=256, description="Threads of an engine on the CPU."
    )


class SpoolGroup(Group):
    """Frames on disk until they are answered."""

    folder: Annotated[Path | None, Flag("--spool")] = Field(
        None,
        description="Folder for frames until they are answered; ./spool-DEVICE without.",
    )
    max_mb: Annotated[int, Flag("--spool-mb")] = Field(
        512, ge=1, description="Disk that frames may take, in MB."
    )
    max_age_s: Annotated[float | None, Flag("--max-age-s")] = Field(
        None,
        ge=1,
        description="Forget frames that were not answered in so many seconds; kept until they are "
        "without.",
    )
    when_full: Annotated[WhenFull | None, Flag("--when-full")] = Field(
        None,
        description="What a full spool or disk does: block lets the source wait, drop-oldest "
        "forgets the oldest frames, drop-newest does not keep the new one, stop ends the agent "
        "with exit code 8. block without, of a source that can't wait drop-oldest.",
    )
    order: Annotated[Order, Flag("--order")] = Field(
        "oldest-first",
        description="Who goes first after an outage. live-first: the newest frames, while what "
        "waited goes in order with every fourth turn and all that the link has left.",
    )


class LinkGroup(Group):
    """What the link may carry, and how the rate follows it."""

    max_kbps: Annotated[float | None, Flag("--max-kbps"), Live()] = Field(
        None,
        ge=8,
        le=10_000_000,
        description="Never send more than this in any 10 s, in 1000 bits a second: all that "
        "leaves, headers and what is sent again among it. Changed while it runs it holds at once, "
        "but can't be switched on or off then.",
    )
    adapt: Annotated[bool | None, Flag("--adapt/--no-adapt")] = Field(
        None,
        description="Let rate, patches and, of cameras, frames follow the link. Without: if "
        "--max-kbps is given and --rate is not.",
    )
    finest_rate: Annotated[int, Flag("--finest-rate"), Live()] = Field(
        0, ge=0, description="The finest rate that --adapt takes."
    )
    coarsest_rate: Annotated[int | None, Flag("--coarsest-rate"), Live()] = Field(
        None, ge=0, description="The coarsest; the bundle's without."
    )
    min_patches: Annotated[int, Flag("--min-patches"), Live()] = Field(
        8, ge=1, description="Patches of a frame, the best ones, that --adapt never cuts."
    )
    max_skip: Annotated[int, Flag("--max-skip"), Live()] = Field(
        8,
        ge=1,
        description="Of so many frames --adapt sends at least one; with --every-frame all of them.",
    )
    target_age_s: Annotated[float, Flag("--target-age-s"), Live()] = Field(
        3.0, ge=0.2, le=600, description="How long a frame may wait for its answer, with --adapt."
    )


class StillGroup(Group):
    """Scenes that hardly change."""

    reuse: Annotated[bool, Flag("--reuse/--no-reuse")] = Field(
        True,
        description="Don't send again what did not change. A camera that moves does not notice.",
    )
    latents: Annotated[float, Flag("--still-latents")] = Field(
        0.18,
        ge=0,
        le=255,
        description="What counts as no change: features, mean over a cell's channels, in steps.",
    )
    heat: Annotated[float, Flag("--still-heat")] = Field(
        0.2, ge=0, le=1, description="What counts as no change: object probability of a cell."
    )


class ReportGroup(Group):
    """What it tells."""

    out: Annotated[Path | None, Flag("--out")] = Field(
        None, description="Folder for frames.jsonl and results.jsonl."
    )
    metrics_port: Annotated[int | None, Flag("--metrics-port")] = Field(
        None, ge=0, le=65535, description="Serve figures to Prometheus; 0 is any."
    )
    metrics_host: Annotated[str, Flag("--metrics-host")] = Field(
        "127.0.0.1", description="Address to serve them on."
    )
    log_format: Annotated[Literal["text", "json"], Flag("--log-format")] = Field(
        "text", description="Lines for people, or an object of JSON a line."
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Flag("--log-level"), Live()
    ] = Field("info", description="The least grave of what is logged.")


class EdgeSettings(BaseModel):
    """All of them.

    Attributes:
        source: What is looked at.
        cloud: Where it goes, and who this device is.
        model: The network, and what runs it.
        spool: Frames on disk until they are answered.
        link: What the link may carry, and how the rate follows it.
        still: Scenes that hardly change.
        report: What it tells.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: SourceGroup = SourceGroup()
    cloud: CloudGroup = CloudGroup()
    model: ModelGroup = ModelGroup()
    spool: SpoolGroup = SpoolGroup()
    link: LinkGroup = LinkGroup()
    still: StillGroup = StillGroup()
    report: ReportGroup = ReportGroup()
