"""The path is a deployment choice: the same frames give the same objects on every one.

Detector(rate)                                         one process, all of it torch
edge run ─ loopback gRPC ─ cloud up --in-process       onnxruntime, bytes, batches of two devices
edge run ─ loopback gRPC ─ cloud up --replicas 2       and a cluster between them
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsight.detections import Detections
from sparsight.model.detector import Detector
from sparsight.pictures import read_picture

from .programs import Agent, CloudProgram, draw_scenes

FRAMES = 12
RATES = (0, 2)
BOX_PX, SCORE = 0.01, 1e-4
SURE, ALONE_SHARE = 0.1, 0.01

Objects = dict[tuple[int, str], Detections]
"""By rate and name of the picture."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in") / "scenes"
    draw_scenes(folder, FRAMES)
    return folder


@pytest.fixture(scope="module")
def right(split_bundle: Path, scenes: Path) -> Objects:
    """What one process finds, which no codec but its own has touched."""
    detector = Detector.from_bundle(split_bundle)
    files = sorted(scenes.iterdir())
    frames = [read_picture(file) for file in files]
    return {
        (rate, file.name): result.detections
        for rate in RATES
        for file, result in zip(
            files, detector.detect(frames, replace(detector.settings, rate=rate)), strict=True
        )
    }


@pytest.mark.parametrize(
    "how",
    [("--in-process",), pytest.param(("--replicas", "2"), marks=pytest.mark.slow)],
    ids=["in_process", "replicas"],
)
def test_every_path_finds_the_same(
    split_bundle: Path, scenes: Path, right: Objects, tmp_path: Path, how: tuple[str, ...]
) -> None:
    with CloudProgram(tmp_path, split_bundle, *how) as cloud:
        agents = {
            rate: Agent(tmp_path / str(rate), split_bundle, scenes, f"drone-{rate}")
            for rate in RATES
        }
        running = {
            rate: agent.start(cloud.address, "--rate", rate) for rate, agent in agents.items()
        }
        for rate, process in running.items():
            assert agents[rate].finish(process)["frames_acknowledged"] == FRAMES
    found: Objects = {}
    for rate, agent in agents.items():
        names = agent.frames()
        for record in cloud.records(agent.name):
            assert record.rate == rate
            found[rate, names[record.result.key]] = record.result.detections
    assert found.keys() == right.keys()
    assert sum(len(objects) for objects in right.values()) > 100 * FRAMES
    for key, objects in right.items():
        assert_same(objects, found[key])


def test_a_still_camera_finds_the_same_in_every_frame(
    split_bundle: Path, scenes: Path, right: Objects, tmp_path: Path
) -> None:
    still = tmp_path / "still"
    still.mkdir()
    for i in range(FRAMES):
        shutil.copy(scenes / "0000.png", still / f"{i:04}.png")
    with CloudProgram(tmp_path, split_bundle, "--in-process") as cloud:
        agent = Agent(tmp_path / "agent", split_bundle, still, "drone-0")
        summary = agent.finish(agent.start(cloud.address, "--rate", 0, "--fps", 2))
    assert summary["frames_acknowledged"] == FRAMES
    assert summary["frames_sent_as_deltas"] > 0
    assert summary["saved_bytes"] > 0
    records = cloud.records(agent.name)
    assert len(records) == FRAMES
    for record in records:
        assert_same(right[0, "0000.png"], record.result.detections)


def test_other_numbers_are_not_the_same(right: Objects) -> None:
    objects = right[0, "0000.png"]
    near = Detections(objects.xyxy + 0.004, objects.scores - 4e-5, objects.labels)
    assert_same(objects, replace(near, scores=near.scores.clip(0, 1)))
    assert objects.scores[9] > SURE
    last = np.arange(len(objects)) == 9
    for other in (
        replace(objects, xyxy=objects.xyxy + np.float32(0.02) * last[:, None]),
        replace(objects, scores=objects.scores - np.float32(2e-4) * last),
        replace(objects, labels=(objects.labels + last) % 3),
        Detections(objects.xyxy[:-1], objects.scores[:-1], objects.labels[:-1]),
    ):
        with pytest.raises(AssertionError):
            assert_same(objects, other)


def assert_same(want: Detections, got: Detections) -> None:
    """Each object has its twin; those of almost the same score may have changed places.

    An untrained head sees something in every cell, so that far down the list a few of 500 boxes
    overlap another by the merge's threshold to the last bit. What is above does not depend on them.
    """
    assert len(want) == len(got)
    boxes_px = np.abs(want.xyxy[:, None] - got.xyxy[None]).max(2)
    scores = np.abs(want.scores[:, None] - got.scores[None])
    alike = (boxes_px <= BOX_PX) & (scores <= SCORE)
    alike &= want.labels[:, None] == got.labels[None]
    for one, has_twin in ((want, alike.any(1)), (got, alike.any(0))):
        alone = one.scores[~has_twin]
        assert (alone < SURE).all() and len(alone) <= ALONE_SHARE * len(one), alone
