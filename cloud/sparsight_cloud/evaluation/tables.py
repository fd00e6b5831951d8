"""An evaluation report as tables for a person."""

from typing import Any

from rich.table import Table

_AP_ROWS = {
    "AP": "ap",
    "AP50": "ap50",
    "AP75": "ap75",
    "AP tiny (< 16 px)": "ap_tiny",
    "AP small (< 32 px)": "ap_small",
    "AP medium": "ap_medium",
    "AP large (> 96 px)": "ap_large",
    "AR, 500 a frame": "ar500",
    "boxes covered (bpr)": "bpr",
    "occupancy": "occupancy",
    "kept area": "kept_area",
}


def main_table(report: dict[str, Any]) -> Table:
    """Accuracy, coverage and cost.

    Args:
        report: As from `report.evaluation_report`.
    """
    frames = f"{report['images']} frames, {report['boxes_judged']} boxes"
    table = Table(title=f"{report['mode']} mode, {frames}", title_justify="left", show_header=False)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for label, key in _AP_ROWS.items():
        table.add_row(label, _percent(report[key]))
    table.add_section()
    cost, dense = report["gflops_per_frame"], report["gflops_dense"]
    table.add_row("patches a frame", f"{report['patches_per_frame']:.1f}")
    table.add_row("GFLOPs a frame", f"{cost:.2f}")
    table.add_row("the same frames dense", f"{dense:.2f}")
    table.add_row("ratio", f"{cost / dense:.2f}" if dense else "-")
    if report["payload_bytes_per_frame"] is not None:
        table.add_row("kB a frame to send", f"{report['payload_bytes_per_frame'] / 1e3:.1f}")
    table.add_row("ms a frame", f"{report['ms_per_frame']:.0f}")
    return table


def class_table(report: dict[str, Any]) -> Table:
    """Accuracy of each class that was judged.

    Args:
        report: As from `report.evaluation_report`.
    """
    table = Table(title="classes", title_justify="left")
    table.add_column("class")
    for heading in ("boxes", "AP", "AP50"):
        table.add_column(heading, justify="right")
    for name, one in report["per_class"].items():
        table.add_row(name, str(one["boxes"]), _percent(one["ap"]), _percent(one["ap50"]))
    return table


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f} %"
