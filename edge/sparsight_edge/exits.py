"""How `sparsight edge` ends: every exit code, what it means, and what to do then."""

from __future__ import annotations

from dataclasses import dataclass

from sparsight.errors import BundleError, LinkError, PictureError, SpoolError, UsageError, WireError

DOCTOR_FAILED = 10
"""`edge doctor` found something that keeps an agent from working."""


@dataclass(frozen=True, slots=True)
class Exit:
    """One way to end.

    Attributes:
        code: The exit code.
        meaning: What happened.
        then: What to do.
    """

    code: int
    meaning: str
    then: str


EXITS = (
    Exit(0, "every frame was acknowledged", "nothing"),
    Exit(1, "a crash; a traceback says where", "report it"),
    Exit(UsageError.exit_code, "a setting is missing, wrong or can't be", "read the line, mend it"),
    Exit(PictureError.exit_code, "some frames could not be read; all others went", "look at them"),
    Exit(BundleError.exit_code, "the bundle is missing, damaged or of another version", "get it"),
    Exit(WireError.exit_code, "a name that can't be sent", "give another --device or --stream"),
    Exit(
        SpoolError.exit_code,
        "the spool can't be opened or written, or is full (--when-full stop)",
        "mend the disk or folder",
    ),
    Exit(LinkError.exit_code, "frames are left in the spool", "run again; they go first"),
    Exit(DOCTOR_FAILED, "edge doctor: a check failed", "do what its lines say"),
    Exit(129, "SIGHUP: the terminal is gone; drained like 143", "as after 143"),
    Exit(130, "SIGINT (Ctrl-C); drained like 143", "as after 143"),
    Exit(143, "SIGTERM; what was not answered is in the spool", "run again; it goes first"),
)


def exits_help() -> str:
    """All of them, as Markdown for the help."""
    return "\n\n".join(f"- {one.code}: {one.meaning}" for one in EXITS)
