"""What can happen to a device, done to the real programs: each frame is committed exactly once."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.kills import Cloud, Device, Moments, kill
from tests.e2e.programs import Agent, CloudProgram, draw_scenes, until
from tests.edge.small.cable import Cable

from sparsight.wire import FrameKey

from .stutter import Stutter

CUT_S = 20.0


@pytest.fixture(scope="module")
def cloud(split_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProgram]:
    folder = tmp_path_factory.mktemp("cloud")
    with CloudProgram(folder, split_bundle, "--in-process", "--no-fsync") as cloud:
        yield cloud


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in") / "scenes"
    draw_scenes(folder, 12)
    return folder


@pytest.fixture
def agent(
    tmp_path: Path, split_bundle: Path, scenes: Path, request: pytest.FixtureRequest
) -> Agent:
    return Agent(tmp_path, split_bundle, scenes, name=request.node.name)


def assert_each_once(cloud: CloudProgram, agent: Agent, kills: int = 0) -> int:
    """All that was spooled is committed, once, and nothing else; how many frames that is."""
    committed = Counter(cloud.keys(agent.name))
    assert set(committed.values()) == {1}
    spooled = agent.frames().keys()
    assert committed.keys() <= spooled
    # A frame is written down just before it is spooled: of each life that ended by a kill, the
    # last one may never have been.
    last: dict[int, FrameKey] = {}
    for key in sorted(spooled, key=lambda key: key.seq):
        last[key.epoch] = key
    missing = spooled - committed.keys()
    assert missing <= set(last.values()) and len(missing) <= kills, missing
    assert {key for key, _ in agent.answers()} == committed.keys()
    return len(committed)


def test_killed_in_the_middle_and_started_again(cloud: CloudProgram, agent: Agent) -> None:
    with Cable(cloud.port) as cable:
        process = agent.start(cable.address, "--loop", "--fps", 20)
        until(lambda: len(cloud.keys(agent.name)) >= 15, "answers")
        agent.kill(process)
        first = len(agent.frames())
        cable.cut()
        process = agent.start(cable.address, "--loop", "--fps", 20)
        until(lambda: len(agent.frames()) >= first + 15, "frames that pile up in the spool")
        agent.kill(process)
        cable.mend()
        summary = agent.finish(agent.start(cable.address, "--max-frames", 5))
    assert summary["frames_inherited"] >= 14 and summary["frames_damaged"] == 0
    assert summary["frames_left"] == 0
    assert assert_each_once(cloud, agent, kills=2) >= 34


def test_the_link_is_cut_for_a_while(cloud: CloudProgram, agent: Agent) -> None:
    with Cable(cloud.port) as cable:
        process = agent.start(cable.address, "--loop", "--fps", 5, "--max-frames", 150)
        until(lambda: len(cloud.keys(agent.name)) >= 10, "answers")
        cable.cut()
        cut_s = time.monotonic()
        before = len(agent.frames())
        time.sleep(CUT_S)
        committed = len(cloud.keys(agent.name))
        cable.mend()
        summary = agent.finish(process)
    assert summary["frames_spooled"] - committed > 30, "nothing happened while it was cut"
    assert summary["seconds"] > time.monotonic() - cut_s - 1 and before < 150
    assert summary["streams"] >= 2 and summary["frames_left"] == 0
    assert assert_each_once(cloud, agent) == 150


def test_every_frame_is_sent_twice_at_once(cloud: CloudProgram, agent: Agent) -> None:
    with Stutter(cloud.address) as stutter:
        summary = agent.finish(agent.start(stutter.address, "--loop", "--max-frames", 60))
    assert summary["frames_sent"] == summary["frames_acknowledged"] == 60
    assert stutter.doubled == 60
    assert assert_each_once(cloud, agent) == 60


def test_every_frame_is_sent_again_by_a_device_that_forgot(
    cloud: CloudProgram, agent: Agent
) -> None:
    """As from a card that lost its last writes: the spool of before, all of it answered already."""
    with Cable(cloud.port) as cable:
        nowhere = cable.address
    agent.finish(agent.start(nowhere, "--max-frames", 10, "--drain-s", 0), code=9)
    shutil.copytree(agent.spool, agent.folder / "before")
    for _ in range(2):
        summary = agent.finish(agent.start(cloud.address, "--max-frames", 0))
        assert summary["frames_inherited"] == summary["frames_acknowledged"] == 10
        shutil.rmtree(agent.spool)
        shutil.copytree(agent.folder / "before", agent.spool)
    assert assert_each_once(cloud, agent) == 10
    assert Counter(status for _, status in agent.answers()) == {"OK": 10, "ALREADY_DONE": 10}


def test_ctrl_c_while_the_link_is_cut_keeps_the_frames(cloud: CloudProgram, agent: Agent) -> None:
    with Cable(cloud.port) as cable:
        process = agent.start(cable.address, "--loop", "--fps", 20)
        until(lambda: len(cloud.keys(agent.name)) >= 5, "answers")
        cable.cut()
        before = len(agent.frames())
        until(lambda: len(agent.frames()) >= before + 5, "frames in the spool")
        process.send_signal(signal.SIGINT)
        left = agent.finish(process, code=130)["frames_left"]
    assert left >= 5
    summary = agent.finish(agent.start(cloud.address, "--max-frames", 0))
    assert summary["frames_inherited"] == summary["frames_acknowledged"] == left
    assert_each_once(cloud, agent)
    assert json.loads((agent.spool / "agent.json").read_text())["device"] == agent.name


def test_agents_links_and_the_cloud_killed_at_random(
    cloud: CloudProgram, split_bundle: Path, scenes: Path, tmp_path: Path
) -> None:
    """The last test here: it leaves another process of the cloud. 200 kills: `bench.kills`."""
    agents = [Agent(tmp_path / name, split_bundle, scenes, name) for name in ("one", "two")]
    devices = [Device(agent, Cable(cloud.port), fps=20.0) for agent in agents]
    result = kill(Cloud(cloud), devices, 6, random.Random(7), Moments(0.5, 0.5, 0.5))
    assert result["of"] == {"agent": 3, "link": 2, "cloud": 1}
    assert (result["boots"], result["cloud_starts"]) == (5, 2)
    assert result["spooled"] == result["committed"] - result["last_unseen_but_committed"] > 20
    wrong = ("lost", "twice", "unknown", "unanswered", "left", "damaged_in_the_last_runs")
    assert {name: result[name] for name in wrong} == dict.fromkeys(wrong, 0)
