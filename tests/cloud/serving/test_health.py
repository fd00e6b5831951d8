"""The port for probes, and the question."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from grpc_health.v1 import health, health_pb2

from sparsight.cli import run
from sparsight.errors import LinkError, UsageError
from sparsight.wire import DETECT_METHOD
from sparsight_cloud.commands.cloud import cloud_app
from sparsight_cloud.serving.health import Probes, ask_health
from sparsight_cloud.serving.pki import write_dev_pki
from sparsight_cloud.serving.up import Ready

from .devices import run_cloud

PATIENCE_S = 20.0


def test_both_doors_say_the_same(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    write_dev_pki(pki, ["probe"])

    async def do(ready: Ready) -> None:
        assert ready.health is not None
        await asyncio.to_thread(ask_health, ready.health, None, "", PATIENCE_S)
        await asyncio.to_thread(ask_health, ready.address, pki, "probe", PATIENCE_S)
        with pytest.raises(LinkError, match="UNAVAILABLE"):
            await asyncio.to_thread(ask_health, ready.address, None, "", PATIENCE_S)
        # The server's own certificate is no caller's.
        with pytest.raises(LinkError, match="UNAVAILABLE"):
            await asyncio.to_thread(ask_health, ready.address, pki, "server", PATIENCE_S)

    run_cloud(tmp_path / "out", do, pki=pki, health="127.0.0.1:0")


def test_nothing_else_is_served_where_probes_ask(tmp_path: Path) -> None:
    async def do(ready: Ready) -> None:
        assert ready.health is not None
        async with grpc.aio.insecure_channel(ready.health) as channel:
            call: Any = channel.unary_unary(DETECT_METHOD)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    run_cloud(tmp_path / "out", do, health="127.0.0.1:0")


def test_probes_wait_until_the_gateway_says_so() -> None:
    serving = health_pb2.HealthCheckResponse.SERVING

    async def run() -> None:
        status = health.aio.HealthServicer()
        probes = Probes("127.0.0.1:0", status)
        address = await probes.start()
        with pytest.raises(LinkError, match="NOT_SERVING"):
            await asyncio.to_thread(ask_health, address, None, "", PATIENCE_S)
        await status.set("", serving)
        await asyncio.to_thread(ask_health, address, None, "", PATIENCE_S)
        with pytest.raises(UsageError, match="can't be listened on"):
            await Probes(address, status).start()
        await status.enter_graceful_shutdown()
        with pytest.raises(LinkError, match="NOT_SERVING"):
            await asyncio.to_thread(ask_health, address, None, "", PATIENCE_S)
        await probes.close()
        with pytest.raises(LinkError, match=f"{address}: UNAVAILABLE"):
            await asyncio.to_thread(ask_health, address, None, "", PATIENCE_S)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere"], 2, "expected HOST:PORT"),
        (["127.0.0.1:7443", "--pki", "/nowhere"], 2, "expected ca.crt, probe.key, probe.crt"),
        (["127.0.0.1:1", "--timeout-s", "2"], 9, "127.0.0.1:1: UNAVAILABLE"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.add_typer(cloud_app, name="cloud")
    assert run(app, ["cloud", "health", *arguments]) == code
    assert says in " ".join(capsys.readouterr().err.split())
