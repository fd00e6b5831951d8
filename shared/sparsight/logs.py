"""The log of a program that runs on: to people in a terminal, to machines anywhere else."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TypeAlias

import structlog

LogForm: TypeAlias = Literal["text", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


def log_to_stderr(form: LogForm | None = None, level: LogLevel = "info") -> None:
    """Log events to standard error; said again, it holds from the next event on.

    Args:
        form: `text` is lines with colours in a terminal, `json` an object a line; None is what
            suits: text in a terminal, JSON elsewhere.
        level: The least that is logged.
    """
    people = sys.stderr.isatty()
    text = form == "text" or (form is None and people)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=people, sort_keys=False)
            if text
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # The stream of the moment of an event, never one that was closed since.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
