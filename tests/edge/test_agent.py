from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8

from sparsight.codec.payload import decode
from sparsight.errors import BundleError, PictureError, SpoolError, UsageError
from sparsight.wire import FrameFeatures, FrameStatus, Hello, Refusal, RefusalStatus
from sparsight_edge.agent import Agent, AgentSettings, Stops
from sparsight_edge.capture.choose import open_source
from sparsight_edge.capture.source import Captured, Report, Source
from sparsight_edge.engine.engine import Maps
from sparsight_edge.metrics import AgentCollector
from sparsight_edge.model import EdgeModel
from sparsight_edge.progress import Progress
from sparsight_edge.rate.ladder import Choice, RateLimits, Sizes
from sparsight_edge.rate.pilot import Pilot
from sparsight_edge.records import FRAMES, RESULTS, Records
from sparsight_edge.spool.settings import SPOOL_BYTES_MIN, SpoolSettings, WhenFull
from sparsight_edge.spool.spool import Spool
from sparsight_edge.summary import status_line, summary_json
from sparsight_edge.uplink.channel import Endpoint
from sparsight_edge.uplink.pacer import Pacer
from sparsight_edge.uplink.stream import Answered, StreamSettings
from sparsight_edge.uplink.uplink import Uplink, UplinkSettings

from .small.bundles import draw_pictures, write_small_bundle
from .small.cable import Cable
from .small.cloud import Rules, SmallCloud

QUICK = UplinkSettings(
    retry_s=(0.05, 0.2), stream=StreamSettings(welcome_s=5, answer_s=5, ack_s=0.1)
)


@dataclass
class Camera:
    """Frames of one colour, some milliseconds apart."""

    count: int
    read_s: float = 0.0

    def frames(self, report: Report) -> Iterator[Captured]:
        for i in range(self.count):
            time.sleep(self.read_s)
            frame = np.full((144, 256, 3), i % 40, np.uint8)
            yield Captured(frame, time.time_ns(), f"frame {i}", i, self.read_s * 1e3)


@dataclass
class SlowEngine:
    """An engine that takes its time, and may break."""

    run_s: float = 0.0
    breaks_at: int = -1
    runs: int = 0

    def run(self, image: UInt8[np.ndarray, "h w 3"], rate: int) -> Maps:
        self.runs += 1
        if self.runs == self.breaks_at:
            raise BundleError("edge.onnx: broke")
        time.sleep(self.run_s)
        height, width = image.shape[:2]
        return Maps(
            np.full((height // 8, width // 8), 0.9, np.float32),
            np.zeros((4, 4, height // 16, width // 16), np.int8),
        )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    folder = tmp_path_factory.mktemp("bundle")
    write_small_bundle(folder)
    return EdgeModel.load(folder)


@pytest.fixture
def cloud() -> Iterator[SmallCloud]:
    with SmallCloud() as cloud:
        yield cloud
        assert cloud.wrong == []


@dataclass
class Bench:
    """What an agent needs, with the parts that a test does not name."""

    folder: Path
    model: EdgeModel
    address: str
    settings: AgentSettings = field(default_factory=lambda: AgentSettings(drain_s=10))
    spool_settings: SpoolSettings | None = None
    hangs: str = ""  # the stage that does, and is left behind
    pilot: Pilot | None = None
    pacer: Pacer | None = None

    def __post_init__(self) -> None:
        self.stops = Stops()
        self.results: list[Answered] = []
        self.said: list[str] = []

    def run(
        self,
        source: Source,
        watch: Callable[[Progress], None] = lambda now: None,
        records: Records | None = None,
    ) -> Progress:
        spool = Spool(self.folder / "spool", "drone", self.spool_settings)
        hello = Hello("drone", spool.epoch, self.model.bundle_id, 1, (self.settings.stream,))

        def on_result(answered: Answered) -> None:
            self.results.append(answered)
            if records:
                records.result(answered)

        uplink = Uplink(Endpoint(self.address), hello, spool, on_result, QUICK, pacer=self.pacer)
        agent = self.agent = Agent(
            source,
            self.model,
            spool,
            uplink,
            self.settings,
            self.stops,
            report=lambda error: self.said.append(str(error)),
            records=records,
            pilot=self.pilot,
        )
        try:
            return agent.run(watch)
        finally:
            spool.close()
            left = {t.name for t in threading.enumerate()} & STAGES
            assert left == ({self.hangs} if self.hangs else set())


STAGES = {"capture", "engine", "coding", "uplink", "uplink-reader"}


def test_every_picture_becomes_a_frame_in_the_cloud(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    names = draw_pictures(tmp_path / "pictures", 12)
    (tmp_path / "pictures" / "0005.png").write_bytes(b"no picture")
    bench = Bench(tmp_path, model, cloud.address)
    source = open_source(str(tmp_path / "pictures"), bench.stops.soon)
    records = Records(tmp_path / "out", model.classes)
    done = bench.run(source, records=records)
    records.close()
    assert (done.captured, done.unreadable, done.skipped, done.unspooled) == (11, 1, 0, 0)
    assert (done.spool.left, done.uplink.acknowledged, done.uplink.sent) == (0, 11, 11)
    assert len(bench.said) == 1 and "0005.png" in bench.said[0]
    assert [key.seq for key in cloud.committed] == list(range(11))
    assert cloud.acked == set(cloud.committed)
    for frame in cloud.committed.values():
        assert frame.stream == "main" and frame.letterbox.frame_hw == (144, 256)
        assert decode(frame.payload, model.tables).rate == frame.rate == model.rate == 1
    assert sum(len(f.payload) for f in cloud.committed.values()) == done.payload_bytes
    assert done.times["engine"].frames == done.times["spool"].frames == 10

    lines = [json.loads(line) for line in (tmp_path / "out" / FRAMES).read_text().splitlines()]
    assert [line["name"] for line in lines] == [n for n in names if n != "0005.png"]
    assert sum(line["payload_bytes"] for line in lines) == done.payload_bytes
    answers = [json.loads(line) for line in (tmp_path / "out" / RESULTS).read_text().splitlines()]
    keys = [(line["epoch"], line["seq"]) for line in lines]
    assert [(line["epoch"], line["seq"]) for line in answers] == keys
    assert answers[0]["detections"] == [
        {"xyxy": [1, 2, 3, 4], "score": 0.5, "label": 0, "class": "car"}
    ]
    assert answers[0]["status"] == "OK" and answers[0]["cloud_ms"]["compute"] == 2
    assert answers[0]["captured_unix_ns"] == lines[0]["captured_unix_ns"]
    assert answers[0]["sent_unix_ns"] < answers[0]["answered_unix_ns"]


def test_capture_engine_and_uplink_overlap(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    def slow(frame: FrameFeatures, time_seen: int) -> FrameStatus:
        time.sleep(0.1)
        return FrameStatus.OK

    cloud.rules = Rules(slow)
    bench = Bench(tmp_path, replace(model, engine=SlowEngine(0.1)), cloud.address)
    bench.run(Camera(2))  # what compiles, compiles now
    done = Bench(tmp_path, replace(model, engine=SlowEngine(0.1)), cloud.address).run(
        Camera(20, read_s=0.1)
    )
    # One after the other they would take 6 s; side by side little more than 2.
    assert done.uplink.acknowledged == 20
    assert done.seconds < 4.5


def test_the_newest_frame_wins_if_wanted(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    bench = Bench(
        tmp_path,
        replace(model, engine=SlowEngine(0.1)),
        cloud.address,
        AgentSettings(newest_wins=True),
    )
    done = bench.run(Camera(50, read_s=0.01))
    assert done.captured == 50 and done.skipped > 20
    assert done.skipped + done.spool.appended == 50
    assert done.uplink.acknowledged == done.spool.appended
    assert list(cloud.committed.values())[-1].key.seq == done.spool.appended - 1


def test_each_frame_costs_what_was_chosen_for_it(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    bright = replace(model, engine=SlowEngine())
    pilot = Pilot((Choice(0, 2, every=3),), 0, Sizes.of((), 2))
    done = Bench(tmp_path, bright, cloud.address, pilot=pilot).run(Camera(12))
    assert (done.captured, done.rate.skipped, done.skipped, done.unspooled) == (12, 8, 0, 0)
    assert done.spool.appended == done.uplink.acknowledged == 4
    for frame in cloud.committed.values():
        coded = decode(frame.payload, model.tables)
        assert frame.rate == coded.rate == 0 and len(coded.origins_yx) == 2


def test_a_frame_too_large_for_the_promise_is_cut_if_it_may_be(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    bright = replace(model, engine=SlowEngine())
    whole = len(bright.code(bright.engine.run(np.zeros((160, 256, 3), np.uint8), 1), 1).payload)

    class Tight(Pacer):
        @property
        def frame_bytes_max(self) -> int:
            return whole * 2 // 3

    pilot = Pilot.following(RateLimits(min_patches=100), (), 2, 1, may_skip=False)
    bench = Bench(tmp_path, bright, cloud.address, pilot=pilot, pacer=Tight(1e5))
    done = bench.run(Camera(3))
    assert done.uplink.acknowledged == 3 and done.link_kbps
    assert all(0 < len(f.payload) <= whole * 2 // 3 for f in cloud.committed.values())
    bench.agent.keep_to(RateLimits(finest=1, min_patches=100), 64.0)
    assert (bench.pacer and bench.pacer.max_kbps, pilot.choice()) == (64, Choice(1))
    for limits, kbps in ((RateLimits(finest=5), 64.0), (RateLimits(), None)):
        with pytest.raises(UsageError):
            bench.agent.keep_to(limits, kbps)
    assert (bench.pacer and bench.pacer.max_kbps, pilot.choice()) == (64, Choice(1))


@pytest.mark.parametrize("most", [0, 1, 7])
def test_so_many_frames_and_no_more(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path, most: int
) -> None:
    bench = Bench(tmp_path, model, cloud.address, AgentSettings(max_frames=most))
    done = bench.run(Camera(20))
    assert done.captured == len(cloud.committed) == most


def test_a_stop_leaves_nothing_in_between(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, replace(model, engine=SlowEngine(0.02)), cloud.address)

    def stop(now: Progress) -> None:
        if now.captured > 10:
            bench.stops.soon.set()

    done = bench.run(Camera(10_000), stop)
    assert 10 < done.captured < 1000
    assert done.spool.appended == done.captured and done.unspooled == 0
    assert done.spool.left == 0 and len(cloud.committed) == done.captured


def test_without_a_cloud_frames_stay_and_the_next_run_sends_them(
    model: EdgeModel, tmp_path: Path
) -> None:
    with Cable(1) as cable:
        address = cable.address
    bench = Bench(tmp_path, model, address, AgentSettings(drain_s=0.3))
    done = bench.run(Camera(5))
    assert (done.spool.left, done.uplink.acknowledged) == (5, 0)
    assert done.uplink.reason.startswith("UNAVAILABLE")
    with SmallCloud() as cloud:
        again = Bench(tmp_path, model, cloud.address).run(Camera(2))
        assert (again.spool.inherited, again.spool.left, again.uplink.acknowledged) == (5, 0, 7)
        assert [key.seq for key in cloud.committed] == [0, 1, 2, 3, 4, 0, 1]


def test_a_device_that_is_turned_away_does_not_wait(model: EdgeModel, tmp_path: Path) -> None:
    refusal = Refusal(RefusalStatus.UNKNOWN_BUNDLE, "serves others")
    with SmallCloud(Rules(refusal=refusal)) as cloud:
        start_s = time.monotonic()
        done = Bench(tmp_path, model, cloud.address, AgentSettings(drain_s=60)).run(Camera(3))
        assert time.monotonic() - start_s < 30
    assert done.spool.left == 3
    assert done.uplink.reason == "UNKNOWN_BUNDLE: serves others"


def small_spool(folder: Path, model: EdgeModel, cloud: SmallCloud, when_full: WhenFull) -> Bench:
    """An agent whose spool is soon full, and that waits for no answers at its end."""
    return Bench(
        folder,
        replace(model, engine=SlowEngine()),
        cloud.address,
        AgentSettings(grace_s=0.1, drain_s=0.1),
        SpoolSettings(SPOOL_BYTES_MIN, when_full),
    )


def test_a_full_spool_makes_capture_wait_and_a_stop_ends_that(
    model: EdgeModel, tmp_path: Path
) -> None:
    with SmallCloud(Rules(credit_frames=0)) as cloud:
        bench = small_spool(tmp_path, model, cloud, "block")

        def stop(now: Progress) -> None:
            if now.spool.full:
                bench.stops.soon.set()

        done = bench.run(Camera(100_000), stop)
    assert done.spool.left == done.spool.appended > 50
    assert 0 < done.unspooled <= 5  # those in the lines, and no more
    assert done.spool.dropped == 0


def test_a_full_spool_of_a_live_source_drops_its_oldest(model: EdgeModel, tmp_path: Path) -> None:
    with SmallCloud(Rules(credit_frames=0)) as cloud:
        done = small_spool(tmp_path, model, cloud, "drop-oldest").run(Camera(1500))
    assert done.captured == done.spool.appended == 1500
    assert done.spool.dropped > 0
    assert done.spool.dropped + done.spool.left == 1500


def test_a_full_spool_that_drops_the_newest_says_how_many(model: EdgeModel, tmp_path: Path) -> None:
    with SmallCloud(Rules(credit_frames=0)) as cloud:
        done = small_spool(tmp_path, model, cloud, "drop-newest").run(Camera(400))
    assert done.captured == done.spool.appended + done.spool.dropped_new == 400
    assert done.spool.dropped_new > 0 == done.spool.dropped
    assert done.unspooled == 0
    figures = summary_json(done, interrupted=False)
    assert figures["frames_dropped_new"] == done.spool.dropped_new
    assert f"dropped as new {done.spool.dropped_new}" in status_line(done)
    (frames,) = [m for m in AgentCollector(lambda: done).collect() if m.name.endswith("_frames")][
        :1
    ]
    events = {sample.labels["event"]: sample.value for sample in frames.samples}
    assert events["dropped_new"] == done.spool.dropped_new and events["expired"] == 0


def test_a_full_spool_that_stops_ends_the_agent_and_stays(model: EdgeModel, tmp_path: Path) -> None:
    with SmallCloud(Rules(credit_frames=0)) as cloud:
        bench = small_spool(tmp_path, model, cloud, "stop")
        with pytest.raises(SpoolError, match="the spool is full and was to stop then"):
            bench.run(Camera(100_000))
    spool = Spool(tmp_path / "spool", "drone")
    assert spool.stats().inherited > 50
    spool.close()


def test_an_engine_that_breaks_ends_the_agent_with_its_reason(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, replace(model, engine=SlowEngine(breaks_at=5)), cloud.address)
    with pytest.raises(BundleError, match=r"edge\.onnx: broke"):
        bench.run(Camera(10_000))


def test_a_source_that_breaks_ends_it_too(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    class Broken:
        def frames(self, report: Report) -> Iterator[Captured]:
            report(PictureError("a.png: bad"))
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Bench(tmp_path, model, cloud.address).run(Broken())


def test_a_camera_that_hangs_is_left_behind(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    wake = threading.Event()

    class Hangs:
        def frames(self, report: Report) -> Iterator[Captured]:
            yield from Camera(3).frames(report)
            wake.wait()

    bench = Bench(tmp_path, model, cloud.address, hangs="capture")

    def stop(now: Progress) -> None:
        if now.uplink.acknowledged == 3:
            bench.stops.soon.set()
            bench.stops.now.set()

    done = bench.run(Hangs(), stop)
    assert (done.captured, done.spool.left, len(cloud.committed)) == (3, 0, 3)
    wake.set()
    for thread in [t for t in threading.enumerate() if t.name == "capture"]:
        thread.join(10)


def test_an_engine_that_hangs_does_not_outlast_the_grace_of_one_stop(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    wake = threading.Event()

    @dataclass
    class Hangs(SlowEngine):
        def run(self, image: UInt8[np.ndarray, "h w 3"], rate: int) -> Maps:
            if self.runs == 3:
                wake.wait()
            return super().run(image, rate)

    stuck = replace(model, engine=Hangs())
    settings = AgentSettings(grace_s=0.2, watch_s=0.05)
    bench = Bench(tmp_path, stuck, cloud.address, settings, hangs="engine")

    def stop(now: Progress) -> None:
        if now.uplink.acknowledged == 3:
            bench.stops.soon.set()

    begin_s = time.monotonic()
    done = bench.run(Camera(10), stop)
    assert time.monotonic() - begin_s < 30
    assert (done.spool.appended, done.spool.left, len(cloud.committed)) == (3, 0, 3)
    wake.set()
    for thread in [t for t in threading.enumerate() if t.name == "engine"]:
        thread.join(10)


def test_outside_the_engine_is_measured(
    cloud: SmallCloud, model: EdgeModel, tmp_path: Path
) -> None:
    from sparsight_edge.timings import outside_over_engine

    done = Bench(tmp_path, replace(model, engine=SlowEngine(0.2)), cloud.address).run(Camera(8))
    ratio = outside_over_engine(done.times)
    assert ratio is not None and 0 < ratio < 1
    assert done.times["engine"].mean_ms >= 200
