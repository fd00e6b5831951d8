"""A cloud that computes nothing: every frame is answered at once, in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection

import grpc

from sparsight.detections import Detections
from sparsight.wire import (
    STREAM_METHOD,
    Credit,
    FrameFeatures,
    FrameResult,
    FrameStatus,
    Welcome,
    pack_cloud_message,
    unpack_device_message,
)

_FRAMES, _BYTES = 64, 32 << 20


@contextmanager
def yes_cloud() -> Iterator[str]:
    """Run one; gives its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join(30)


def _serve(pipe: Connection) -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(_stream)
    service, method = STREAM_METHOD.strip("/").split("/")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    pipe.send(f"127.0.0.1:{port}")
    pipe.recv()
    server.stop(None).wait()


def _stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    frames = cost_bytes = 0
    yield pack_cloud_message(Welcome())
    yield pack_cloud_message(Credit(_FRAMES, _BYTES))
    for data in requests:
        message = unpack_device_message(data)
        if not isinstance(message, FrameFeatures):
            continue
        frames, cost_bytes = frames + 1, cost_bytes + message.cost_bytes
        yield pack_cloud_message(
            FrameResult(message.key, FrameStatus.OK, Detections.empty(), detail="")
        )
        yield pack_cloud_message(Credit(frames + _FRAMES, cost_bytes + _BYTES))
