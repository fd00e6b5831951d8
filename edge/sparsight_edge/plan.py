"""From the settings to what is run: every value checked, the model loaded, nothing opened yet."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from sparsight.errors import UsageError
from sparsight.pictures import MAX_PIXELS
from sparsight.wire import FrameKey
from sparsight_edge.agent import AgentSettings
from sparsight_edge.capture.camera import CameraSettings
from sparsight_edge.capture.grammar import parse_source
from sparsight_edge.catalog import needed
from sparsight_edge.model import EdgeModel
from sparsight_edge.rate.ladder import RateLimits
from sparsight_edge.settings import CloudGroup, EdgeSettings, LinkGroup
from sparsight_edge.spool.settings import SpoolSettings
from sparsight_edge.steady import SteadySettings
from sparsight_edge.uplink.channel import Endpoint


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Attributes:
        source: As `open_source` takes it.
        fps: Pace; None for as fast as can be.
        loop: Begin anew at the end.
        latest: Of a camera the newest frame counts; None for what suits the source.
        max_pixels: The most pixels a frame may have.
        device: Name of this device.
        model: The device half.
        endpoint: The cloud.
        spool: Folder of the spool.
        spool_settings: How much it holds.
        agent: How the agent runs.
        max_kbps: What may be sent at most; None for as much as the link carries.
        rate: What the rate control keeps to; None keeps the model's rate.
        steady: What counts as no change; None sends all of every frame.
        out: Folder of the records; None for none.
        metrics_port: For Prometheus; None for none.
        metrics_host: Where to listen for it.
        telemetry: Where the camera was; None is what the source itself says.
        camera: How patient to be with a camera.
    """

    source: str
    fps: float | None
    loop: bool
    latest: bool | None
    max_pixels: int
    device: str
    model: EdgeModel
    endpoint: Endpoint
    spool: Path
    spool_settings: SpoolSettings
    agent: AgentSettings
    max_kbps: float | None
    rate: RateLimits | None
    steady: SteadySettings | None
    out: Path | None
    metrics_port: int | None
    metrics_host: str
    telemetry: Path | None
    camera: CameraSettings


def make_plan(settings: EdgeSettings) -> Plan:
    """Check everything that can be checked before a camera is opened, and load the model.

    Raises:
        SparsightError: A setting is missing, can't be, or does not go with another.
    """
    source = needed(settings.source.uri, "source.uri")
    endpoint = find_endpoint(settings.cloud)
    bundle = needed(settings.model.bundle, "model.bundle")
    newest_wins = settings.source.latest
    if newest_wins is None:
        newest_wins = parse_source(source).live
    device = device_name(settings.cloud)
    model = EdgeModel.load(
        bundle,
        settings.model.rate,
        settings.model.threads,
        settings.model.engine,
        settings.model.plans,
    )
    rate = rate_limits(settings)
    if rate is not None:
        rate.ladder(model.tables.rates, may_skip=newest_wins)
    return Plan(
        source=source,
        fps=settings.source.fps,
        loop=settings.source.loop,
        latest=settings.source.latest,
        max_pixels=settings.source.max_pixels or MAX_PIXELS,
        device=device,
        model=model,
        endpoint=endpoint,
        spool=spool_folder(settings, device),
        spool_settings=SpoolSettings(
            settings.spool.max_mb * 1_000_000,
            settings.spool.when_full or ("drop-oldest" if newest_wins else "block"),
            settings.spool.max_age_s,
            settings.spool.order,
        ),
        agent=AgentSettings(
            stream=settings.source.stream,
            max_frames=settings.source.max_frames,
            newest_wins=newest_wins,
            drain_s=settings.cloud.drain_s,
            grace_s=settings.cloud.grace_s,
        ),
        max_kbps=settings.link.max_kbps,
        rate=rate,
        steady=SteadySettings(settings.still.latents, settings.still.heat)
        if settings.still.reuse
        else None,
        out=settings.report.out,
        metrics_port=settings.report.metrics_port,
        metrics_host=settings.report.metrics_host,
        telemetry=settings.source.telemetry,
        camera=CameraSettings(silent_s=settings.source.camera_timeout_s),
    )


def find_endpoint(cloud: CloudGroup) -> Endpoint:
    """The cloud that is meant, and who this device is to it.

    Raises:
        UsageError: No address, or neither or both of TLS and `--insecure`.
    """
    address = needed(cloud.address, "cloud.address")
    files = (cloud.cert, cloud.key, cloud.ca)
    if cloud.insecure and any(files):
        raise UsageError("give --cert, --key and --ca, or --insecure, but not both")
    if not cloud.insecure and not any(files):
        raise UsageError(
            "the cloud wants to know who this is: give --cert, --key and --ca, or --insecure for "
            "one on this machine"
        )
    return Endpoint(address, *files, cloud.server_name)


def rate_limits(settings: EdgeSettings) -> RateLimits | None:
    """What the rate control keeps to; None where there is none.

    Raises:
        UsageError: A fixed rate that is to adapt.
    """
    link, fixed = settings.link, settings.model.rate is not None
    if fixed and link.adapt:
        raise UsageError(
            "--rate fixes the rate, --adapt lets it follow the link: give one of them; bounds are "
            "--finest-rate and --coarsest-rate"
        )
    adapts = link.adapt if link.adapt is not None else link.max_kbps is not None and not fixed
    if not adapts:
        bare = link.model_copy(update={"max_kbps": None, "adapt": None})
        if bare != LinkGroup():
            raise UsageError(
                "--finest-rate, --coarsest-rate, --min-patches, --max-skip and --target-age-s are "
                "for --adapt: give it too, or --max-kbps without --rate"
            )
        return None
    return RateLimits(
        link.finest_rate,
        link.coarsest_rate,
        link.min_patches,
        link.max_skip,
        link.target_age_s,
    )


def device_name(cloud: CloudGroup) -> str:
    """What this device is called.

    Raises:
        WireError: It can't be sent; nothing was made with it yet.
    """
    name = cloud.device or socket.gethostname()
    FrameKey(name, 0, 0)
    return name


def spool_folder(settings: EdgeSettings, device: str) -> Path:
    """Where frames wait."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in device)
    return settings.spool.folder or Path(f"spool-{safe}")
