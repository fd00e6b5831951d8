"""`sparsight batch run` as it is typed, on one cluster of two processors."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from tests.cloud.serving.device_half import DeviceHalf

from sparsight.cli import run
from sparsight_cloud.commands.batch import batch_app
from sparsight_cloud.serving.archive import Archive, ArchiveRule
from sparsight_cloud.serving.ray_cluster import RayCluster

from .runs import CONF, expected, finish, rows_of, write_flight
from .runs import start as start_program

# Ray Data 2.60 sets options of its own that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")

N = 25


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster with what two processes of each stage ask for: nothing else may need any."""
    cluster = RayCluster(cpus=2, with_serve=False)
    cluster.connect()
    import ray

    yield ray.get_runtime_context().gcs_address
    cluster.disconnect()


@pytest.fixture(scope="module")
def flight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flight(tmp_path_factory.mktemp("batch") / "flight", N)


def batch(flight: Path, bundle: Path, out: Path, *more: str) -> int:
    app = typer.Typer()
    app.add_typer(batch_app, name="batch")
    arguments = ["batch", "run", str(flight), "--out", str(out), "--bundle", str(bundle)]
    return run(app, [*arguments, "--conf", str(CONF), *more])


@pytest.mark.slow
def test_a_run_and_every_way_to_go_on_with_it(
    address: str,
    flight: Path,
    split_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One test, since each start of processes that load torch takes seconds."""
    out = tmp_path / "out"
    rows = out / "rows"
    want = expected(flight, split_bundle, shard=4)

    def start(*more: str, source: Path = flight) -> tuple[int, Any, str]:
        code = batch(source, split_bundle, out, "--json", *more)
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err

    few = ("--shard", "4", "--workers", "1")
    # Too many errors end it; what is done stays, and the next start knows of them.
    code, summary, said = start(*few, "--max-errors", "1")
    assert (code, summary) == (4, None)
    assert "2 pictures can't be read, more than --max-errors 1" in said
    assert start(*few, "--max-errors", "1")[0] == 4
    for shard in range(4):  # all may have been written before the end
        (rows / f"shard-{shard:06d}.parquet").unlink(missing_ok=True)
    early = rows_of(out)
    assert early == [want[row["id"]] for row in early] and 0 < len(early) < N

    # Another process joins the cluster, wants more than there is, and all that can be made.
    code, summary, said = finish(
        start_program(
            *(flight, split_bundle, out, "--shard", "4", "--max-errors", "3"),
            *("--coco", "--samples", "4", "--workers", "9", "--address", address),
        )
    )
    assert code == 4, said
    assert summary["this_start"]["workers"] == 2
    assert rows_of(out) == want
    assert (summary["pictures"], summary["failed"], summary["earlier"]) == (N - 3, 3, len(early))
    assert f"{len(early)} of {N} were done earlier" in said
    assert summary["batches"]["padding"] == 0
    assert summary["this_start"]["pictures"] == N - len(early)
    assert json.loads((out / "summary.json").read_text()) == summary
    coco = json.loads((out / "detections.json").read_text())
    assert len(coco["images"]) == N - 3
    assert len(coco["annotations"]) == summary["objects"] == sum(len(r["boxes"]) for r in want)
    samples = sorted(file.name for file in (out / "samples").iterdir())
    assert samples == ["000000.jpg", "000008.jpg", "000016.jpg"]  # 24 is damaged

    # A shard that is gone or damaged is made again, with errors on request, and no other.
    (rows / "shard-000002.parquet").unlink()
    (rows / "shard-000003.parquet").write_bytes(b"PAR1")
    kept = (rows / "shard-000000.parquet").stat().st_mtime_ns
    code, summary, said = start(*few, "--retry-errors")
    assert (code, summary["earlier"]) == (4, 3 * 4)
    assert rows_of(out) == want
    assert (rows / "shard-000000.parquet").stat().st_mtime_ns == kept

    # What can't be written ends the run in a line.
    (rows / "shard-000005.parquet").unlink()
    (rows / "shard-000005.parquet" / "in the way").mkdir(parents=True)
    code, summary, said = start(*few)
    assert (code, summary) == (2, None)
    assert "shard-000005.parquet: can't be written" in said.splitlines()[-1]

    # Other settings and other pictures are another run.
    assert start("--shard", "5")[0] == 2
    code, _, said = start(*few, source=flight / "000.png")
    assert code == 2 and "holds a run over other pictures: 24 gone" in said


@pytest.mark.slow
def test_recorded_payloads(
    address: str, split_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = DeviceHalf(split_bundle)
    frames = [half.frame(seq) for seq in range(3)]

    async def keep(archive: Archive) -> None:
        for frame in frames:
            await archive.keep(frame)

    archive = Archive(tmp_path / "archive", ArchiveRule())
    asyncio.run(keep(archive))
    archive.close()
    out = tmp_path / "out"
    arguments = ("--from-features", "--json", "--coco", "--workers", "1")
    assert batch(tmp_path / "archive", split_bundle, out, *arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["pictures"], summary["failed"]) == (3, 0)
    assert summary["objects"] > 0
    keys = pq.read_table(out / "rows", columns=["device", "epoch", "seq"]).to_pylist()
    assert keys == [{"device": "drone-1", "epoch": 1, "seq": seq} for seq in range(3)]
    coco = json.loads((out / "detections.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [f"drone-1/1/{i}" for i in range(3)]
    assert batch(tmp_path / "archive", split_bundle, out, "--from-features", "--samples", "1") == 2
    assert "--samples: there are no pictures" in capsys.readouterr().err


def test_what_is_wrong_with_arguments_is_said_before_ray_starts(
    tmp_path: Path, split_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(tmp_path / "gone", split_bundle, tmp_path / "out") == 2
    assert "is neither a file nor a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
