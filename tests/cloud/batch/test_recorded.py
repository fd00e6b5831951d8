"""Recorded payloads against the half of the cloud that answers them live."""

import asyncio
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tests.cloud.serving.device_half import DeviceHalf
from tests.split import write_split_bundle

from sparsight.bundle import MANIFEST, WEIGHTS, _id_of, open_bundle
from sparsight.codec.chain import Reader
from sparsight.errors import UsageError
from sparsight.frame_file import header, name_of, record, seed_of
from sparsight.model.cloud_half import Arrived, CloudHalf
from sparsight.wire import FrameFeatures, pack_device_message
from sparsight_cloud.batch.items import Item
from sparsight_cloud.batch.recorded import Recall, codings, find_recorded
from sparsight_cloud.batch.rows import Row
from sparsight_cloud.batch.stages import Deep
from sparsight_cloud.serving.archive import Archive, ArchiveRule

N = 4


@pytest.fixture(scope="module")
def frames(split_bundle: Path) -> list[FrameFeatures]:
    half = DeviceHalf(split_bundle)
    return [half.frame(seq) for seq in range(N)]


@pytest.fixture
def spool(frames: list[FrameFeatures], tmp_path: Path) -> Path:
    """A device's spool, as its agent writes it."""
    folder = tmp_path / "spool"
    folder.mkdir()
    bodies = [pack_device_message(frame) for frame in frames]
    records = [record(seed_of(1, 0), i, body, 0, 0) for i, body in enumerate(bodies)]
    (folder / name_of(1, 0)).write_bytes(header(1, 0) + b"".join(records))
    return folder


@pytest.fixture(scope="module")
def other_head(split_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bundle with another head behind the same codec."""
    folder = tmp_path_factory.mktemp("bundle") / "head"
    shutil.copytree(split_bundle, folder)
    weights = load_file(folder / WEIGHTS)
    weights["head.classes.predict.weight"] = weights["head.classes.predict.weight"].flip(0)
    save_file(weights, folder / WEIGHTS)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256"][WEIGHTS] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    manifest["id"] = _id_of(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def rows_of(items: list[Item], bundle: Path, coded_by: Path | None = None) -> list[Row]:
    manifest = open_bundle(bundle).manifest
    names = codings(manifest, None if coded_by is None else open_bundle(coded_by).manifest)
    return Deep(bundle, manifest.detect_settings(), 2000).run(Recall(bundle, names).run(items))[0]


def assert_live(rows: list[Row], frames: list[FrameFeatures], bundle: Path) -> None:
    half = CloudHalf.from_bundle(bundle)
    reader = Reader(half.codec.tables)
    for row, frame in zip(rows, frames, strict=True):
        (want,) = half.run([Arrived(reader.read(frame.payload), frame.letterbox)])
        assert (row.error, row.key, row.frame_hw) == (None, frame.key, frame.letterbox.frame_hw)
        assert len(row.found) == len(want) > 0
        np.testing.assert_allclose(row.found.xyxy, want.xyxy, atol=0.01)
        np.testing.assert_allclose(row.found.scores, want.scores, atol=1e-4)


def test_a_spool_gives_what_the_cloud_answered(
    spool: Path, frames: list[FrameFeatures], split_bundle: Path
) -> None:
    items = find_recorded([str(spool)])
    assert [item.changed for item in items] == [f"drone-1/1/{i}" for i in range(N)]
    assert_live(rows_of(items, split_bundle), frames, split_bundle)


def test_an_archive_and_a_spool_give_each_frame_once(
    spool: Path, frames: list[FrameFeatures], split_bundle: Path, tmp_path: Path
) -> None:
    async def keep(archive: Archive) -> None:
        for frame in (frames[1], *frames[2:], frames[1]):
            await archive.keep(frame)

    archive = Archive(tmp_path / "archive", ArchiveRule())
    asyncio.run(keep(archive))
    archive.close()
    assert len(find_recorded([str(tmp_path / "archive")])) == N - 1
    items = find_recorded([str(tmp_path / "archive"), str(spool)])
    assert [item.changed[-1] for item in items] == ["1", "2", "3", "0"]
    assert_live(rows_of(items, split_bundle), [*frames[1:], frames[0]], split_bundle)


def test_another_head_is_tried_on_them(
    spool: Path, frames: list[FrameFeatures], split_bundle: Path, other_head: Path
) -> None:
    items = find_recorded([str(spool)])
    refused = rows_of(items, other_head)
    assert all(row.error and "--coded-by" in row.error for row in refused)
    rows = rows_of(items, other_head, coded_by=split_bundle)
    assert_live(rows, frames, other_head)
    before = rows_of(items, split_bundle)
    assert any(
        one.found.labels.tolist() != other.found.labels.tolist()
        for one, other in zip(rows, before, strict=True)
    )


def test_a_bundle_with_another_codec_is_refused(split_bundle: Path, tmp_path: Path) -> None:
    other = write_split_bundle(tmp_path / "other", seed=9)
    with pytest.raises(UsageError, match="another codec"):
        codings(open_bundle(split_bundle).manifest, other)


def test_what_rotted_or_is_not_there_is_an_error_of_its_own(
    spool: Path, frames: list[FrameFeatures], split_bundle: Path
) -> None:
    (file,) = spool.glob("*.seg")
    items = find_recorded([str(spool)])
    data = bytearray(file.read_bytes())
    at = (items[1].stamp or 0) + items[1].size_bytes - 1
    data[at] ^= 1
    file.write_bytes(data)
    assert len(find_recorded([str(spool)])) == N
    gone = replace(items[3], path=str(spool / "gone.seg"))
    rows = rows_of([*items[:3], gone], split_bundle)
    assert [row.error is None for row in rows] == [True, False, True, False]
    assert "drone-1/1/1: rotted" in str(rows[1].error)
    assert_live([rows[0], rows[2]], [frames[0], frames[2]], split_bundle)


def test_a_payload_that_breaks_the_decoder_is_an_error_of_its_own(
    spool: Path, split_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise IndexError("out of its tables")

    monkeypatch.setattr("sparsight_cloud.batch.recorded.kept_of", broken)
    rows = rows_of(find_recorded([str(spool)]), split_bundle)
    assert [row.error for row in rows] == [f"drone-1/1/{i}: out of its tables" for i in range(N)]


def test_where_no_frame_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no frame in"):
        find_recorded([str(tmp_path)])
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        find_recorded([str(tmp_path / "gone")])
    with pytest.raises(UsageError, match="fetch it first"):
        find_recorded(["s3://bucket/archive"])
