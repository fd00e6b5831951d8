"""From a checkpoint to a bundle in the run's folder, judged if there are labelled pictures."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from sparsight.bundle import Manifest
    from sparsight.settings import DetectSettings
    from sparsight_cloud.data.dataset import Dataset
    from sparsight_cloud.training.config import TrainConfig
    from sparsight_cloud.training.loop import Outcome


@dataclass(frozen=True, slots=True)
class Judged:
    """The labelled set to judge the bundle on."""

    name: str
    dataset: "Dataset"


def require_objects(classes: "tuple[str, ...]", judged: Judged) -> None:
    """Find out before hours of training that nothing can be judged after them.

    Args:
        classes: Of what is trained on.
        judged: What is judged on.

    Raises:
        DataError: It has no object of these classes.
    """
    from sparsight.errors import DataError
    from sparsight_cloud.evaluation.classes import match_classes

    if not match_classes(classes, judged.dataset.classes).dataset(judged.dataset).boxes:
        raise DataError(
            f"{judged.name}: expected objects of the classes {', '.join(classes)} to judge on, "
            "got none; give other annotations"
        )


def ship(
    settings: "TrainConfig",
    dataset: "Dataset",
    outcome: "Outcome",
    judged: Judged | None,
    console: Console,
    detect: "DetectSettings | None" = None,
) -> "tuple[Manifest, dict[str, Any] | None]":
    """Write the bundle; with an evaluation, write it again with figures in its card.

    Args:
        settings: The run.
        dataset: What it was trained on.
        outcome: How it ended.
        judged: What to judge the bundle on.
        console: Shows progress and figures.
        detect: How a detector without a codec is to be run; plain settings without.
    """
    if settings.stage != "detector":
        return _ship_codec(settings, judged, console)

    from sparsight.model.detector import Detector
    from sparsight.settings import DetectSettings
    from sparsight_cloud.evaluation.judge import judge
    from sparsight_cloud.evaluation.report import write_report
    from sparsight_cloud.evaluation.tables import main_table
    from sparsight_cloud.training.card import write_card
    from sparsight_cloud.training.export import bundle_from_checkpoint
    from sparsight_cloud.training.loop import CHECKPOINT

    name, folder = settings.out.name[:100], settings.out / "bundle"
    how = detect or DetectSettings(long_side_px=settings.crop.long_side_px)

    def write(report: dict[str, Any] | None) -> "Manifest":
        card = write_card(name, settings, dataset, outcome, report)
        checkpoint = settings.out / CHECKPOINT
        return bundle_from_checkpoint(checkpoint, folder, name=name, card=card, detect=how)

    manifest = write(None)
    if judged is None:
        return manifest, None
    detector = Detector.from_bundle(folder)
    about = {"bundle": {"name": name}, "annotations": judged.name}
    report = judge(detector, judged.dataset, detector.settings, {}, None, about, console)
    write_report(report, settings.out / "report.json")
    console.print(main_table(report))
    return write(report), report


def _ship_codec(
    settings: "TrainConfig", judged: Judged | None, console: Console
) -> "tuple[Manifest, dict[str, Any] | None]":
    """Write the bundle of two halves; with an evaluation, again with each rate's figures."""
    from dataclasses import replace

    from rich.table import Table

    from sparsight.bundle import with_figures
    from sparsight.model.detector import Detector
    from sparsight_cloud.commands.bundle import Asked, build_codec_bundle
    from sparsight_cloud.evaluation.judge import judge
    from sparsight_cloud.evaluation.report import write_report

    name, folder = settings.out.name[:100], settings.out / "bundle"
    manifest = build_codec_bundle(settings, folder, Asked(), name=name, card=None, console=console)
    if judged is None:
        return manifest, None
    detector = Detector.from_bundle(folder)
    about = {"bundle": {"name": name}, "annotations": judged.name}
    table = Table("rate", "kB a frame", "AP", "AP50", title="rates", title_justify="left")
    reports: dict[str, Any] = {}
    figures = []
    for i in (None, *range(len(manifest.rates))):
        chosen = replace(detector.settings, rate=i)
        report = judge(detector, judged.dataset, chosen, {}, None, about, console)
        reports["none" if i is None else str(i)] = report
        size = report["payload_bytes_per_frame"]
        if i is not None:
            figures.append((size, report["ap"], report["ap50"]))
        shown = "-" if size is None else f"{size / 1e3:.1f}"
        table.add_row(
            "no codec" if i is None else str(i),
            shown,
            _percent(report["ap"]),
            _percent(report["ap50"]),
        )
    write_report(reports, settings.out / "report.json")
    console.print(table)
    if any(ap is None for _, ap, _ in figures):  # the pictures with objects can't be read
        return manifest, reports
    return with_figures(folder, figures), reports


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
