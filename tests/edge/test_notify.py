"""What systemd hears, over a real socket."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sparsight_edge.notify import Supervisor
from sparsight_edge.timings import Timings

from .small.figures import NOTHING_YET


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = tmp_path / "s"
        manager.bind(str(address))
        manager.settimeout(0.2)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        monkeypatch.setenv("WATCHDOG_USEC", "3000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield manager


def test_alive_is_said_now_and_then_but_not_when_a_stage_is_stuck(manager: socket.socket) -> None:
    supervisor = Supervisor()
    assert supervisor.watchdog_s == 3
    supervisor.alive(NOTHING_YET, "fine")
    supervisor.alive(NOTHING_YET, "fine")
    assert manager.recv(100) == b"WATCHDOG=1\nSTATUS=fine"
    with pytest.raises(TimeoutError):
        manager.recv(100)
    Supervisor().alive(replace(NOTHING_YET, stuck_s=3.1), "stuck")
    with pytest.raises(TimeoutError):
        manager.recv(100)


def test_a_watchdog_of_another_process_is_not_ours(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Supervisor().watchdog_s is None


def test_a_name_in_the_abstract_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # Linux picks a free name there
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + manager.getsockname()[1:].decode())
        Supervisor().ready()
        manager.settimeout(1)
        assert manager.recv(100) == b"READY=1"


def test_who_is_not_asked_says_nothing(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET")
    Supervisor().ready()
    with pytest.raises(TimeoutError):
        manager.recv(100)


def test_a_manager_that_is_gone_for_a_while_is_told_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "s"))
    supervisor = Supervisor()
    supervisor.ready()  # nobody is there, and that ends nothing
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "s"))
        manager.settimeout(1)
        supervisor.stopping()
        assert manager.recv(100) == b"STOPPING=1"


def test_a_stage_that_does_not_end_is_seen() -> None:
    timings = Timings()
    assert timings.stuck_s() == 0
    with timings.of("engine"):
        assert timings.stuck_s() > 0
    assert timings.stuck_s() == 0
