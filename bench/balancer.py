"""A TCP balancer, as small as one can be: what HAProxy does for several gateways.

    python -m bench.balancer --listen 10.77.0.254:7443 10.77.0.2:7443 10.77.0.3:7443

    devices ─ TCP ─> least connections ─┬─> gateway a   looked at once a second; after two
                                        └─> gateway b   failures its connections are broken

It passes bytes on and knows nothing of TLS. That it breaks the connections of a gateway that has
gone matters: a machine that loses its power says no more, and devices would wait for its answers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from sparsight_cloud.serving.identity import split_address

LOOK_S, FALL = 1.0, 2
_PIECE_BYTES = 1 << 16


@dataclass(eq=False)
class Backend:
    """A gateway.

    Attributes:
        address: Where it is.
        failures: Looks in a row that found nobody.
        connections: What goes through now.
    """

    address: tuple[str, int]
    failures: int = FALL  # until somebody has answered
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def look(self) -> None:
        """See whether somebody answers, for ever."""
        while True:
            try:
                _, writer = await _connect(self.address)
                writer.close()
                self.failures = 0
            except OSError:
                self.failures += 1
                if self.failures == FALL:
                    for connection in self.connections:
                        connection.cancel()
            await asyncio.sleep(LOOK_S)


async def balance(listen: tuple[str, int], addresses: Sequence[tuple[str, int]]) -> None:
    """Pass connections on until cancelled.

    Args:
        listen: Where devices call.
        addresses: Of the gateways.
    """
    backends = [Backend(address) for address in addresses]

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            alive = [backend for backend in backends if backend.failures < FALL]
            if not alive:
                return
            backend = min(alive, key=lambda backend: len(backend.connections))
            task = asyncio.create_task(_pass_on(reader, writer, backend.address))
            backend.connections.add(task)
            await asyncio.wait([task])
            backend.connections.discard(task)

    server = await asyncio.start_server(take, *listen)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        sys.stdout.write(f"listening on {host}:{port}\n")
        sys.stdout.flush()
        await asyncio.gather(server.serve_forever(), *(backend.look() for backend in backends))


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: tuple[str, int]
) -> None:
    with contextlib.suppress(OSError):
        far_reader, far_writer = await _connect(to)
        with contextlib.closing(far_writer):
            ways = [
                asyncio.create_task(_copy(reader, far_writer)),
                asyncio.create_task(_copy(far_reader, writer)),
            ]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _connect(to: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.wait_for(asyncio.open_connection(*to), LOOK_S)
    except asyncio.TimeoutError as error:
        raise OSError("nobody answers") from error


def main() -> None:
    """Balance until killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listen", required=True, help="HOST:PORT where devices call")
    parser.add_argument("gateways", nargs="+", help="HOST:PORT of each")
    options = parser.parse_args()
    asyncio.run(balance(split_address(options.listen), [*map(split_address, options.gateways)]))


if __name__ == "__main__":
    main()
