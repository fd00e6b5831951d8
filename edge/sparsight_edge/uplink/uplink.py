"""Keeps one stream to the cloud open, for as long as the device runs.

    spool ─> Stream ─> lost, refused, busy ─ back off ─> Stream ─> ...

A thread, not asyncio: the agent is threads, the spool blocks on the disk, and gRPC's asyncio half
shares one poller among all event loops of a process, so an agent and a cloud that are run in one
process (demo, tests) would get into each other's way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sparsight.codec.tables import Tables
from sparsight.errors import SparsightError
from sparsight.wire import Hello
from sparsight_edge.backoff import Backoff
from sparsight_edge.spool.spool import Spool
from sparsight_edge.uplink.acks import Acks
from sparsight_edge.uplink.channel import Endpoint
from sparsight_edge.uplink.ledger import Ledger, UplinkStats
from sparsight_edge.uplink.pacer import Pacer
from sparsight_edge.uplink.relay import Relay
from sparsight_edge.uplink.stream import Answered, Ended, Stream, StreamSettings
from sparsight_edge.uplink.wires import Wires


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """How patient the uplink is.

    Attributes:
        retry_s: First and longest wait between two streams.
        hold_s: How long frames stay held before they are tried again.
        stream: Of one stream.
    """

    retry_s: tuple[float, float] = (0.5, 30.0)
    hold_s: float = 300.0
    stream: StreamSettings = field(default_factory=StreamSettings)


class Uplink:
    """Sends what is in a spool until it is stopped.

    Attributes:
        failure: What ended it besides `stop`; it is over then, and the agent is to say so.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        hello: Hello,
        spool: Spool,
        on_result: Callable[[Answered], None],
        settings: UplinkSettings | None = None,
        tables: Tables | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        """An uplink that does nothing yet.

        Args:
            endpoint: Where the cloud is.
            hello: What to say first on each stream.
            spool: Where frames come from.
            on_result: Stores an answer; called in the uplink's thread, before it is acknowledged.
            settings: How patient to be.
            tables: Of the bundle, to tell frames by what changed; None sends all of them whole.
            pacer: Holds what is sent to a promise; None sends as fast as the link goes.
        """
        self.endpoint = endpoint
        self.hello = hello
        self.spool = spool
        self.on_result = on_result
        self.settings = settings or UplinkSettings()
        self.pacer = pacer
        self._tables = tables
        self.failure: Exception | None = None
        self._ledger = Ledger()
        self._acks = Acks()
        self._released_s = time.monotonic()
        self._stop = threading.Event()
        self._wires: Wires | None = None
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def nudge(self) -> None:
        """There is a new frame in the spool; from any thread."""
        wires = self._wires
        if wires is not None:
            wires.nudge()

    def stop(self) -> None:
        """Acknowledge what was answered and end; returns when it is over."""
        self._stop.set()
        self.nudge()
        if self._thread.is_alive():
            self._thread.join()
        self._ledger.state("closed", self.stats().reason)

    def stats(self) -> UplinkStats:
        """How it stands."""
        return self._ledger.stats()

    def _run(self) -> None:
        try:
            self._keep_up()
        except Exception as error:  # the agent's main thread raises it
            self.failure = error

    def _keep_up(self) -> None:
        backoff = Backoff(*self.settings.retry_s)
        while not self._stop.is_set():
            reason = self._ledger.stats().reason
            self._ledger.state("connecting", reason)
            begin_s, streams = time.monotonic(), self.stats().streams
            ended = self._one_stream()
            self.spool.give_back_all()
            if self._stop.is_set():
                return
            welcome = self.stats().streams > streams
            if ended.useful or (welcome and time.monotonic() - begin_s > self.settings.retry_s[1]):
                backoff.reset()
            turned_away = ended.turned_away
            self._ledger.state("turned away" if turned_away else "waiting", ended.reason)
            wait_s = backoff.slow_s() if turned_away else backoff.next_s(ended.retry_after_s)
            self._stop.wait(wait_s)

    def _release_held(self) -> None:
        """Now and then, see whether the cloud was updated."""
        if time.monotonic() - self._released_s > self.settings.hold_s:
            self._released_s = time.monotonic()
            self.spool.release()

    def _one_stream(self) -> Ended:
        if self.pacer is None:
            return self._stream_over(None)
        try:
            relay = Relay(self.endpoint.host, self.endpoint.port, self.pacer)
        except OSError as error:
            return Ended(f"no socket for the relay: {error}")
        with relay:
            ended = self._stream_over(relay.path)
            # gRPC knows of the relay only; but what the cloud said counts for more.
            said = ended.turned_away or ended.useful or ended.retry_after_s
            return replace(ended, reason=relay.problem) if relay.problem and not said else ended

    def _stream_over(self, relay: Path | None) -> Ended:
        try:
            channel = self.endpoint.open(relay)
        except SparsightError as error:  # a certificate that is being renewed
            return Ended(str(error))
        with channel:
            self._wires = Wires(channel)
            try:
                stream = Stream(
                    self._wires,
                    self.hello,
                    self.spool,
                    self._ledger,
                    self._acks,
                    self.on_result,
                    self._release_held,
                    self.settings.stream,
                    self._tables,
                    self.pacer,
                )
                return stream.run(self._stop)
            finally:
                self._wires = None
