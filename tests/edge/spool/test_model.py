"""The spool against a list in memory, over any history of appends, answers, stops and starts."""

import shutil
import tempfile
import threading
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from sparsight_edge.spool.settings import SPOOL_BYTES_MIN, Order, SpoolSettings, WhenFull
from sparsight_edge.spool.spool import Spool
from sparsight_edge.spool.turns import BACKLOG_EVERY, LIVE_FRAMES

NO_WAIT = threading.Event()
NO_WAIT.set()
Key = tuple[int, int]


class SpoolAgainstList(RuleBasedStateMachine):
    """Frames as a dictionary in order, with what each is: waiting, taken or held."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="spool-"))
        self.policy = SpoolSettings(SPOOL_BYTES_MIN, "drop-oldest")
        self.spool = Spool(self.folder, "d", self.policy)
        self.frames: dict[Key, bytes] = {}
        self.states: dict[Key, str] = {}
        self.passed = 0
        self.dropped = self.dropped_new = self.finished = self.appended = 0

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.folder)

    @rule(target=keys, size=st.one_of(st.integers(0, 50), st.integers(1000, 9000)))
    def append(self, size: int) -> Key:
        return self.append_one(size)

    @rule(count=st.integers(5, 40), size=st.integers(200, 1200), every=st.integers(1, 4))
    def append_many_and_answer_some(self, count: int, size: int, every: int) -> None:
        for i in range(count):
            key = self.append_one(size)
            if i % every and key in self.frames:
                self.answer(key, refused=False)

    def append_one(self, size: int) -> Key:
        body = bytes([self.appended % 256]) * size
        key = (self.spool.epoch, self.spool.next_seq)
        before = self.spool.stats()
        seq = self.spool.append(body, NO_WAIT)
        if seq is None:
            assert self.policy.when_full in ("block", "drop-newest")
            assert before.bytes + size + 100 > SPOOL_BYTES_MIN
            self.dropped_new += self.policy.when_full == "drop-newest"
            return key
        assert seq == key[1]
        lost = self.spool.stats().dropped - before.dropped
        assert lost == 0 or self.policy.when_full == "drop-oldest"
        for old in list(self.frames)[:lost]:
            self.forget(old)
        self.dropped += lost
        self.frames[key], self.states[key] = body, "waiting"
        self.appended += 1
        return key

    def forget(self, key: Key) -> None:
        del self.frames[key], self.states[key]

    @rule()
    def take(self) -> None:
        one = self.spool.take()
        waiting = [key for key in self.frames if self.states[key] == "waiting"]
        if one is None:
            assert not waiting
            return
        key = (one.epoch, one.seq)
        live = [k for k in waiting if k[0] == self.spool.epoch][-LIVE_FRAMES:]
        live = [k for k in live if k[1] >= self.spool.next_seq - LIVE_FRAMES]
        if self.policy.order == "live-first" and live and key != waiting[0]:
            self.passed += 1
            assert key == live[0] and self.passed < BACKLOG_EVERY
        else:
            self.passed = 0
            assert key == waiting[0]
        assert one.body == self.frames[key]
        self.states[key] = "taken"

    @rule(key=keys, refused=st.booleans())
    def answer_one(self, key: Key, refused: bool) -> None:
        self.answer(key, refused)

    def answer(self, key: Key, refused: bool) -> None:
        known = self.spool.refuse(*key, "bad") if refused else self.spool.finish(*key)
        assert known == (key in self.frames)
        if known:
            self.forget(key)
            self.finished += 1

    @rule(key=keys)
    def give_back(self, key: Key) -> None:
        if self.states.get(key) == "taken":
            self.spool.give_back(*key)
            self.states[key] = "waiting"

    @rule(key=keys)
    def hold(self, key: Key) -> None:
        if self.states.get(key) == "taken":
            self.spool.hold(*key)
            self.states[key] = "held"

    @rule(held=st.booleans())
    def all_again(self, held: bool) -> None:
        if held:
            self.spool.release()
        else:
            self.spool.give_back_all()
        for key, state in self.states.items():
            if state == ("held" if held else "taken"):
                self.states[key] = "waiting"

    @rule(
        policy=st.sampled_from(["block", "drop-oldest", "drop-newest"]),
        order=st.sampled_from(["oldest-first", "live-first"]),
        killed=st.booleans(),
    )
    def restart(self, policy: WhenFull, order: Order, killed: bool) -> None:
        epoch = self.spool.epoch
        if killed:  # what a kill leaves is the files as they are; the lock goes with the process
            copy = Path(tempfile.mkdtemp(prefix="spool-"))
            shutil.copytree(self.folder, copy, dirs_exist_ok=True)
            self.spool.close()
            shutil.rmtree(self.folder)
            self.folder = copy
        else:
            self.spool.close()
        self.policy = SpoolSettings(SPOOL_BYTES_MIN, policy, order=order)
        self.passed = 0
        self.spool = Spool(self.folder, "d", self.policy)
        assert self.spool.epoch > epoch
        assert self.spool.stats().inherited == len(self.frames)
        self.states = dict.fromkeys(self.frames, "waiting")
        self.dropped = self.dropped_new = self.finished = self.appended = 0

    @precondition(lambda self: self.frames)
    @rule()
    def sync(self) -> None:
        self.spool.sync()

    @invariant()
    def figures_agree(self) -> None:
        stats = self.spool.stats()
        counts = [list(self.states.values()).count(s) for s in ("waiting", "taken", "held")]
        assert [stats.waiting, stats.taken, stats.held] == counts
        assert stats.left == len(self.frames)
        assert (stats.appended, stats.finished) == (self.appended, self.finished)
        assert (stats.dropped, stats.damaged) == (self.dropped, 0)
        assert (stats.dropped_new, stats.expired) == (self.dropped_new, 0)
        assert (stats.oldest_age_s > 0.0) <= bool(self.frames)
        on_disk = sum(
            f.stat().st_size for f in self.folder.iterdir() if f.suffix in {".seg", ".done"}
        )
        assert on_disk <= stats.bytes <= SPOOL_BYTES_MIN


TestSpoolAgainstList = SpoolAgainstList.TestCase
TestSpoolAgainstList.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
