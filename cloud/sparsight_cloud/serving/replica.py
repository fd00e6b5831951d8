"""The model behind a dispatch: payloads of many devices in, objects out.

FrameFeatures ─ decode ─ by bundle ─┬─ cloud half of bundle A: one forward pass ─> answers
     └── bad: refused in its place  └─ cloud half of bundle B: one forward pass ─> answers
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparsight.codec.chain import Reader, is_joined, whole_of
from sparsight.codec.payload import BUNDLE_BYTES, VERSION, PayloadLimits, peek
from sparsight.errors import PayloadError, UsageError
from sparsight.model.cloud_half import Arrived, CloudHalf
from sparsight.wire import FrameFeatures, FrameStatus
from sparsight_cloud.serving.dispatch import Answer, Answered, Refused, Serves


@dataclass(frozen=True, slots=True)
class _Sound:
    """A frame that can be computed, and its place in the batch."""

    place: int
    half: CloudHalf
    arrived: Arrived


class BundleReplica:
    """A `Replica` of one bundle or several.

    Attributes:
        serves: What it can answer.
    """

    def __init__(self, halves: Sequence[CloudHalf], limits: PayloadLimits | None = None) -> None:
        """Of loaded bundles.

        Args:
            halves: At least one.
            limits: Payloads beyond these are refused.
        """
        self._limits = limits or PayloadLimits()
        self._halves = {
            half.manifest.cloud_id[: 2 * BUNDLE_BYTES]: (
                half,
                Reader(half.codec.tables, self._limits),
            )
            for half in halves
        }
        self.serves = Serves(
            bundles={half.manifest.cloud_id: half.manifest.classes for half in halves},
            codec_versions=frozenset({VERSION}),
        )

    @classmethod
    def from_bundles(cls, folders: Sequence[Path], device: str = "cpu") -> BundleReplica:
        """Load bundles, and warm them.

        Args:
            folders: Of the bundles.
            device: Where torch computes, `cpu` or `cuda`.

        Raises:
            BundleError: One is missing, damaged, or has no codec.
        """
        halves = [CloudHalf.from_bundle(folder, device) for folder in folders]
        for half in halves:
            half.warm()
        return cls(halves)

    def run(self, frames: Sequence[FrameFeatures], /) -> list[Answer]:
        """Answer some frames, those of a bundle in one forward pass."""
        answers: list[Answer | None] = [None] * len(frames)
        sound: list[_Sound] = []
        for place, frame in enumerate(frames):
            read = self._read(place, frame)
            if isinstance(read, Refused):
                answers[place] = read
            else:
                sound.append(read)
        for half in {id(one.half): one.half for one in sound}.values():
            mine = [one for one in sound if one.half is half]
            found = half.run([one.arrived for one in mine])
            for one, detections in zip(mine, found, strict=True):
                answers[one.place] = Answered(detections, half.manifest.cloud_id)
        return [answer for answer in answers if answer is not None]

    def _read(self, place: int, frame: FrameFeatures) -> _Sound | Refused:
        try:
            head = peek(whole_of(frame.payload), self._limits)
            known = self._halves.get(head.bundle_prefix)
            if known is None:
                return Refused(
                    FrameStatus.UNKNOWN_BUNDLE,
                    f"bundle {head.bundle_prefix}... is not served here; fetch "
                    f"{' or '.join(name[:12] for name in self.serves.bundles)}",
                )
            if head.rate != frame.rate:
                raise PayloadError(f"payload: rate {head.rate}, the message says {frame.rate}")
            if head.grid_hw != frame.letterbox.cells_hw:
                raise PayloadError(
                    f"payload: a map of {head.grid_hw} cells, the letterbox has "
                    f"{frame.letterbox.cells_hw}"
                )
            half, reader = known
            coded = reader.read(frame.payload)
        except (PayloadError, UsageError) as error:
            # A frame is bad if it is bad whole; of one that was told against another we don't know.
            again = is_joined(frame.payload)
            return Refused(FrameStatus.NO_REFERENCE if again else FrameStatus.REFUSED, str(error))
        return _Sound(place, half, Arrived(coded, frame.letterbox))
