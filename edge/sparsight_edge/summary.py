"""An agent's figures for people and for programs."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from sparsight_edge.capture.outages import CameraStats
from sparsight_edge.progress import Progress
from sparsight_edge.timings import outside_over_engine


def status_fields(now: Progress) -> dict[str, Any]:
    """How it stands, as fields of an event."""
    spool, uplink = now.spool, now.uplink
    fields = {
        "captured": now.captured,
        "sent": uplink.sent,
        "acknowledged": uplink.acknowledged,
        "in_spool": spool.left,
        "spool_bytes": spool.bytes,
        "link": _link(now),
    }
    if now.camera.state != "none":
        fields["camera"] = _camera(now.camera)
    if now.rate.adaptive or now.link_kbps is not None:
        fields["rate"] = _rate(now)
    return fields | {name: count for name, count in _troubles(now).items() if count}


def status_line(now: Progress) -> str:
    """How it stands, in one line."""
    return ", ".join(f"{name} {value}" for name, value in status_fields(now).items())


def status_table(now: Progress) -> Table:
    """How it stands, for a terminal that is drawn anew."""
    spool, uplink = now.spool, now.uplink
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rate = now.captured / now.seconds if now.seconds else 0.0
    table.add_row("frames", f"{now.captured} captured, {rate:.1f} a second")
    if now.camera.state != "none":
        table.add_row("camera", escape(_camera(now.camera)))
    table.add_row("link", f"{_link(now)}, {uplink.sent} sent, {uplink.acknowledged} acknowledged")
    if now.rate.adaptive or now.link_kbps is not None:
        table.add_row("rate", _rate(now))
    full = ", [yellow]full[/]" if spool.full else ""
    table.add_row("spool", f"{spool.left} frames, {_bytes(spool.bytes)}{full}")
    troubles = [f"{count} {name}" for name, count in _troubles(now).items() if count]
    if troubles:
        table.add_row("trouble", f"[yellow]{', '.join(troubles)}[/]")
    stages = [f"{stage} {t.mean_ms:.1f}" for stage, t in now.times.items() if t.frames]
    if stages:
        table.add_row("ms", ", ".join(stages))
    return table


def summary_table(now: Progress) -> Table:
    """What was done, at the end."""
    spool, uplink = now.spool, now.uplink
    table = Table(title="edge run", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    rows: list[tuple[str, str]] = [
        ("frames captured", str(now.captured)),
        ("frames spooled", str(spool.appended)),
        ("frames of earlier runs", str(spool.inherited)),
        ("frames acknowledged", str(uplink.acknowledged)),
        ("frames left in the spool", str(spool.left)),
        *((f"frames {name}", str(count)) for name, count in _troubles(now).items() if count),
        *_camera_rows(now.camera),
        ("payload bytes a frame", _per(now.payload_bytes, spool.appended, "{:.0f}")),
        *_reuse_rows(now),
        *_rate_rows(now),
        ("patches a frame", _per(now.patches, spool.appended, "{:.1f}")),
        ("round trip, ms", f"{uplink.round_trip_ms:.0f}" if uplink.round_trip_ms else "-"),
        ("seconds", f"{now.seconds:.1f}"),
    ]
    for row in rows:
        table.add_row(*row)
    table.add_section()
    for stage, t in now.times.items():
        if t.frames or t.first_ms:
            table.add_row(f"{stage}, ms", f"{t.mean_ms:.2f}")
    ratio = outside_over_engine(now.times)
    table.add_row("outside the engine / engine", "-" if ratio is None else f"{ratio:.3f}")
    return table


def summary_json(now: Progress, *, interrupted: bool) -> dict[str, Any]:
    """What was done, at the end, for a program."""
    spool, uplink = now.spool, now.uplink
    return {
        "seconds": round(now.seconds, 3),
        "interrupted": interrupted,
        "frames_captured": now.captured,
        "frames_unreadable": now.unreadable,
        "frames_skipped": now.skipped,
        "frames_unspooled": now.unspooled,
        "frames_spooled": spool.appended,
        "frames_inherited": spool.inherited,
        "frames_sent": uplink.sent,
        "frames_acknowledged": uplink.acknowledged,
        "frames_refused": spool.refused,
        "frames_dropped": spool.dropped,
        "frames_dropped_new": spool.dropped_new,
        "frames_expired": spool.expired,
        "frames_damaged": spool.damaged,
        "frames_left": spool.left,
        "camera": _camera_json(now.camera),
        "payload_bytes": now.payload_bytes,
        "sent_bytes": uplink.sent_bytes,
        "frames_sent_as_deltas": uplink.deltas,
        "saved_bytes": uplink.saved_bytes,
        "spool_bytes": spool.bytes,
        "spool_oldest_age_s": round(spool.oldest_age_s, 1),
        "patches": now.patches,
        "kept_area": round(now.kept_area / spool.appended, 4) if spool.appended else None,
        "streams": uplink.streams,
        "link": uplink.state,
        "link_reason": uplink.reason,
        "round_trip_ms": round(uplink.round_trip_ms, 2),
        "rate": {
            "adaptive": now.rate.adaptive,
            "rate": now.rate.rate,
            "max_patches": now.rate.max_patches,
            "one_of": now.rate.every,
            "switches": now.rate.switches,
            "frames_left_out": now.rate.skipped,
            "goodput_kbps": now.rate.goodput_kbps and round(now.rate.goodput_kbps, 1),
            "link_kbps": now.link_kbps and round(now.link_kbps, 1),
        },
        "stages_ms": {
            stage: {
                "frames": t.frames,
                "wall": round(t.mean_ms, 3),
                "cpu": None if stage == "capture" else round(t.mean_cpu_ms, 3),
                "longest": round(t.longest_ms, 3),
                "first": round(t.first_ms, 3),
            }
            for stage, t in now.times.items()
        },
        "outside_over_engine": _short(outside_over_engine(now.times)),
        "outside_over_engine_cpu": _short(outside_over_engine(now.times, cpu=True)),
    }


def left_over(now: Progress) -> str:
    """Why frames are left in the spool, in one line."""
    spool, uplink = now.spool, now.uplink
    why = f" ({uplink.reason})" if uplink.reason else ""
    return (
        f"{spool.left} frames were not acknowledged{why}; they are in the spool, and the next run "
        "sends them first"
    )


def _troubles(now: Progress) -> dict[str, int]:
    return {
        "unreadable": now.unreadable,
        "skipped": now.skipped,
        "missed": now.camera.missed,
        "refused": now.spool.refused,
        "held": now.spool.held,
        "dropped": now.spool.dropped,
        "dropped as new": now.spool.dropped_new,
        "expired": now.spool.expired,
        "damaged": now.spool.damaged,
    }


def _reuse_rows(now: Progress) -> list[tuple[str, str]]:
    uplink = now.uplink
    if not uplink.deltas:
        return []
    return [
        ("frames sent as changes only", str(uplink.deltas)),
        ("bytes that saved", _per(uplink.saved_bytes, uplink.deltas, "{:.0f} a frame")),
    ]


def _rate(now: Progress) -> str:
    """What a frame may cost now, and how the link fares."""
    rate = now.rate
    parts = [str(rate.rate)]
    if rate.max_patches is not None:
        parts.append(f"at most {rate.max_patches} patches")
    if rate.every > 1:
        parts.append(f"one frame of {rate.every}")
    parts.append(f"oldest waits {rate.queue_age_s:.1f} s")
    if rate.goodput_kbps is not None:
        parts.append(f"goodput {rate.goodput_kbps:.0f} kbit/s")
    if now.link_kbps is not None:
        parts.append(f"{now.link_kbps:.0f} kbit/s sent in 10 s")
    return ", ".join(parts)


def _rate_rows(now: Progress) -> list[tuple[str, str]]:
    rate = now.rate
    if not rate.adaptive:
        return []
    return [
        ("rate at the end", str(rate.rate)),
        ("times it changed", str(rate.switches)),
        ("frames left out for the link", str(rate.skipped)),
    ]


def _camera(camera: CameraStats) -> str:
    parts = [f"{camera.state} ({camera.reason})" if camera.reason else camera.state]
    if camera.outages:
        parts.append(f"{camera.outages} outages of {camera.outage_s:.1f} s in all")
    return ", ".join(parts)


def _camera_rows(camera: CameraStats) -> list[tuple[str, str]]:
    if camera.state == "none":
        return []
    return [
        ("camera outages", str(camera.outages)),
        ("seconds without a camera", f"{camera.outage_s:.1f}"),
    ]


def _camera_json(camera: CameraStats) -> dict[str, Any] | None:
    if camera.state == "none":
        return None
    return {
        "state": camera.state,
        "reason": camera.reason,
        "outages": camera.outages,
        "outage_s": round(camera.outage_s, 3),
        "frames_missed": camera.missed,
    }


def _link(now: Progress) -> str:
    state, reason = now.uplink.state, now.uplink.reason
    return f"{state} ({reason})" if reason else state


def _per(total: float, count: int, form: str) -> str:
    return form.format(total / count) if count else "-"


def _short(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 4)


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
