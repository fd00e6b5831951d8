"""A whole run before a person's eyes: status, errors as they come, summary, exit code."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from sparsight.codec.payload import VERSION as CODEC_VERSION
from sparsight.errors import LinkError, PictureError
from sparsight.wire import Hello
from sparsight_edge.agent import Agent, Stops
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.outages import Outages
from sparsight_edge.metrics import serve_metrics
from sparsight_edge.plan import Plan
from sparsight_edge.progress import Progress
from sparsight_edge.rate.pilot import Pilot
from sparsight_edge.records import Records
from sparsight_edge.spool.spool import Spool
from sparsight_edge.steady import Steady
from sparsight_edge.summary import (
    left_over,
    status_line,
    status_table,
    summary_json,
    summary_table,
)
from sparsight_edge.uplink.pacer import Pacer
from sparsight_edge.uplink.stream import Answered
from sparsight_edge.uplink.uplink import Uplink

_LINE_S = 5.0
_INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Exit codes as a shell gives them."""


def run_session(plan: Plan, people: Console, results: Console, *, machine: bool = False) -> int:
    """Run an agent until it ends or is told to.

    Args:
        plan: What to run.
        people: For status and errors; stderr.
        results: For the summary; stdout.
        machine: Print the summary as JSON and nothing else there.

    Returns:
        The exit code: 0, that of `PictureError` if frames could not be read, 130 after Ctrl-C, 143
        after SIGTERM.

    Raises:
        LinkError: The source ended, but frames are left in the spool.
        SparsightError: Something is wrong with what was asked for, or went wrong.
    """
    stops = Stops()
    with ExitStack() as stack:
        outages = Outages(lambda line: _say(people, f"camera: {line}"))
        source = open_source(
            plan.source,
            stops.soon,
            fps=plan.fps,
            loop=plan.loop,
            latest=plan.latest,
            max_pixels=plan.max_pixels,
            outages=outages,
            camera=plan.camera,
            telemetry=plan.telemetry,
        )
        records = None
        if plan.out is not None:
            records = Records(plan.out, plan.model.classes)
            stack.callback(records.close)
        spool = Spool(plan.spool, plan.device, plan.spool_settings)
        stack.callback(spool.close)
        hello = Hello(
            plan.device, spool.epoch, plan.model.bundle_id, CODEC_VERSION, (plan.agent.stream,)
        )
        uplink = Uplink(
            plan.endpoint,
            hello,
            spool,
            records.result if records else _forget,
            tables=plan.model.tables if plan.steady else None,
            pacer=Pacer(plan.max_kbps) if plan.max_kbps is not None else None,
        )
        agent = Agent(
            source,
            plan.model,
            spool,
            uplink,
            plan.agent,
            stops,
            report=lambda error: _complain(people, error),
            records=records,
            outages=outages,
            steady=Steady(plan.steady) if plan.steady else None,
            pilot=_pilot(plan),
        )
        port = stack.enter_context(
            serve_metrics(agent.progress, plan.metrics_port, plan.metrics_host)
        )
        if port is not None:
            _say(people, f"metrics: http://{plan.metrics_host}:{port}/metrics")
        told = stack.enter_context(_obey_signals(stops))
        board = stack.enter_context(_Board(people))
        done = agent.run(board.show)
    if machine:
        results.out(
            json.dumps(summary_json(done, interrupted=bool(told)), indent=2), highlight=False
        )
    else:
        results.print(summary_table(done))
    if told:
        if done.spool.left:
            _say(people, left_over(done))
        return _INTERRUPTED[told[0]]
    if done.spool.left:
        raise LinkError(left_over(done))
    return PictureError.exit_code if done.unreadable else 0


class _Board:
    """The status: drawn anew on a terminal, else a line every few seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = (
            Live(console=console, refresh_per_second=4, transient=True)
            if console.is_terminal
            else None
        )
        self._said_s = time.monotonic()

    def __enter__(self) -> _Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, now: Progress) -> None:
        """How it stands."""
        if self._live is not None:
            self._live.update(status_table(now))
        elif time.monotonic() - self._said_s >= _LINE_S:
            self._said_s = time.monotonic()
            _say(self.console, status_line(now))


@contextmanager
def _obey_signals(stops: Stops) -> Iterator[list[signal.Signals]]:
    """The first signal stops the agent soon, the second at once; yields what came."""
    told: list[signal.Signals] = []

    def obey(number: int, frame: FrameType | None) -> None:
        told.append(signal.Signals(number))
        stops.soon.set()
        if len(told) > 1:
            stops.now.set()

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield told
        return
    before = {number: signal.signal(number, obey) for number in _INTERRUPTED}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pilot(plan: Plan) -> Pilot:
    """What chooses each frame's rate."""
    model = plan.model
    if plan.rate is None:
        return Pilot.fixed(model.rate)
    return Pilot.following(
        plan.rate,
        model.sizes_bytes,
        model.tables.rates,
        model.rate,
        may_skip=plan.agent.newest_wins,
        max_kbps=plan.max_kbps,
    )


def _forget(answered: Answered) -> None:
    """Nobody asked for results here: the cloud has them."""


def _complain(console: Console, error: PictureError) -> None:
    console.print(f"[red]unreadable:[/] {escape(str(error))}", soft_wrap=True, highlight=False)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
