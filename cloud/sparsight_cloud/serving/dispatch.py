"""The seam between taking frames in and computing them.

    gateway ─ FrameFeatures ─> Dispatch ─ batches of many devices' frames ─> Replica
            <─ Outcome ──────           <─ an answer per frame ────────────

A `Replica` is the model: it turns frames into answers and knows nothing of devices, streams or
disks. A `Dispatch` owns replicas: it waits a moment to fill a batch, chooses who computes it, and
gives every frame its answer in whatever order they come. Both are pure in the frame: the same frame
gives the same answer wherever and however often it is computed, so sending one twice does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from sparsight.detections import Detections
from sparsight.wire import DETAIL_MAX, FrameFeatures, FrameStatus


@dataclass(frozen=True, slots=True)
class Serves:
    """What a model can answer.

    Attributes:
        bundles: Names of the classes, in the order of labels, of each bundle by its id.
        codec_versions: Versions of payloads that can be read.
    """

    bundles: Mapping[str, tuple[str, ...]]
    codec_versions: frozenset[int]

    def or_what(self, other: Serves) -> Serves:
        """What one of two can answer."""
        return Serves({**self.bundles, **other.bundles}, self.codec_versions | other.codec_versions)

    def to_json(self) -> dict[str, Any]:
        """As a configuration file could say it."""
        bundles = {bundle: list(names) for bundle, names in self.bundles.items()}
        return {"bundles": bundles, "codec_versions": sorted(self.codec_versions)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Serves:
        """Back from `to_json`; nothing, of what somebody else has written."""
        bundles = {bundle: tuple(names) for bundle, names in raw.get("bundles", {}).items()}
        return cls(bundles, frozenset(raw.get("codec_versions", ())))


@dataclass(frozen=True, slots=True)
class Answered:
    """A frame's objects.

    Attributes:
        detections: Best first, in pixels of the source frame.
        bundle_id: The bundle that its payload named.
    """

    detections: Detections
    bundle_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame that can't be answered, through no fault of the model.

    Attributes:
        status: Why; never OK.
        detail: For people.
    """

    status: FrameStatus
    detail: str

    def __post_init__(self) -> None:
        if self.status is FrameStatus.OK:
            raise ValueError("a refusal's status is never OK")

    @property
    def line(self) -> str:
        """The detail as one line that the wire carries."""
        return " ".join(self.detail.split())[:DETAIL_MAX]


Answer = Answered | Refused
"""What a model says of one frame."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, and what it took.

    Attributes:
        answer: The answer.
        queue_ms: From `submit` to the answer without the computing: the wait for company and for a
            replica, and the way there and back.
        compute_ms: What the model took over its batch.
    """

    answer: Answer
    queue_ms: float
    compute_ms: float


def _deaf(_: object) -> None:
    """Hears nothing."""


@dataclass(frozen=True, slots=True)
class Ears:
    """Who hears what of a dispatch.

    Attributes:
        saw_batch: The size of every batch.
        saw_serves: What is served, at the start and whenever that changes.
    """

    saw_batch: Callable[[int], None] = _deaf
    saw_serves: Callable[[Serves], None] = _deaf


class ReplicaFailedError(Exception):
    """The model broke down over a frame that was alone in its batch: a bug, or no memory left."""


class DispatchUnavailableError(Exception):
    """Nobody is there to compute: replicas died, or all is shutting down. Worth another try."""


@runtime_checkable
class Replica(Protocol):
    """The model. One thread calls it at a time, always the same one."""

    @property
    def serves(self) -> Serves:
        """What it can answer; never changes."""
        ...

    def run(self, frames: Sequence[FrameFeatures], /) -> Sequence[Answer]:
        """Answer some frames in one forward pass.

        Args:
            frames: Of any devices, sizes and rates; at least one.

        Returns:
            One answer a frame, in order. A frame that is bad is refused in its own place and does
            not touch the others.
        """
        ...


@runtime_checkable
class Dispatch(Protocol):
    """Where frames are computed. Everything is called from one event loop."""

    @property
    def serves(self) -> Serves:
        """What its replicas can answer, once it is started; changes if they are replaced."""
        ...

    @property
    def capacity_frames(self) -> int:
        """How many frames it may hold at once; what is beyond is the caller's to refuse.

        Changes with the number of replicas.
        """
        ...

    async def start(self) -> None:
        """Begin; before this nothing may be submitted."""
        ...

    async def submit(self, frame: FrameFeatures, /) -> Outcome:
        """Compute one frame.

        Raises:
            ReplicaFailedError: The model broke down over this very frame.
            DispatchUnavailableError: Nobody is there to compute it.
        """
        ...

    async def close(self) -> None:
        """Finish what was submitted, then end; submitting from now on fails."""
        ...
