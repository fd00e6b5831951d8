"""A small cloud that keeps the contract, for the device to talk to over real gRPC."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import grpc
import numpy as np

from sparsight.codec.chain import join
from sparsight.detections import Detections
from sparsight.wire import (
    STREAM_METHOD,
    Ack,
    CloudMessage,
    CloudTimes,
    Credit,
    FrameFeatures,
    FrameKey,
    FrameResult,
    FrameStatus,
    Hello,
    Refusal,
    RefusalStatus,
    Welcome,
    pack_cloud_message,
    unpack_device_message,
)

Decide = Callable[[FrameFeatures, int], FrameStatus]

ONE_OBJECT = Detections(
    np.array([[1, 2, 3, 4]], np.float32), np.array([0.5], np.float32), np.array([0])
)


def take_all(frame: FrameFeatures, time_seen: int) -> FrameStatus:
    return FrameStatus.OK


@dataclass
class Rules:
    """How the cloud behaves; may be changed while it runs."""

    decide: Decide = take_all
    credit_frames: int = 8
    credit_bytes: int = 1 << 20
    payload_bytes_max: int = 1 << 20
    retry_after_ms: int = 0
    references: int = 2
    forgets: bool = False
    mute: bool = False
    refusal: Refusal | None = None
    abort: tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]] | None = None


@dataclass
class SmallCloud:
    """Commits each key once, grants credit, and notes what a device does wrong.

    Attributes:
        rules: How it behaves.
        credentials: TLS; none without.
        port: Where it listens; the same after a restart.
        arrivals: How often each frame came.
        committed: Frames that are done, in the order of their coming.
        done_answers: How often each frame was answered as done.
        acked: Frames whose results the device has stored.
        hellos: What was said first, stream by stream.
        wrong: What a device may not do.
        most_unanswered: The most frames that were on their way at once.
        deltas: Frames that came as deltas to others.
    """

    rules: Rules = field(default_factory=Rules)
    credentials: grpc.ServerCredentials | None = None
    port: int = 0
    arrivals: Counter[FrameKey] = field(default_factory=Counter)
    committed: dict[FrameKey, FrameFeatures] = field(default_factory=dict)
    done_answers: Counter[FrameKey] = field(default_factory=Counter)
    acked: set[FrameKey] = field(default_factory=set)
    hellos: list[Hello] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    most_unanswered: int = 0
    deltas: int = 0

    def __post_init__(self) -> None:
        self._server: grpc.Server | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> SmallCloud:
        self._pool = ThreadPoolExecutor(8)
        self._server = grpc.server(self._pool)
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
            self._stream
        )
        service, method = STREAM_METHOD.strip("/").split("/")
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        where = f"127.0.0.1:{self.port}"
        for _ in range(50):
            try:
                if self.credentials is None:
                    self.port = self._server.add_insecure_port(where)
                else:
                    self.port = self._server.add_secure_port(where, self.credentials)
                break
            except RuntimeError:  # the port of a server that is just going
                time.sleep(0.1)
        self._server.start()
        return self

    def stop(self) -> None:
        """As if it were killed: nobody hears a last word."""
        if self._server is not None and self._pool is not None:
            self._server.stop(None).wait()
            self._server = None
            self._pool.shutdown()

    def __enter__(self) -> SmallCloud:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        if self.rules.abort is not None:
            code, detail, metadata = self.rules.abort
            context.set_trailing_metadata(metadata)
            context.abort(code, detail)
        out: queue.Queue[CloudMessage | None] = queue.Queue()
        session = _Session(self, out)
        context.add_callback(lambda: out.put(None))
        reader = threading.Thread(target=session.read, args=(requests,), daemon=True)
        reader.start()
        while (message := out.get()) is not None:
            yield pack_cloud_message(message)


class _Session:
    """One stream of one device."""

    def __init__(self, cloud: SmallCloud, out: queue.Queue[CloudMessage | None]) -> None:
        self.cloud = cloud
        self.out = out
        self.hello: Hello | None = None
        self.frames = self.cost_bytes = self.answered_frames = self.answered_bytes = 0
        self.granted = Credit(0, 0)
        self.kept: OrderedDict[FrameKey, bytes] = OrderedDict()

    def read(self, requests: Iterator[bytes]) -> None:
        try:
            for data in requests:
                message = unpack_device_message(data)
                with self.cloud._lock:
                    self._one(message)
        except grpc.RpcError:
            pass  # the device is gone
        except Exception as error:
            self.cloud.wrong.append(repr(error))
        self.out.put(None)

    def _one(self, message: Hello | FrameFeatures | Ack) -> None:
        cloud, rules = self.cloud, self.cloud.rules
        if isinstance(message, Hello):
            if self.hello is not None:
                cloud.wrong.append("two greetings")
            self.hello = message
            cloud.hellos.append(message)
            if rules.refusal is not None:
                self.out.put(rules.refusal)
                if rules.refusal.status is not RefusalStatus.BAD_MESSAGE:
                    self.out.put(None)
                return
            self.out.put(
                Welcome(payload_bytes_max=rules.payload_bytes_max, references=rules.references)
            )
            self._grant()
        elif self.hello is None:
            cloud.wrong.append("no greeting")
        elif isinstance(message, Ack):
            for seq in message.seqs:
                key = FrameKey(self.hello.device, message.epoch, seq)
                if not cloud.done_answers[key]:
                    cloud.wrong.append(f"acknowledged what was not answered: {key}")
                cloud.acked.add(key)
        else:
            self._frame(message, self.hello)

    def _frame(self, frame: FrameFeatures, hello: Hello) -> None:
        cloud, rules = self.cloud, self.cloud.rules
        self.frames += 1
        self.cost_bytes += frame.cost_bytes
        if frame.key.device != hello.device or frame.key.epoch > hello.epoch:
            cloud.wrong.append(f"a key that is not its own: {frame.key}")
        if frame.key.epoch == hello.epoch and frame.stream not in hello.streams:
            cloud.wrong.append(f"a stream that was not announced: {frame.stream}")
        if not self.granted.allows(self.frames, self.cost_bytes):
            cloud.wrong.append("sent without credit")
        cloud.arrivals[frame.key] += 1
        unanswered = self.frames - self.answered_frames
        cloud.most_unanswered = max(cloud.most_unanswered, unanswered)
        if rules.mute:
            return
        readable = self._readable(frame)
        status = rules.decide(frame, cloud.arrivals[frame.key])
        if readable is None:
            status = FrameStatus.NO_REFERENCE
        if status.done:
            cloud.done_answers[frame.key] += 1
            if status is FrameStatus.OK and readable is not None:
                cloud.committed.setdefault(frame.key, readable)
        ok = status is FrameStatus.OK
        self.out.put(
            FrameResult(
                frame.key,
                status,
                ONE_OBJECT if ok else Detections.empty(),
                detail="" if ok else "as the test wants it",
                times=CloudTimes(1, 2, 3) if ok else None,
                retry_after_ms=rules.retry_after_ms if status.again else 0,
            )
        )
        self.answered_frames += 1
        self.answered_bytes += frame.cost_bytes
        self._grant()

    def _readable(self, frame: FrameFeatures) -> FrameFeatures | None:
        """The frame with what it is told against; None if that is not here."""
        references = self.cloud.rules.references
        if (frame.keep or frame.reference) and not references:
            self.cloud.wrong.append("spoke of references without having been asked to")
        if self.cloud.rules.forgets:
            self.kept.clear()
        payload = frame.payload
        if frame.reference is not None:
            self.cloud.deltas += 1
            if frame.reference not in self.kept:
                return None
            payload = join(self.kept[frame.reference], payload)
        if frame.keep:
            self.kept[frame.key] = payload
            self.kept.move_to_end(frame.key)
            while len(self.kept) > references:
                self.kept.popitem(last=False)
        return replace(frame, payload=payload, reference=None, keep=False)

    def _grant(self) -> None:
        rules = self.cloud.rules
        frames = self.answered_frames + rules.credit_frames
        cost_bytes = self.answered_bytes + rules.credit_bytes
        self.granted = Credit(
            max(self.granted.frames, frames), max(self.granted.cost_bytes, cost_bytes)
        )
        self.out.put(self.granted)
