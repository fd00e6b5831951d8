"""A machine may stop at any byte of any file."""

import shutil
import threading
from pathlib import Path

import pytest

from sparsight.frame_file import HEADER, RECORD
from sparsight_edge.spool.segment import record_bytes
from sparsight_edge.spool.spool import Spool

GO = threading.Event()
BODIES = [b"first", b"", b"the third one", b"4th"]


@pytest.fixture(scope="module")
def left_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a boot left: four frames, of which the second and the fourth are done."""
    folder = tmp_path_factory.mktemp("boot")
    spool = Spool(folder, "d")
    for body in BODIES:
        spool.append(body, GO)
    for seq in (1, 3):
        spool.finish(spool.epoch, seq)
    spool.close()
    return folder


def reopen(folder: Path) -> tuple[dict[int, bytes], int]:
    """What the next boot finds, after it has sent a frame of its own; and what it says is lost."""
    spool = Spool(folder, "d")
    assert spool.append(b"mine", GO) == 0
    found = {}
    while (one := spool.take()) is not None:
        if one.epoch == spool.epoch:
            assert (one.seq, one.body) == (0, b"mine")
        else:
            found[one.seq] = one.body
        assert spool.finish(one.epoch, one.seq)
    damaged = spool.stats().damaged
    spool.close()
    assert list(folder.glob("*.seg")) == list(folder.glob("*.done")) == []
    return found, damaged


def test_frames_cut_at_every_byte(left_over: Path, tmp_path: Path) -> None:
    (segment,) = left_over.glob("*.seg")
    whole = segment.read_bytes()
    for cut in range(len(whole) + 1):
        folder = tmp_path / str(cut)
        shutil.copytree(left_over, folder)
        (folder / segment.name).write_bytes(whole[:cut])
        want, end = {}, HEADER.size
        for seq, body in enumerate(BODIES):
            end += RECORD.size + len(body)
            if end <= cut and seq in (0, 2):
                want[seq] = body
        assert reopen(folder) == (want, 0), cut


def test_the_list_of_done_frames_cut_at_every_byte(left_over: Path, tmp_path: Path) -> None:
    (done,) = left_over.glob("*.done")
    whole = done.read_bytes()
    assert len(whole) == 16
    for cut in range(len(whole) + 1):
        folder = tmp_path / str(cut)
        shutil.copytree(left_over, folder)
        (folder / done.name).write_bytes(whole[:cut])
        finished = (1, 3)[: cut // 8]
        # A frame whose answer was forgotten is sent again; none is forgotten itself.
        assert reopen(folder) == ({i: b for i, b in enumerate(BODIES) if i not in finished}, 0), cut


def test_a_torn_list_goes_on_being_written(left_over: Path, tmp_path: Path) -> None:
    shutil.copytree(left_over, tmp_path, dirs_exist_ok=True)
    (done,) = tmp_path.glob("*.done")
    done.write_bytes(done.read_bytes()[:11])
    spool = Spool(tmp_path, "d")
    taken = [spool.take(), spool.take()]
    assert [one.seq for one in taken if one] == [0, 2]
    assert taken[1] is not None
    spool.finish(taken[1].epoch, 2)
    spool.close()
    assert reopen(tmp_path)[0].keys() == {0, 3}


def test_who_it_is_cut_at_every_byte(left_over: Path, tmp_path: Path) -> None:
    whole = (left_over / "agent.json").read_bytes()
    for cut in range(len(whole)):
        folder = tmp_path / str(cut)
        shutil.copytree(left_over, folder)
        (folder / "agent.json").write_bytes(whole[:cut])
        assert reopen(folder) == ({0: BODIES[0], 2: BODIES[2]}, 0)


def test_zeros_behind_the_end(left_over: Path, tmp_path: Path) -> None:
    shutil.copytree(left_over, tmp_path, dirs_exist_ok=True)
    (segment,) = tmp_path.glob("*.seg")
    with segment.open("ab") as file:  # as ext4 leaves it after a power cut
        file.write(bytes(4096))
    assert reopen(tmp_path) == ({0: BODIES[0], 2: BODIES[2]}, 0)


def test_other_files_are_let_alone(left_over: Path, tmp_path: Path) -> None:
    shutil.copytree(left_over, tmp_path, dirs_exist_ok=True)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "orphan.done").write_bytes(b"")
    assert reopen(tmp_path)[0].keys() == {0, 2}
    assert (tmp_path / "notes.txt").exists()


def test_a_records_size() -> None:
    assert record_bytes(0) == RECORD.size + 8
