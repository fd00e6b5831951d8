"""What a check found, and how it is shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from rich.markup import escape
from rich.text import Text

Verdict: TypeAlias = Literal["ok", "warn", "fail", "skip"]
Check: TypeAlias = Literal[
    "bundle", "engine", "camera", "disk", "certificate", "clock", "link", "cloud"
]

_COLOURS: dict[Verdict, str] = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        check: What was looked at.
        verdict: `fail` keeps an agent from working, `warn` may one day; `skip` was not looked at.
        found: What was found, with figures.
        do: What to do; empty if nothing.
    """

    check: Check
    verdict: Verdict
    found: str
    do: str = ""

    def line(self) -> Text:
        """For people."""
        colour = _COLOURS[self.verdict]
        text = f"[{colour}]{self.verdict:4}[/]  [bold]{self.check:11}[/]  {escape(self.found)}"
        return Text.from_markup(text + (f"\n{'':19}-> {escape(self.do)}" if self.do else ""))

    def json(self) -> dict[str, str]:
        """For programs."""
        return asdict(self)
