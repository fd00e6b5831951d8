"""A gRPC call as this service sees it: bytes come, bytes go, and one status ends it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn, Protocol, runtime_checkable

import grpc


@runtime_checkable
class Call(Protocol):
    """The part of `grpc.aio.ServicerContext` that is used; its real class has no public name."""

    async def read(self) -> object:
        """The next message as bytes; anything else at the end of the stream."""
        ...

    async def write(self, message: bytes, /) -> None:
        """Send a message; returns when gRPC has room for the next."""
        ...

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: tuple[tuple[str, str], ...] = (),
    ) -> NoReturn:
        """End the call, by raising."""
        ...

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS knows of the caller."""
        ...
