"""From what was sampled and written down on a shaped link to its figures. Pure, but for AP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import numpy as np
from tools.demo.judging import Ap

from sparsight.detections import Detections

WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the interface's counter.

    Attributes:
        unix_s: When.
        sent_bytes: That had left by then.
        step: Which step of the scenario it was.
    """

    unix_s: float
    sent_bytes: int
    step: int


@dataclass(frozen=True, slots=True)
class Run:
    """What a run left.

    Attributes:
        samples: In order.
        frames: Lines of the agent's frames.jsonl.
        results: Lines of its results.jsonl.
        summary: What it said at its end.
    """

    samples: Sequence[Sample]
    frames: Sequence[dict[str, Any]]
    results: Sequence[dict[str, Any]]
    summary: dict[str, Any]


class Judges(Protocol):
    """Gives AP of pictures."""

    def judge(self, found: Mapping[Path, Detections], /) -> Ap:
        """AP of some pictures by what was found in them."""
        ...


def worst_windows(samples: Sequence[Sample], steps: int, max_kbps: float) -> list[float]:
    """Of each step, the fullest 10 s that end in it, over what was promised.

    A window begins at the last sample that is 10 s old or older: it is never too short.
    """
    worst, first = [0.0] * steps, 0
    for last in samples:
        while samples[first + 1].unix_s <= last.unix_s - WINDOW_S:
            first += 1
        sent = last.sent_bytes - samples[first].sent_bytes
        worst[last.step] = max(worst[last.step], sent / (max_kbps * 125 * WINDOW_S))
    return worst


def queue_ages(run: Run) -> list[float]:
    """At each sample, how long the oldest frame had waited for its answer."""
    answered = {(line["epoch"], line["seq"]): line["answered_unix_ns"] for line in run.results}
    waits = [
        (line["coded_unix_ns"] / 1e9, answered.get((line["epoch"], line["seq"]), 1 << 62) / 1e9)
        for line in run.frames
    ]
    begun = np.array([begin for begin, _ in waits])
    ended = np.array([end for _, end in waits])
    ages = []
    for sample in run.samples:
        open_now = begun[(begun <= sample.unix_s) & (ended > sample.unix_s)]
        ages.append(float(sample.unix_s - open_now.min()) if open_now.size else 0.0)
    return ages


def report(
    run: Run, names: Sequence[str], max_kbps: float | None, judge: Judges, pictures: Path
) -> dict[str, Any]:
    """All figures.

    Args:
        run: What was left.
        names: Of the steps.
        max_kbps: The promise; None for none.
        judge: Gives AP.
        pictures: Folder of the frames.
    """
    worst = worst_windows(run.samples, len(names), max_kbps) if max_kbps else [None] * len(names)
    ages = queue_ages(run)
    answers = {(line["epoch"], line["seq"]): line for line in run.results}
    begin_s = run.samples[0].unix_s
    steps, series = [], []
    for number, name in enumerate(names):
        part = [sample for sample in run.samples if sample.step == number]
        low_s, high_s = part[0].unix_s, part[-1].unix_s
        frames = [f for f in run.frames if low_s <= f["captured_unix_ns"] / 1e9 < high_s]
        done = [(f, answers[key]) for f in frames if (key := (f["epoch"], f["seq"])) in answers]
        found = {pictures / frame["name"]: _detections(answer) for frame, answer in done}
        steps.append(
            {
                "name": name,
                "begin_s": round(low_s - begin_s, 1),
                "end_s": round(high_s - begin_s, 1),
                "sent_kbps": (part[-1].sent_bytes - part[0].sent_bytes) / (high_s - low_s) / 125,
                "worst_over_promise": worst[number],
                "queue_s_max": max(a for a, s in zip(ages, run.samples, strict=True) if s in part),
                "cloud_s": fmean(_cloud_s(answer) for _, answer in done) if done else None,
                "rate": fmean(f["rate"] for f in frames) if frames else None,
                "patches": fmean(f["patches"] for f in frames) if frames else None,
                "payload_bytes": fmean(f["payload_bytes"] for f in frames) if frames else None,
                "frames": len(frames),
                "answered": len(done),
                "ap": judge.judge(found).ap if found else None,
            }
        )
    for second in range(int(run.samples[-1].unix_s - begin_s)):
        low_s = begin_s + second
        looks = [i for i, s in enumerate(run.samples) if low_s <= s.unix_s < low_s + 1]
        chosen = [f["rate"] for f in run.frames if f["coded_unix_ns"] / 1e9 <= low_s + 1]
        if len(looks) > 1:
            first, last = run.samples[looks[0]], run.samples[looks[-1]]
            kbps = (last.sent_bytes - first.sent_bytes) / (last.unix_s - first.unix_s) / 125
            series.append(
                {
                    "s": second,
                    "step": first.step,
                    "sent_kbps": round(kbps, 1),
                    "queue_s": round(ages[looks[-1]], 2),
                    "rate": chosen[-1] if chosen else None,
                }
            )
    return {"steps": steps, "summary": run.summary, "series": series}


def _cloud_s(answer: dict[str, Any]) -> float:
    """The cloud's own share of a frame's time."""
    times: dict[str, float] = answer["cloud_ms"] or {}
    return sum(times.values()) / 1e3


def _detections(answer: dict[str, Any]) -> Detections:
    found = answer["detections"]
    return Detections(
        np.array([one["xyxy"] for one in found], np.float32).reshape(-1, 4),
        np.array([one["score"] for one in found], np.float32),
        np.array([one["label"] for one in found], np.int64),
    )
