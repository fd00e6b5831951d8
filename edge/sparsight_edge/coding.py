"""The coding stage: of what the engine saw of a frame, what is sent and what is written down.

Seen ─ hold what is steady ─ slice and encode, as chosen ─> Coded ─┬─> message
                                  ^──── too large? fewer patches   └─> line of frames.jsonl
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from sparsight.geometry import Letterbox
from sparsight.wire import FrameFeatures, FrameKey, Telemetry, pack_device_message
from sparsight_edge.engine.engine import Maps
from sparsight_edge.model import Coded, EdgeModel
from sparsight_edge.rate.ladder import MESSAGE_BYTES, Choice
from sparsight_edge.rate.pilot import Pilot
from sparsight_edge.steady import Steady
from sparsight_edge.uplink.pacer import Pacer


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame as the engine saw it, at the rate that was chosen for it."""

    maps: Maps
    choice: Choice
    box: Letterbox
    name: str
    captured_unix_ns: int
    telemetry: Telemetry | None

    def message(self, coded: Coded, key: FrameKey, stream: str) -> bytes:
        """What is spooled and sent of it."""
        return pack_device_message(
            FrameFeatures(
                key=key,
                stream=stream,
                captured_unix_ns=self.captured_unix_ns,
                letterbox=self.box,
                rate=self.choice.rate,
                payload=coded.payload,
                telemetry=self.telemetry,
            )
        )

    def line(self, coded: Coded, key: FrameKey) -> dict[str, Any]:
        """What is written down of it."""
        return {
            "epoch": key.epoch,
            "seq": key.seq,
            "name": self.name,
            "captured_unix_ns": self.captured_unix_ns,
            "coded_unix_ns": time.time_ns(),
            "frame_hw": self.box.frame_hw,
            "rate": self.choice.rate,
            "patches": coded.patches,
            "kept_area": round(coded.kept_area, 5),
            "payload_bytes": len(coded.payload),
            "telemetry": self.telemetry and self.telemetry.known(),
        }


class Coder:
    """Codes frames in their order; for one thread."""

    def __init__(
        self, model: EdgeModel, pilot: Pilot, steady: Steady | None, pacer: Pacer | None
    ) -> None:
        """A coder that has seen nothing.

        Args:
            model: The device half.
            pilot: Told what each frame came to.
            steady: Holds what does not change; None tells every frame as it is.
            pacer: Says how large a frame may be; None for any.
        """
        self._model = model
        self._pilot = pilot
        self._steady = steady
        self._pacer = pacer

    def code(self, one: Seen) -> Coded:
        """Code a frame as was chosen; if it can't be sent so within the promise, in fewer patches.

        Who fixed the rate gets that rate: then a frame that is too large is held by the uplink.
        """
        maps, choice = one.maps, one.choice
        if self._steady is not None:
            maps = self._steady.hold(maps, choice.rate)
        coded = self._model.code(maps, choice.rate, choice.max_patches)
        while self._pilot.adaptive and coded.patches > 1 and self._too_large(coded):
            choice = replace(choice, max_patches=coded.patches // 2)
            coded = self._model.code(maps, choice.rate, choice.max_patches)
        self._pilot.coded(choice, coded.patches, len(coded.payload))
        return coded

    def _too_large(self, coded: Coded) -> bool:
        size = len(coded.payload) + MESSAGE_BYTES
        return self._pacer is not None and size > self._pacer.frame_bytes_max
