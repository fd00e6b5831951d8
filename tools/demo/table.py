"""The one table that the demo ends with: a column a camera, and one for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.table import Table
from tools.demo.figures import PARTS, Figures
from tools.demo.rivals import AVIF_QUALITY, JPEG_QUALITY

PARTS_LINE = (
    "device: capture to payload; link: spool and both ways; queue: waiting for a batch;\n"
    "cloud: forward pass and commit. The first frame of each device is left out."
)
"""What the parts of a latency are; stands below the table."""


def table(columns: Mapping[str, Figures]) -> Table:
    """Draw the figures.

    Args:
        columns: By their headings, such as those of a camera.
    """
    out = Table()
    out.add_column("", no_wrap=True)
    for heading in columns:
        out.add_column(heading, justify="right", no_wrap=True)

    def row(name: str, cell: Callable[[Figures], str]) -> None:
        out.add_row(name, *(cell(figures) for figures in columns.values()))

    row("frames sent", lambda f: _of(f.sent, f.planned))
    row("frames committed", lambda f: str(f.committed))
    row("frames lost", lambda f: _bad(f.lost))
    row("frames duplicated", lambda f: _bad(f.duplicated))
    out.add_section()
    row("bytes a frame", lambda f: _bytes(f.bytes_per_frame))
    row(f"  as JPEG {JPEG_QUALITY}", lambda f: _times(f.jpeg_bytes, f))
    row(f"  as AVIF {AVIF_QUALITY}", lambda f: _times(f.avif_bytes, f))
    out.add_section()
    for part in PARTS:
        name = "latency p50 / p99, ms" if part == "total" else f"  {part}"
        row(name, lambda f, part=part: _pair(f.latency_ms[part]))  # type: ignore[misc]
    out.add_section()
    row("AP", lambda f: _share(f.ap.ap))
    row("AP50", lambda f: _share(f.ap.ap50))
    row("AP in one process", lambda f: _share(f.in_process.ap))
    return out


def _of(count: int, planned: int) -> str:
    return str(count) if count == planned else f"[red]{count} of {planned}[/]"


def _bad(count: int) -> str:
    return f"[bold red]{count}[/]" if count else "0"


def _bytes(size: float | None) -> str:
    return "-" if size is None else f"{size:,.0f}"


def _times(size: float | None, figures: Figures) -> str:
    """A size, and how often ours goes into it."""
    if size is None or not figures.bytes_per_frame:
        return _bytes(size)
    return f"{_bytes(size)} ({size / figures.bytes_per_frame:.1f}x)"


def _pair(values: dict[str, float] | None) -> str:
    return "-" if values is None else f"{values['p50']:.0f} / {values['p99']:.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
