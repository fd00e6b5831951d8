"""What the gateway counts, for Prometheus.

No metric has a device's name: a fleet would make thousands of series. Who did what is in the
results and in the log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from sparsight.errors import UsageError
from sparsight.wire import CloudTimes, FrameStatus, RefusalStatus
from sparsight_cloud.serving.identity import split_address

_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000)
_BATCH = (1, 2, 4, 8, 16, 32, 64)


class GatewayMetrics:
    """Owns the counters, in a registry of their own: several gateways may live in one process.

    Attributes:
        registry: What is shown.
        frames: Answers to frames, by status.
        refusals: Messages and streams that were not taken, by status.
        joined: Frames that came while the same one was being computed.
        repeated: Frames that came after they were committed.
        told_by_change: Frames that came as deltas to others.
        bytes_in: Messages of devices.
        bytes_out: Messages to devices.
        streams: Devices that are connected.
        stream_ends: Streams that ended, by how: `clean` half-closed and answered, `broken` (also by
            a message over the limit, which gRPC refuses before we see it), `refused`.
        in_flight: Frames that wait for their answer.
        commit_failures: Results that could not be written.
        stage_ms: Where a frame's time went, by stage.
        batch_frames: Frames in one forward pass.
    """

    def __init__(self) -> None:
        """Counters at zero, with a line for every status from the start."""
        self.registry = CollectorRegistry()
        self.frames = self._counter("frames", "Answers to frames, by status.", "status")
        self.refusals = self._counter("refusals", "Messages and streams not taken.", "status")
        self.joined = self._counter("joined_frames", "Frames joined to the same one in flight.")
        self.repeated = self._counter("repeated_frames", "Frames that had been committed before.")
        self.told_by_change = self._counter("delta_frames", "Frames that came as deltas.")
        self.bytes_in = self._counter("received_bytes", "Messages of devices, in bytes.")
        self.bytes_out = self._counter("sent_bytes", "Messages to devices, in bytes.")
        self.stream_ends = self._counter("stream_ends", "Streams that ended, by how.", "how")
        self.commit_failures = self._counter("commit_failures", "Results not written.")
        self.streams = self._gauge("streams", "Devices that are connected.")
        self.in_flight = self._gauge("in_flight_frames", "Frames that wait for their answer.")
        self.stage_ms = Histogram(
            "sparsight_gateway_stage_ms",
            "Where a frame's time in the cloud went, in milliseconds.",
            ["stage"],
            buckets=_MS,
            registry=self.registry,
        )
        self.batch_frames = Histogram(
            "sparsight_gateway_batch_frames",
            "Frames in one forward pass.",
            buckets=_BATCH,
            registry=self.registry,
        )
        for how in ("clean", "broken", "refused"):
            self.stream_ends.labels(how)
        for frame_status in FrameStatus:
            self.frames.labels(frame_status.name.lower())
        for refusal_status in RefusalStatus:
            self.refusals.labels(refusal_status.name.lower())

    def saw_result(self, status: FrameStatus, times: CloudTimes | None) -> None:
        """A frame was answered."""
        self.frames.labels(status.name.lower()).inc()
        if times is not None:
            self.stage_ms.labels("queue").observe(times.queue_ms)
            self.stage_ms.labels("compute").observe(times.compute_ms)
            self.stage_ms.labels("commit").observe(times.commit_ms)

    def saw_refusal(self, status: RefusalStatus) -> None:
        """A message or a stream was not taken."""
        self.refusals.labels(status.name.lower()).inc()

    def serve(self, address: str) -> tuple[str, Callable[[], None]]:
        """Show the counters over HTTP, at /metrics, in a thread of its own.

        Args:
            address: HOST:PORT; port 0 is any.

        Returns:
            The address it got, and what ends it.

        Raises:
            UsageError: The address can't be listened on.
        """
        host, port = split_address(address)
        server: WSGIServer
        thread: threading.Thread
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise UsageError(f"{address}: can't be listened on ({error.strerror})") from error

        def stop() -> None:
            with closing(server.socket):
                server.shutdown()
                thread.join()

        return f"{host}:{server.server_port}", stop

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"sparsight_gateway_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"sparsight_gateway_{name}", text, registry=self.registry)
