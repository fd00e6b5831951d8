"""Stands between a device and its cloud and sends every frame twice.

device ─ frame ─> Stutter ─ frame, frame ─> cloud
       <─ answer, answer, half the credit ──
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from sparsight.wire import (
    STREAM_METHOD,
    Credit,
    FrameFeatures,
    pack_cloud_message,
    unpack_cloud_message,
    unpack_device_message,
)


class Stutter:
    """A gRPC server for devices that calls the real one.

    Attributes:
        address: Where devices call.
        doubled: Frames that were sent twice.
    """

    def __init__(self, cloud: str) -> None:
        self._channel = grpc.insecure_channel(cloud)
        self._server = grpc.server(ThreadPoolExecutor(4))
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
            self._stream
        )
        service, method = STREAM_METHOD.strip("/").split("/")
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self.doubled = 0

    def __enter__(self) -> Stutter:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def _stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(
            STREAM_METHOD
        )
        waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._double, args=(requests, waiting), daemon=True).start()
        for data in method(iter(waiting.get, None)):
            message = unpack_cloud_message(data)
            if isinstance(message, Credit):
                message = Credit(message.frames // 2, message.cost_bytes // 2)
            yield pack_cloud_message(message)

    def _double(self, requests: Iterator[bytes], waiting: queue.SimpleQueue[bytes | None]) -> None:
        try:
            for data in requests:
                waiting.put(data)
                if isinstance(unpack_device_message(data), FrameFeatures):
                    waiting.put(data)
                    self.doubled += 1
        except grpc.RpcError:
            pass  # the device is gone
        waiting.put(None)
