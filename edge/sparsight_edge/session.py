"""A whole run before a person's eyes: status, errors as they come, summary, exit code."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack

import structlog
from rich.console import Console

from sparsight.codec.payload import VERSION as CODEC_VERSION
from sparsight.errors import LinkError, PictureError
from sparsight.logs import log_to_stderr
from sparsight.wire import Hello
from sparsight_edge.agent import Agent, Stops
from sparsight_edge.board import LinkHerald, Show, open_board
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.outages import Outages
from sparsight_edge.current import CurrentSettings
from sparsight_edge.metrics import serve_metrics
from sparsight_edge.notify import Supervisor
from sparsight_edge.plan import Plan, rate_limits
from sparsight_edge.progress import Progress
from sparsight_edge.rate.pilot import Pilot
from sparsight_edge.records import Records
from sparsight_edge.settings import EdgeSettings
from sparsight_edge.signals import Asked, obey_signals
from sparsight_edge.spool.spool import Spool
from sparsight_edge.steady import Steady
from sparsight_edge.summary import left_over, status_line, summary_json, summary_table
from sparsight_edge.uplink.pacer import Pacer
from sparsight_edge.uplink.stream import Answered
from sparsight_edge.uplink.uplink import Uplink

_log = structlog.get_logger(__name__)


def run_session(
    plan: Plan,
    current: CurrentSettings,
    people: Console,
    results: Console,
    *,
    tui: bool = False,
    machine: bool = False,
) -> int:
    """Run an agent until it ends or is told to.

    Args:
        plan: What to run.
        current: The settings it was made of, for those that may change.
        people: For the status; stderr.
        results: For the summary; stdout.
        tui: Show the status on the whole terminal.
        machine: Print the summary as JSON and nothing else there.

    Returns:
        The exit code: 0, that of `PictureError` if frames could not be read, or that of the signal
        that ended it (`exits.EXITS`).

    Raises:
        LinkError: The source ended, but frames are left in the spool.
        SparsightError: Something is wrong with what was asked for, or went wrong.
    """
    stops = Stops()
    with ExitStack() as stack:
        asked = stack.enter_context(obey_signals(stops, hangs_up=sys.stderr.isatty()))
        agent = _open_agent(plan, stops, stack)
        port = stack.enter_context(
            serve_metrics(agent.progress, plan.metrics_port, plan.metrics_host)
        )
        if port is not None:
            _log.info("metrics", url=f"http://{plan.metrics_host}:{port}/metrics")
        show = stack.enter_context(
            open_board(people, tui=tui, spool_max_bytes=plan.spool_settings.max_bytes)
        )
        watch = _Watch(agent, asked, current, show)
        watch.supervisor.ready()
        done = agent.run(watch)
    if machine:
        results.out(
            json.dumps(summary_json(done, interrupted=bool(asked.ends)), indent=2), highlight=False
        )
    else:
        results.print(summary_table(done))
    if asked.ends:
        if done.spool.left:
            _log.warning(left_over(done))
        return asked.exit_code
    if done.spool.left:
        raise LinkError(left_over(done))
    return PictureError.exit_code if done.unreadable else 0


def _open_agent(plan: Plan, stops: Stops, stack: ExitStack) -> Agent:
    """An agent with all that it works on; the stack closes what was opened."""
    outages = Outages(lambda line: _log.warning("camera", what=line))
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
    return Agent(
        source,
        plan.model,
        spool,
        uplink,
        plan.agent,
        stops,
        report=lambda error: _log.warning("unreadable", reason=str(error)),
        records=records,
        outages=outages,
        steady=Steady(plan.steady) if plan.steady else None,
        pilot=_pilot(plan),
    )


class _Watch:
    """What the main thread does several times a second while the agent runs.

    Attributes:
        supervisor: Told how the agent is.
    """

    def __init__(self, agent: Agent, asked: Asked, current: CurrentSettings, show: Show) -> None:
        self.supervisor = Supervisor()
        self._asked = asked
        self._current = current
        self._agent = agent
        self._show = show
        self._herald = LinkHerald()
        self._draining = False

    def __call__(self, now: Progress) -> None:
        if self._asked.ends and not self._draining:
            self._draining = True
            self.supervisor.stopping()
            _log.info(
                "draining", signal=self._asked.ends[0].name, grace_s=self._agent.settings.grace_s
            )
        if self._asked.reload:
            self._asked.reload = False
            self.supervisor.reloading()
            self._current.reload(self._apply)
            self.supervisor.ready()
        self.supervisor.alive(now, status_line(now))
        self._herald.see(now)
        self._show(now)

    def _apply(self, settings: EdgeSettings) -> None:
        """Let settings that were read again hold.

        Raises:
            UsageError: They can't; nothing is changed.
        """
        self._agent.keep_to(rate_limits(settings), settings.link.max_kbps)
        log_to_stderr(settings.report.log_format, settings.report.log_level)


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
