"""An agent's figures for Prometheus, read when they are asked for.

GET http://127.0.0.1:PORT/metrics ─> collect() ─> Agent.progress()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sparsight.errors import UsageError
from sparsight_edge.capture.outages import CameraStats
from sparsight_edge.progress import Progress
from sparsight_edge.timings import outside_over_engine

PREFIX = "sparsight_edge"


class AgentCollector(Collector):
    """Turns progress into metrics; holds none of its own."""

    def __init__(self, progress: Callable[[], Progress]) -> None:
        """Metrics of whoever gives this progress."""
        self.progress = progress

    def collect(self) -> Iterator[Metric]:
        """All figures, of one moment."""
        now = self.progress()
        spool, uplink = now.spool, now.uplink
        frames = CounterMetricFamily(
            f"{PREFIX}_frames", "Frames by what became of them", labels=["event"]
        )
        for event, count in (
            ("captured", now.captured),
            ("unreadable", now.unreadable),
            ("skipped", now.skipped),
            ("left_out", now.rate.skipped),
            ("missed", now.camera.missed),
            ("spooled", spool.appended),
            ("inherited", spool.inherited),
            ("sent", uplink.sent),
            ("acknowledged", uplink.acknowledged),
            ("refused", spool.refused),
            ("dropped", spool.dropped),
            ("dropped_new", spool.dropped_new),
            ("expired", spool.expired),
            ("damaged", spool.damaged),
        ):
            frames.add_metric([event], count)
        yield frames
        yield CounterMetricFamily(
            f"{PREFIX}_payload_bytes", "Coded bytes of spooled frames", now.payload_bytes
        )
        yield CounterMetricFamily(f"{PREFIX}_sent_bytes", "Messages sent", uplink.sent_bytes)
        yield CounterMetricFamily(
            f"{PREFIX}_delta_frames", "Frames sent as changes to others", uplink.deltas
        )
        yield CounterMetricFamily(
            f"{PREFIX}_saved_bytes", "What these did not take", uplink.saved_bytes
        )
        yield CounterMetricFamily(f"{PREFIX}_streams", "Streams to the cloud", uplink.streams)
        yield CounterMetricFamily(f"{PREFIX}_patches", "Patches of spooled frames", now.patches)
        left = GaugeMetricFamily(f"{PREFIX}_spool_frames", "Frames on disk", labels=["state"])
        for state, count in (
            ("waiting", spool.waiting),
            ("in_flight", spool.taken),
            ("held", spool.held),
        ):
            left.add_metric([state], count)
        yield left
        yield GaugeMetricFamily(f"{PREFIX}_spool_bytes", "Disk taken by frames", spool.bytes)
        yield GaugeMetricFamily(
            f"{PREFIX}_spool_oldest_age_seconds",
            "How long the oldest frame on disk waits",
            spool.oldest_age_s,
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_spool_full", "1 if the newest frame found no room", spool.full
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_link_up", "1 if the stream is open", uplink.state == "up"
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_round_trip_seconds", "From sending to answer", uplink.round_trip_ms / 1e3
        )
        yield from _rate(now)
        if now.camera.state != "none":
            yield from _camera(now.camera)
        seconds = CounterMetricFamily(
            f"{PREFIX}_stage_seconds", "Wall time of each stage", labels=["stage"]
        )
        timed = CounterMetricFamily(
            f"{PREFIX}_stage_frames", "Frames timed in each stage", labels=["stage"]
        )
        for stage, time in now.times.items():
            seconds.add_metric([stage], time.wall_ms / 1e3)
            timed.add_metric([stage], time.frames)
        yield seconds
        yield timed
        if (ratio := outside_over_engine(now.times)) is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}_outside_over_engine",
                "Device time outside the engine over engine time",
                ratio,
            )


def _rate(now: Progress) -> Iterator[Metric]:
    rate = now.rate
    yield GaugeMetricFamily(f"{PREFIX}_rate", "Codec rate of new frames, 0 the finest", rate.rate)
    yield CounterMetricFamily(
        f"{PREFIX}_rate_switches", "Times the rate control changed", rate.switches
    )
    yield GaugeMetricFamily(
        f"{PREFIX}_queue_age_seconds",
        "How long the oldest frame has waited for its answer",
        rate.queue_age_s,
    )
    if rate.goodput_kbps is not None:
        yield GaugeMetricFamily(
            f"{PREFIX}_goodput_kbps",
            "What the link last carried while frames waited",
            rate.goodput_kbps,
        )
    if now.link_kbps is not None:
        yield GaugeMetricFamily(
            f"{PREFIX}_link_kbps", "What left the machine in the last 10 s", now.link_kbps
        )


def _camera(camera: CameraStats) -> Iterator[Metric]:
    yield GaugeMetricFamily(f"{PREFIX}_camera_up", "1 if frames come", camera.state == "up")
    yield CounterMetricFamily(
        f"{PREFIX}_camera_outages", "Times the camera was lost", camera.outages
    )
    yield CounterMetricFamily(
        f"{PREFIX}_camera_outage_seconds",
        "Time without frames in outages, the one that lasts included",
        camera.outage_s,
    )


@contextmanager
def serve_metrics(
    progress: Callable[[], Progress], port: int | None, host: str = "127.0.0.1"
) -> Iterator[int | None]:
    """Answer Prometheus for as long as the context is open.

    Args:
        progress: Gives the figures; called in a thread of the server.
        port: Where; 0 takes a free one, None serves nothing.
        host: Address to listen on. Figures are not secret, but nobody else's business either.

    Yields:
        The port.

    Raises:
        UsageError: It can't be listened on.
    """
    if port is None:
        yield None
        return
    registry = CollectorRegistry()
    registry.register(AgentCollector(progress))
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise UsageError(
            f"metrics: {host}:{port} can't be listened on: {error.strerror}; give another "
            "--metrics-port"
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
