"""What Ray Serve adds to a dispatch: processes that die, and models that don't load.

What it has in common with every dispatch is in `tests/contract/test_dispatch.py`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from sparsight.cli import run
from sparsight.errors import BundleError, UsageError
from sparsight.wire import FrameFeatures, FrameStatus
from sparsight_cloud.commands.cloud import cloud_app
from sparsight_cloud.serving.batching import BatchRule
from sparsight_cloud.serving.dispatch import (
    Answer,
    Answered,
    DispatchUnavailableError,
    Ears,
    Outcome,
    Refused,
    Replica,
    ReplicaFailedError,
    Serves,
)
from sparsight_cloud.serving.ray_app import RayApp, app_name
from sparsight_cloud.serving.ray_build import build
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.serving.ray_replica import Model
from sparsight_cloud.serving.ray_serve import RayServeDispatch
from sparsight_cloud.serving.replicas import Replicas

from .devices import eventually
from .hashes import CRASH, DEATH, MAGIC, HashReplica, MortalReplica, a_frame, same
from .processes import listening_on

RULE = BatchRule(4, 20.0)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[RayCluster]:
    cluster = RayCluster(cpus=8)
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.close())


def run_dispatch(
    load: Callable[[], Replica],
    do: Callable[[RayServeDispatch], Coroutine[Any, Any, None]],
    replicas: Replicas | None = None,
    rule: BatchRule = RULE,
    **options: Any,
) -> None:
    """Do something to a dispatch that runs."""

    async def run() -> None:
        model = Model(load, HashReplica().serves)
        app = RayApp("sparsight", model, replicas)
        dispatch = RayServeDispatch(app, RayCluster(), rule, **options)
        await dispatch.start()
        try:
            await do(dispatch)
        finally:
            await dispatch.close()

    asyncio.run(run())


async def submit_all(
    dispatch: RayServeDispatch, frames: list[FrameFeatures]
) -> list[Outcome | BaseException]:
    return await asyncio.gather(*map(dispatch.submit, frames), return_exceptions=True)


def asked(diary: Path) -> list[tuple[int, ...]]:
    """The batches that replicas were asked, in order."""
    rows = (line.split()[1] for line in diary.read_text().splitlines())
    return [tuple(map(int, row.split(","))) for row in rows]


@pytest.mark.usefixtures("ray_cluster")
def test_a_frame_that_kills_replicas_fails_alone_and_the_others_are_answered(
    tmp_path: Path,
) -> None:
    frames = [a_frame(seq) for seq in range(4)]
    frames[1] = a_frame(1, payload=DEATH)
    diary = tmp_path / "diary"

    async def do(dispatch: RayServeDispatch) -> None:
        outcomes = await submit_all(dispatch, frames)
        assert isinstance(outcomes[1], ReplicaFailedError)
        for seq in (0, 2, 3):
            outcome = outcomes[seq]
            assert isinstance(outcome, Outcome)
            assert same(outcome.answer, HashReplica().run([frames[seq]])[0])

    run_dispatch(partial(MortalReplica, diary), do)
    # Each batch it was in was tried twice: with the others, and alone.
    assert [batch for batch in asked(diary) if 1 in batch] == [(0, 1, 2, 3)] * 2 + [(1,)] * 2


@pytest.mark.usefixtures("ray_cluster")
def test_what_the_model_raises_is_not_tried_again(tmp_path: Path) -> None:
    frames = [a_frame(0, payload=CRASH), a_frame(1), a_frame(2), a_frame(3)]
    diary = tmp_path / "diary"

    async def do(dispatch: RayServeDispatch) -> None:
        outcomes = await submit_all(dispatch, frames)
        assert isinstance(outcomes[0], ReplicaFailedError)
        assert "RuntimeError: broken down" in str(outcomes[0])
        assert all(isinstance(outcome, Outcome) for outcome in outcomes[1:])

    run_dispatch(partial(MortalReplica, diary), do)
    # All in one batch, then one by one to find the culprit, and that was it.
    assert Counter(asked(diary)) == {(0, 1, 2, 3): 1, (0,): 1, (1,): 1, (2,): 1, (3,): 1}


@pytest.mark.usefixtures("ray_cluster")
def test_gateways_share_replicas_which_outlive_them(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    model = Model(partial(MortalReplica, diary), HashReplica().serves)

    def gateway() -> RayServeDispatch:
        return RayServeDispatch(RayApp("fleet", model, shared=True), RayCluster(), RULE)

    async def run() -> None:
        first, second = gateway(), gateway()
        await first.start()
        await second.start()
        assert second.serves == HashReplica().serves
        await first.submit(a_frame(0))
        await first.close()
        assert isinstance(await second.submit(a_frame(1)), Outcome)
        await second.close()
        cluster = RayCluster()
        await cluster.start()
        there = RayApp("fleet", shared=True)
        assert await there.look(cluster) is not None
        await there.remove(cluster)
        assert await there.look(cluster) is None

    asyncio.run(run())
    pids = {row.split()[0] for row in diary.read_text().splitlines()}
    assert len(pids) == 1  # the second one did not start it anew


def declare(bundle: Path) -> None:
    """As KubeRay does for a RayService, but that the dashboard hands it to the controller."""
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    app = {
        "name": "declared",
        "route_prefix": None,
        "import_path": f"{build.__module__}:{build.__name__}",
        "args": {"bundles": [str(bundle)], "replicas": 1, "cpus": 0.5},
    }
    client = _get_global_client()
    assert client is not None
    client.deploy_apps(ServeDeploySchema.model_validate({"applications": [app]}))


def declared() -> tuple[str, float]:
    """Whose application it is, and what a replica takes."""
    from ray.serve.context import _get_global_client

    client = _get_global_client()
    assert client is not None
    app = client.get_serve_details()["applications"]["declared"]
    config = app["deployments"]["replica"]["deployment_config"]
    return app["source"], config["ray_actor_options"]["num_cpus"]


def test_a_declared_application_is_joined_while_it_is_being_built(
    ray_cluster: RayCluster, split_bundle: Path
) -> None:
    """A gateway that took it for missing would put its own in its place."""
    there = RayApp("declared", Model.of_bundles([split_bundle]), shared=True)

    async def run() -> None:
        await ray_cluster.call(declare, split_bundle)
        first = await there.look(ray_cluster)
        assert first is None or not first.built
        dispatch = RayServeDispatch(there, RayCluster(), RULE)
        await dispatch.start()
        assert dispatch.serves == Model.of_bundles([split_bundle]).serves
        assert await ray_cluster.call(declared) == ("declarative", 0.5)
        await dispatch.close()
        assert await ray_cluster.call(declared) == ("declarative", 0.5)

        await ray_cluster.call(declare, split_bundle / "none")
        state = None
        for _ in range(600):
            state = await there.look(ray_cluster)
            if state is not None and state.failed:
                break
            await asyncio.sleep(0.1)
        assert state is not None and "BundleError" in state.failed
        await there.remove(ray_cluster)

    asyncio.run(run())


class Choosy(HashReplica):
    """Knows some bundles; a payload names its own behind the magic."""

    def __init__(self, *bundles: str) -> None:
        super().__init__(0.01)
        self.bundles = bundles

    @property
    def serves(self) -> Serves:
        return Serves({bundle: (bundle,) for bundle in self.bundles}, frozenset({1}))

    def run(self, frames: Sequence[FrameFeatures], /) -> Sequence[Answer]:
        unknown = Refused(FrameStatus.UNKNOWN_BUNDLE, "fetch another")
        named = [frame.payload.removeprefix(MAGIC).decode() for frame in frames]
        answers = zip(named, super().run(frames), strict=True)
        return [answer if name in self.bundles else unknown for name, answer in answers]


@pytest.mark.usefixtures("ray_cluster")
def test_rolled_over_to_other_bundles_no_frame_is_lost() -> None:
    def app(*bundles: str) -> RayApp:
        load = partial(Choosy, *bundles)
        return RayApp("rolled", Model(load, load().serves), Replicas(2), shared=True)

    async def ask(dispatch: RayServeDispatch, bundle: str) -> str:
        """What becomes of a frame that is sent again until it has an answer, as devices do."""
        while True:
            try:
                outcome = await dispatch.submit(a_frame(payload=MAGIC + bundle.encode()))
            except DispatchUnavailableError:
                await asyncio.sleep(0.05)
                continue
            return type(outcome.answer).__name__

    async def send(dispatch: RayServeDispatch, bundle: str, until: asyncio.Event) -> set[str]:
        seen = set()
        while not until.is_set():
            seen.add(await ask(dispatch, bundle))
        return seen

    async def run() -> None:
        full_disk = iter([OSError("no space left on device")])

        def note(serves: Serves) -> None:
            if "new" in serves.bundles and (error := next(full_disk, None)):
                raise error

        dispatch = RayServeDispatch(app("old"), RayCluster(), RULE, Ears(saw_serves=note))
        await dispatch.start()
        assert [*dispatch.serves.bundles] == ["old"]
        rolled, cluster = asyncio.Event(), RayCluster()
        await cluster.start()
        sending = asyncio.create_task(send(dispatch, "old", rolled))
        await app("old", "new").deploy(cluster)
        await eventually(lambda: dispatch.serves.bundles.keys() >= {"old", "new"})
        early = asyncio.create_task(send(dispatch, "new", rolled))
        await asyncio.sleep(0.5)
        rolled.set()
        assert await sending == await early == {"Answered"}
        # Of one that none of the replicas knows devices are told so, once that is sure.
        assert await ask(dispatch, "none") == "Refused"
        assert [*dispatch.serves.bundles] == ["old", "new"]
        await dispatch.close()
        await app().remove(cluster)

    asyncio.run(run())


class Uneven(MortalReplica):
    """Takes as long as the frame's number says."""

    def run(self, frames: Sequence[FrameFeatures], /) -> Sequence[Answer]:
        answers = super().run(frames)
        time.sleep(0.02 + 0.01 * (frames[0].key.seq * 7 % 5))
        return answers


@pytest.mark.usefixtures("ray_cluster")
def test_batches_do_not_stand_behind_others_while_a_replica_idles(tmp_path: Path) -> None:
    """Two devices, each of which sends its next frame once it has its answer."""
    diary, spans = tmp_path / "diary", dict[int, tuple[float, float]]()

    async def do(dispatch: RayServeDispatch) -> None:
        async def send(seqs: range) -> None:
            for seq in seqs:
                begin_s = time.monotonic()
                await dispatch.submit(a_frame(seq))
                spans[seq] = begin_s, time.monotonic()

        await asyncio.gather(send(range(0, 100, 2)), send(range(1, 100, 2)))

    run_dispatch(partial(Uneven, diary), do, Replicas(2, 0.5), BatchRule(1))
    pid_of = {int(seq): pid for pid, seq in map(str.split, diary.read_text().splitlines())}
    assert len(pid_of) == 100 and len(set(pid_of.values())) == 2
    behind = [
        (seq, other)
        for seq, pid in pid_of.items()
        for other, its_pid in pid_of.items()
        if pid == its_pid and spans[other][0] < spans[seq][0] < spans[other][1]
    ]
    assert len(behind) < 6, behind  # now and then Serve takes the second choice; its own router: 18


@pytest.mark.usefixtures("ray_cluster")
def test_replicas_come_and_go_with_the_load() -> None:
    """Serve hears of the load every 10 s and looks back 12."""

    async def do(dispatch: RayServeDispatch) -> None:
        fewest, done = dispatch.capacity_frames, asyncio.Event()

        async def load(device: int) -> None:
            while not done.is_set():
                await dispatch.submit(a_frame(device=f"drone-{device}"))

        loads = [asyncio.create_task(load(device)) for device in range(12)]
        await asyncio.wait_for(eventually(lambda: dispatch.capacity_frames > fewest), 120)
        assert dispatch.capacity_frames == 2 * fewest
        done.set()
        await asyncio.gather(*loads)
        await asyncio.wait_for(eventually(lambda: dispatch.capacity_frames < 2 * fewest), 120)
        assert dispatch.capacity_frames == fewest

    run_dispatch(partial(HashReplica, 0.1), do, Replicas(1, 1, most=2, idle_s=2.0))


@pytest.mark.usefixtures("ray_cluster")
def test_a_replica_that_does_not_answer_is_given_up() -> None:
    async def do(dispatch: RayServeDispatch) -> None:
        with pytest.raises(DispatchUnavailableError, match=r"no replica answered in 0\.5 s"):
            await dispatch.submit(a_frame())

    run_dispatch(partial(HashReplica, 3.0), do, patience_s=0.5)


@pytest.mark.usefixtures("ray_cluster")
def test_a_model_that_does_not_load_is_said_in_one_line(tmp_path: Path) -> None:
    async def do(_: RayServeDispatch) -> None:
        raise AssertionError("it started")

    with pytest.raises(UsageError, match=r"BundleError: .*no bundle") as caught:
        run_dispatch(partial(broken_model, tmp_path), do)
    assert "\n" not in str(caught.value)


def broken_model(folder: Path) -> Replica:
    raise BundleError(f"{folder}: no bundle\nnowhere")


@pytest.mark.usefixtures("ray_cluster")
def test_no_port_is_open_to_other_machines() -> None:
    async def do(dispatch: RayServeDispatch) -> None:
        outcome = await dispatch.submit(a_frame())
        assert isinstance(outcome.answer, Answered)
        addresses = listening_on()
        assert len(addresses) > 3
        assert [a for a in addresses if not a.startswith(("127.", "::1", "::ffff:127."))] == []

    run_dispatch(HashReplica, do)


@pytest.mark.usefixtures("ray_cluster")
def test_replicas_are_deployed_and_ended_by_command(
    split_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.add_typer(cloud_app, name="cloud")
    bundle = ["--bundle", str(split_bundle)]
    assert run(app, ["cloud", "deploy", "--app", "told", *bundle]) == 0
    assert "told: 1 of 1 replicas serve" in capsys.readouterr().out
    assert run(app, ["cloud", "down", "--app", "told"]) == 0
    assert run(app, ["cloud", "down", "--app", "told"]) == 2
    error = capsys.readouterr().err
    assert "told: no such replicas" in error


JOIN = """
import asyncio, sys
from sparsight.errors import UsageError
from sparsight.logs import log_to_stderr
from sparsight_cloud.serving.ray_app import RayApp
from sparsight_cloud.serving.ray_cluster import RayCluster
from sparsight_cloud.serving.ray_replica import Model
from sparsight_cloud.serving.ray_serve import RayServeDispatch
from tests.cloud.serving.hashes import HashReplica, a_frame, same

async def join():
    model = Model(HashReplica, HashReplica().serves)
    dispatch = RayServeDispatch(RayApp("joined", model), RayCluster(sys.argv[1]))
    await dispatch.start()
    outcome = await dispatch.submit(a_frame())
    assert same(outcome.answer, HashReplica().run([a_frame()])[0])
    await dispatch.close()

log_to_stderr()
try:
    asyncio.run(join())
    print("answered")
except UsageError as error:
    print(error)
"""


def join(address: str) -> str:
    """What a process says that computes in a cluster at an address."""
    path = os.pathsep.join(p for p in (os.getcwd(), *sys.path) if p)  # noqa: PTH109
    done = subprocess.run(
        [sys.executable, "-c", JOIN, address],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cluster_of_others_is_joined_and_left(ray_cluster: RayCluster) -> None:
    import ray
    from ray import serve

    assert join(ray.get_runtime_context().gcs_address) == "answered\n"
    names = asyncio.run(ray_cluster.call(serve.status)).applications.keys()
    assert "joined" not in names


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:1", "expected HOST:PORT"),
        ("127.0.0.1:1", "127.0.0.1:1: no Ray cluster"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_in_one_line(address: str, says: str) -> None:
    said = join(address)
    assert says in said and said.count("\n") == 1


def test_an_app_is_named_for_its_results(tmp_path: Path) -> None:
    assert app_name(tmp_path / "a") == app_name(tmp_path / "b" / ".." / "a")
    assert app_name(tmp_path / "a") != app_name(tmp_path / "b")


def test_a_bundle_is_checked_before_anything_starts(split_bundle: Path, tmp_path: Path) -> None:
    model = Model.of_bundles([split_bundle])
    assert list(model.serves.bundles.values()) == [("red", "blue", "green")]
    with pytest.raises(BundleError):
        Model.of_bundles([split_bundle, tmp_path])
