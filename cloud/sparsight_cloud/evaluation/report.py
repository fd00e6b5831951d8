"""Figures as a file: what was measured, on what, with what, when.

A report is flat JSON under names that scripts can rely on; a figure that does not exist (the AP of
large objects where there are none) is null. Shares, AP among them, are fractions.
"""

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from sparsight.errors import UsageError
from sparsight.settings import DetectSettings
from sparsight_cloud.evaluation.run import Evaluation

STAMPED = ("sparsight", "torch", "torchvision", "timm", "numpy", "numba", "faster-coco-eval")
"""Distributions whose versions can change a figure."""

_GIT_TIMEOUT_S = 5.0


def run_stamp() -> dict[str, Any]:
    """Where and with what a figure was measured.

    Returns:
        `date` (UTC, ISO 8601), `cpu`, `cores` (that this process may use), `threads` (torch's, if
        it is loaded), `gpu` (None without), `system`, `python`, `versions` and `commit` (None where
        the code doesn't run from a git checkout; `+dirty` marks changes that no commit holds).
    """
    torch = sys.modules.get("torch")  # loading it takes seconds, and not loaded it ran nothing
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads() if torch else None,
        "gpu": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name in STAMPED if (version := _version(name))},
        "commit": _commit(),
    }


def evaluation_report(
    evaluation: Evaluation, settings: DetectSettings, about: dict[str, Any]
) -> dict[str, Any]:
    """The report of one evaluation, ready for JSON.

    Args:
        evaluation: What was measured.
        settings: How the detector was run.
        about: What was judged on what: bundle, annotations and the like.
    """
    ap, kept = evaluation.ap, evaluation.coverage
    figures = {
        "ap": ap.ap,
        "ap50": ap.ap50,
        "ap75": ap.ap75,
        "ap_tiny": ap.ap_tiny,
        "ap_small": ap.ap_small,
        "ap_medium": ap.ap_medium,
        "ap_large": ap.ap_large,
        "ar500": ap.ar500,
        "bpr": kept.bpr,
        "occupancy": kept.occupancy,
        "kept_area": kept.kept_area,
        "patches_per_frame": kept.patches_per_frame,
        "gflops_per_frame": evaluation.gflops_per_frame,
        "gflops_dense": evaluation.gflops_dense,
        "ms_per_frame": evaluation.ms_per_frame,
        "ms_median": evaluation.ms_median,
        "payload_bytes_per_frame": evaluation.payload_bytes,
    }
    return {
        **{name: _short(figure) for name, figure in figures.items()},
        "times_ms": {stage: _short(ms) for stage, ms in evaluation.times_ms.items()},
        "images": evaluation.images,
        "images_failed": [asdict(one) for one in evaluation.failed],
        "boxes_judged": ap.boxes_judged,
        "boxes_ignored": ap.boxes_ignored,
        "classes_judged": list(evaluation.classes_judged),
        "classes_unknown": list(evaluation.classes_unknown),
        "per_class": {
            one.name: {"boxes": one.boxes, "ap": _short(one.ap), "ap50": _short(one.ap50)}
            for one in ap.per_class
        },
        "mode": settings.mode,
        "settings": asdict(settings),
        **about,
        **run_stamp(),
    }


def require_writable(path: Path) -> None:
    """Make the folder of a report, before the minutes of work that would be lost.

    Raises:
        UsageError: No file can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path}: can't make the folder of the report ({error.strerror}); name another by --out"
        ) from error
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path}: can't write the report there; name another file by --out")


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write a report as JSON that a person can read, too."""
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _short(figure: float | None) -> float | None:
    """Six digits: more say nothing and make reports hard to compare by eye."""
    return None if figure is None else float(f"{figure:.6g}")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    # Installed below another project's checkout, git would answer for that one: this very file
    # has to be under its control.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return _git("describe", "--always", "--tags", "--long", "--dirty=+dirty")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
