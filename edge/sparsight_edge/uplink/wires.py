"""The two ends of a call as queues, so that one thread can wait for both and for anything else.

    offer ─> [1 message] ─ gRPC's sending thread ─> cloud
    next  <─ [a few]     <─ our reading thread   <─ cloud
      ^───── nudge (a frame was spooled, a message was taken, stop)

gRPC's blocking calls take a generator to send from and are a generator to receive from, each of
which blocks a thread for as long as it likes. Here they block threads that own nothing.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from sparsight.wire import STREAM_METHOD

_INBOX = 16  # a result may have a megabyte, though most have a few kilobytes
_NUDGE = b"nudge"  # told by identity from a message


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The call is over.

    Attributes:
        code: gRPC's status.
        detail: What the other side, or gRPC, said of it.
        metadata: Trailing metadata.
    """

    code: grpc.StatusCode
    detail: str = ""
    metadata: tuple[tuple[str, str | bytes], ...] = ()


class Wires:
    """One bidirectional call of messages as bytes."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Begin the call."""
        self._outbox: queue.Queue[bytes | None] = queue.Queue(1)
        self._inbox: queue.Queue[bytes | CallEnd] = queue.Queue(_INBOX)
        self._nudged = False
        self._ended = False
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(STREAM_METHOD)
        self._call = method(self._requests())
        self._reader = threading.Thread(target=self._read, name="uplink-reader", daemon=True)
        self._reader.start()

    def offer(self, message: bytes | None) -> bool:
        """Send a message, unless the one before is still waiting; `next` returns when it isn't.

        Args:
            message: None says that nothing more will be sent.
        """
        try:
            self._outbox.put_nowait(message)
        except queue.Full:
            return False
        return True

    def next(self, timeout_s: float) -> bytes | CallEnd | None:
        """What came next; None after a nudge or the timeout."""
        if self._ended:
            return None
        try:
            what = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if what is _NUDGE:
            self._nudged = False
            return None
        self._ended = isinstance(what, CallEnd)
        return what

    def nudge(self) -> None:
        """Let `next` return; from any thread."""
        if not self._nudged:
            self._nudged = True
            try:
                self._inbox.put_nowait(_NUDGE)
            except queue.Full:  # then `next` does not wait anyway
                self._nudged = False

    def close(self) -> None:
        """End the call, at once."""
        self._call.cancel()
        self._free_the_sender()
        while not self._ended:
            self.next(1.0)
        self._reader.join()

    def _free_the_sender(self) -> None:
        """Let gRPC's sending thread go, which waits for a message or has just taken one."""
        while not self.offer(None):
            with contextlib.suppress(queue.Empty):
                self._outbox.get_nowait()

    def _requests(self) -> Iterator[bytes]:
        while (message := self._outbox.get()) is not None:
            self.nudge()
            yield message

    def _read(self) -> None:
        try:
            for message in self._call:
                self._inbox.put(message)
            end = CallEnd(grpc.StatusCode.OK)
        except grpc.RpcError:
            metadata = tuple((str(k), v) for k, v in self._call.trailing_metadata() or ())
            end = CallEnd(self._call.code(), self._call.details() or "", metadata)
        except Exception as error:  # whatever it is, somebody waits for the end
            end = CallEnd(grpc.StatusCode.UNKNOWN, repr(error))
        self._inbox.put(end)
