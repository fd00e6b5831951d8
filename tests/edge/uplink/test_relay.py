"""The relay between real sockets, and an uplink over it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsight.geometry import Letterbox
from sparsight.wire import FrameFeatures, FrameKey, Hello, pack_device_message
from sparsight_edge.spool.spool import Spool
from sparsight_edge.uplink.channel import Endpoint
from sparsight_edge.uplink.pacer import Pacer
from sparsight_edge.uplink.relay import Relay
from sparsight_edge.uplink.uplink import Uplink

from ..small.cable import Cable  # noqa: TID252
from ..small.cloud import SmallCloud  # noqa: TID252


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def near(relay: Relay) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(relay.path))
    return sock


def test_bytes_go_both_ways_and_an_end_is_passed_on(far: socket.socket) -> None:
    data = bytes(range(256)) * 2000
    with Relay("127.0.0.1", far.getsockname()[1], Pacer(1e6)) as relay, near(relay) as device:
        cloud, _ = far.accept()
        with cloud:
            threading.Thread(target=device.sendall, args=(data,)).start()
            got = b""
            while len(got) < len(data):
                got += cloud.recv(65536)
            assert got == data
            cloud.sendall(data[:50_000])
            back = b""
            while len(back) < 50_000:
                back += device.recv(65536)
            assert back == data[:50_000]
        assert device.recv(10) == b""
    assert not relay.path.exists()


def test_an_address_that_answers_nothing_does_not_hide_the_next(
    far: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A listener whose queue is full swallows what comes, as a black hole does.
    with socket.socket() as hole, socket.socket() as first, socket.socket() as second:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", one.getsockname()) for one in (hole, far)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        begin_s = time.monotonic()
        with Relay("two.example", 1, Pacer(1e6)) as relay, near(relay) as device:
            device.sendall(b"hello")
            cloud, _ = far.accept()
            with cloud:
                assert cloud.recv(10) == b"hello"
        assert time.monotonic() - begin_s < 9


def test_a_long_name_of_the_folder_for_temporary_files_does_not_matter(
    far: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with Relay("127.0.0.1", far.getsockname()[1], Pacer(1e6)) as relay, near(relay) as device:
        device.sendall(b"hello")
        cloud, _ = far.accept()
        with cloud:
            assert cloud.recv(10) == b"hello"


def test_a_name_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Relay("gw..example", 1, Pacer(1e6)) as relay:
        end_s = time.monotonic() + 10
        while not relay.problem:
            assert time.monotonic() < end_s
            time.sleep(0.01)
    assert relay.problem.startswith("gw..example:1: ")


def test_no_more_than_promised_leaves(far: socket.socket) -> None:
    pacer = Pacer(400)
    with Relay("127.0.0.1", far.getsockname()[1], pacer) as relay, near(relay) as device:
        cloud, _ = far.accept()
        with cloud:
            threading.Thread(target=_flood, args=(device,), daemon=True).start()
            cloud.settimeout(0.1)
            got, end_s = 0, time.monotonic() + 3
            while time.monotonic() < end_s:
                try:
                    got += len(cloud.recv(65536))
                except TimeoutError:
                    continue
    # Three seconds of it, and the first second's burst.
    assert 50_000 < got < 4.2 * 50_000
    assert pacer.kbps() * 125 * 10 > got


def _flood(sock: socket.socket) -> None:
    try:
        while True:
            sock.sendall(bytes(10_000))
    except OSError:
        pass


def test_a_cloud_that_is_not_there_is_named() -> None:
    with Cable(1) as cable:
        port = int(cable.address.rpartition(":")[2])
    with Relay("127.0.0.1", port, Pacer(400)) as relay:
        end_s = time.monotonic() + 10
        while not relay.problem:
            assert time.monotonic() < end_s
            time.sleep(0.01)
    assert relay.problem == f"127.0.0.1:{port}: Connection refused"


def test_frames_come_through_it_and_one_too_large_is_held(tmp_path: Path) -> None:
    with SmallCloud() as cloud:
        spool = Spool(tmp_path, "drone")
        for size in (100, 2000, 200_000, 100):
            key = FrameKey("drone", spool.epoch, spool.next_seq)
            box = Letterbox.fit((90, 160), 64)
            frame = FrameFeatures(key, "main", 12345, box, 0, bytes(size))
            spool.append(pack_device_message(frame), threading.Event())
        hello = Hello("drone", spool.epoch, "00" * 32, 1, ("main",))
        pacer = Pacer(100)
        uplink = Uplink(Endpoint(cloud.address), hello, spool, lambda _: None, pacer=pacer)
        uplink.start()
        end_s = time.monotonic() + 30
        while spool.stats().finished < 3 and time.monotonic() < end_s:
            time.sleep(0.02)
        reason = uplink.stats().reason
        uplink.stop()
        stats = spool.stats()
        spool.close()
    assert (stats.finished, stats.held, stats.refused) == (3, 1, 0)
    assert "is held: has 200" in reason and "too many for 100 kbit/s; raise --max-kbps" in reason
    assert [key.seq for key in cloud.committed] == [0, 1, 3]
    assert pacer.kbps() > 0


def test_without_a_cloud_the_reason_is_plain(tmp_path: Path) -> None:
    with Cable(1) as cable:
        address = cable.address
    spool = Spool(tmp_path, "drone")
    hello = Hello("drone", spool.epoch, "00" * 32, 1, ("main",))
    uplink = Uplink(Endpoint(address), hello, spool, lambda _: None, pacer=Pacer(100))
    uplink.start()
    end_s = time.monotonic() + 20
    while uplink.stats().state != "waiting" and time.monotonic() < end_s:
        time.sleep(0.02)
    assert uplink.stats().reason == f"{address}: Connection refused"
    uplink.stop()
    spool.close()
