"""The settings of the moment: one owner, replaced whole when they are read again.

    SIGHUP ─> reload ─> file and environment ─┬─ marked `Live`  ─> applied, .settings is another
                                              ├─ all others     ─> "needs a restart"
                                              └─ wrong          ─> one line; nothing changes

Whoever lives by a setting that is marked `Live` is told when `session.py` applies it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from sparsight.errors import UsageError
from sparsight_edge.catalog import all_settings
from sparsight_edge.given import Given, read_settings
from sparsight_edge.settings import EdgeSettings

_log = structlog.get_logger(__name__)


class CurrentSettings:
    """Settings that can be read again.

    Attributes:
        settings: Those in force; from any thread.
    """

    def __init__(self, given: Given) -> None:
        """As they were given at the start."""
        self.settings = given.settings
        self._line = given.line

    def reload(self, apply: Callable[[EdgeSettings], None]) -> None:
        """Read them again, and say what came of it; from one thread.

        Args:
            apply: Lets new ones hold; raises UsageError, and changes nothing, if they can't.
        """
        try:
            new = read_settings(self._line).settings
        except UsageError as error:
            _log.error("settings not reloaded, the old ones hold", reason=str(error))
            return
        changed: list[str] = []
        waiting: list[str] = []
        now = self.settings
        for path, setting in all_settings().items():
            if setting.of(new) != setting.of(now):
                (changed if setting.live else waiting).append(path)
                if setting.live:
                    now = _with(now, setting.group, setting.field, setting.of(new))
        try:
            apply(now)
        except UsageError as error:
            _log.error("settings not reloaded, the old ones hold", reason=str(error))
            return
        self.settings = now
        if waiting:
            _log.warning("settings changed that need a restart", settings=waiting)
        _log.info("settings reloaded", changed=changed)


def _with(settings: EdgeSettings, group: str, field: str, value: Any) -> EdgeSettings:
    part = getattr(settings, group).model_copy(update={field: value})
    return settings.model_copy(update={group: part})
