"""A link between two namespaces carries what real sockets send, as it is shaped."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.pipe import Shape
from bench.shaped import CLOUD_IP, Link, sent_bytes

from sparsight.errors import UsageError

SINK = f"""
import socket, time
server = socket.create_server(("{CLOUD_IP}", 5000))
sock, _ = server.accept()
begin = time.monotonic()
got = 0
while data := sock.recv(65536):
    got += len(data)
print(got, time.monotonic() - begin, flush=True)
"""
SOURCE = f"""
import socket, time
while True:
    try:
        sock = socket.create_connection(("{CLOUD_IP}", 5000))
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
with sock:
    sock.sendall(bytes(150_000))
input()
"""


@pytest.fixture
def link() -> Iterator[Link]:
    try:
        link = Link(Shape(1000, 50))
    except UsageError as error:
        pytest.skip(f"NOT RUN: {error}")
    with link:
        yield link


def test_a_megabit_is_one(link: Link) -> None:
    with (
        link.run_in(link.cloud, [sys.executable, "-c", SINK], stdout=subprocess.PIPE) as sink,
        link.run_in(link.device, [sys.executable, "-c", SOURCE], stdin=subprocess.PIPE) as source,
    ):
        assert sink.stdout is not None
        got, seconds = map(float, sink.stdout.readline().split())
        assert got == 150_000
        assert 1.15 < seconds < 2.5  # 1.2 s of data, and their way
        assert 155_000 < sent_bytes(source.pid) < 175_000  # with headers
        link.become(Shape(0))
        before = sent_bytes(source.pid)
        time.sleep(0.2)
        assert sent_bytes(source.pid) - before < 2000
        source.communicate("\n")
    assert sink.returncode == 0


def test_the_namespaces_are_gone_afterwards() -> None:
    try:
        link = Link(Shape(1000))
    except UsageError as error:
        pytest.skip(f"NOT RUN: {error}")
    with link:
        assert {link.device, link.cloud} <= spaces()
    assert not {link.device, link.cloud} & spaces()


def spaces() -> set[str]:
    said = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in said.stdout.splitlines() if line}


def test_where_it_cannot_be_made_it_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs Linux, root, /dev/net/tun and the program ip"):
        Link(Shape(1000), tun=tmp_path / "nothing")
