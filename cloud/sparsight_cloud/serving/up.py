"""All of the cloud in one place: started in order, ended in reverse.

CommitLog ─> sinks catch up ─> Dispatch ─> Gateway ─> "ready" ... stop
sinks finish <─ CommitLog <─ Dispatch <─ Gateway sends devices away <──┘
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sparsight_cloud.serving.archive import Archive, ArchiveRule
from sparsight_cloud.serving.commit import CommitLog, CommitRule
from sparsight_cloud.serving.dispatch import Dispatch, Ears
from sparsight_cloud.serving.gateway import Door, Gateway
from sparsight_cloud.serving.health import Probes
from sparsight_cloud.serving.metrics import GatewayMetrics
from sparsight_cloud.serving.settings import GatewayLimits
from sparsight_cloud.sinks.open import open_sinks
from sparsight_cloud.sinks.results import write_classes
from sparsight_cloud.sinks.sink import Sink, SinkName

MakeDispatch = Callable[[Ears], Dispatch]
"""Makes the dispatch, given who wants to hear of it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """How the cloud runs.

    Attributes:
        door: Where it listens, and whom it lets in.
        out: Where results go.
        metrics: HOST:PORT of the counters; None for none.
        health: HOST:PORT where probes may ask without a certificate; None for nowhere.
        sinks: What else becomes of results.
        limits: What a device may do.
        commit: How results are kept.
        min_score: Objects below are left out of answers and results.
        archive: Where payloads are kept; None for nowhere.
        archive_rule: How many.
    """

    door: Door
    out: Path
    metrics: str | None = None
    health: str | None = None
    sinks: tuple[SinkName, ...] = ()
    limits: GatewayLimits = field(default_factory=GatewayLimits)
    commit: CommitRule = field(default_factory=CommitRule)
    min_score: float = 0.0
    archive: Path | None = None
    archive_rule: ArchiveRule = field(default_factory=ArchiveRule)


@dataclass(frozen=True, slots=True)
class Ready:
    """A cloud that listens.

    Attributes:
        address: Where devices call.
        metrics: Where the counters are; None for nowhere.
        health: Where probes ask; None for nowhere but where devices call.
        committed: Frames that were committed before.
    """

    address: str
    metrics: str | None
    health: str | None
    committed: int


@contextlib.asynccontextmanager
async def cloud(settings: CloudSettings, make_dispatch: MakeDispatch) -> AsyncIterator[Ready]:
    """Run the cloud while the block runs.

    Args:
        settings: How.
        make_dispatch: Makes what computes.

    Raises:
        UsageError: It can't run so: an address, a folder or certificates that can't be used.
        DataError: Results of before are damaged.
    """
    metrics = GatewayMetrics()
    async with contextlib.AsyncExitStack() as stack:
        ears = Ears(
            saw_batch=metrics.batch_frames.observe,
            saw_serves=lambda serves: write_classes(settings.out, serves.bundles),
        )
        dispatch = make_dispatch(ears)
        sinks = _Sinks(open_sinks(settings.out, settings.sinks))
        commits = CommitLog(settings.out, settings.commit, saw_closed=lambda _: sinks.catch_up())
        stack.push_async_callback(sinks.close)
        commits.start()
        stack.push_async_callback(commits.close)
        archive = None
        if settings.archive is not None:
            archive = Archive(settings.archive, settings.archive_rule)
            stack.callback(archive.close)
        gateway = Gateway(
            settings.door,
            dispatch,
            commits,
            settings.limits,
            metrics,
            settings.min_score,
            archive,
        )
        shown = None
        if settings.metrics is not None:
            shown, stop = metrics.serve(settings.metrics)
            stack.callback(stop)
        asked = None
        if settings.health is not None:
            probes = Probes(settings.health, gateway.health)
            asked = await probes.start()
            stack.push_async_callback(probes.close)
        await dispatch.start()
        stack.push_async_callback(dispatch.close)
        sinks.catch_up()
        address = await gateway.start()
        stack.push_async_callback(gateway.close)
        yield Ready(address, shown, asked, len(commits))
        _log.info("going down")


def serve(
    settings: CloudSettings, make_dispatch: MakeDispatch, say: Callable[[Ready], None]
) -> None:
    """Run the cloud until this process is told to end (SIGINT, SIGTERM).

    A second signal ends it at once: what is on disk is whole whatever happens.

    Args:
        settings: How.
        make_dispatch: Makes what computes.
        say: Told once the cloud listens.

    Raises:
        UsageError: It can't run so.
        DataError: Results of before are damaged.
    """
    asyncio.run(_serve(settings, make_dispatch, say))


async def _serve(
    settings: CloudSettings, make_dispatch: MakeDispatch, say: Callable[[Ready], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def told() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    async def run() -> None:
        async with cloud(settings, make_dispatch) as ready:
            # What is there now stays: a look over all of it takes 0.1 s, in which no frame moves.
            gc.collect()
            gc.freeze()
            say(ready)
            started.set()
            await stop.wait()

    started = asyncio.Event()
    for number in signals:
        loop.add_signal_handler(number, told)
    running, stopping = asyncio.create_task(run()), asyncio.create_task(stop.wait())
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not started.is_set():
        running.cancel()  # a cluster takes a while to start, and nobody wants it any more
        _log.info("going down before the start")
    with contextlib.suppress(asyncio.CancelledError):
        await running


class _Sinks:
    """Runs the sinks in a thread, one after the other, beside the service and never in its way."""

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self._sinks = list(sinks)
        self._again = False
        self._task: asyncio.Task[None] | None = None

    def catch_up(self) -> None:
        """Let every sink do what can be done now."""
        self._again = True
        if self._sinks and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._catch_up(), name="sinks")

    async def close(self) -> None:
        """Let every sink do the rest."""
        self._again = False
        if self._task is not None:
            await self._task
        for sink in self._sinks:
            await self._run(sink.finish)

    async def _catch_up(self) -> None:
        while self._again:
            self._again = False
            for sink in self._sinks:
                await self._run(sink.catch_up)

    async def _run(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except Exception as error:  # the service goes on; the next start makes what is missing
            _log.error("sink failed", sink=work.__qualname__, error=str(error))
