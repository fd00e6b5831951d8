import asyncio
import json
from pathlib import Path

import pytest
from bench.gateway import main, measure
from bench.replicas import Load, bare_per_s, coded, served_per_s
from PIL import Image
from tests.split import scene

from sparsight.wire import pack_frame


def test_every_frame_is_answered_and_counted() -> None:
    found = asyncio.run(measure(frames=80, devices=4, payload_bytes=100, fsync=False))
    assert found["frames"] == 80
    assert len(found["rss_bytes"]) == 10 and min(found["rss_bytes"]) > 10 << 20
    assert 20 < found["overhead_bytes_per_frame_up"] < 150
    assert 0 < found["round_trip_ms_p50"] <= found["round_trip_ms_p99"]


@pytest.mark.slow
def test_replicas_are_timed_bare_and_behind_the_gateway(split_bundle: Path, tmp_path: Path) -> None:
    pictures, messages = tmp_path / "pictures", tmp_path / "messages"
    pictures.mkdir()
    messages.mkdir()
    for i in range(3):
        Image.fromarray(scene(i)).save(pictures / f"{i}.png")
    load = Load(split_bundle, pictures, limit=2, devices=2, seconds=0.2)
    frames = coded(load)
    assert [frame.key.seq for frame in frames] == [0, 1]
    for frame in frames:
        (messages / f"{frame.key.seq}.frame").write_bytes(pack_frame(frame))
    bare = bare_per_s(load, messages, 2)
    assert bare > 0
    assert served_per_s(load, frames, 2, bare) > 0


def test_what_is_printed_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gateway.json"
    main(["--frames", "40", "--devices", "2", "--seconds", "0", "--no-fsync", "--json", str(file)])
    found = json.loads(file.read_text())
    assert found["alone"]["frames"] == 40 and "model" not in found
    assert json.loads(capsys.readouterr().out) == found
