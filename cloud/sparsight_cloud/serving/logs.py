"""The service's log: to people in a terminal, to machines anywhere else."""

from __future__ import annotations

import sys

import structlog


def log_to_stderr() -> None:
    """Log events to standard error: lines with colours in a terminal, JSON elsewhere."""
    people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(),
        ],
        # The stream of the moment of an event, never one that was closed since.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
