"""A device's half, for frames that the real model can answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.split import STEPS, scene

from sparsight.codec.payload import encode
from sparsight.model.detector import Detector
from sparsight.model.passes import Kept
from sparsight.pictures import letterbox
from sparsight.wire import FrameFeatures

from .hashes import a_frame


class DeviceHalf:
    """What a device makes of pictures, by way of the cloud's own network."""

    def __init__(self, folder: Path) -> None:
        self._detector = Detector.from_bundle(folder)

    @property
    def bundle_id(self) -> str:
        assert self._detector.manifest is not None
        return self._detector.manifest.cloud_id

    def frame(self, seq: int) -> FrameFeatures:
        detector = self._detector
        assert detector.codec is not None and detector.manifest is not None
        picture = scene(20 + seq)
        rate = seq % len(STEPS)
        (result,) = detector.detect([picture], replace(detector.settings, rate=rate))
        image = letterbox(picture, result.letterbox)
        latents = detector._device_half.look(detector.network, image, rate).latents
        assert latents is not None
        kept = Kept(result.patches, result.heat >= detector.settings.mark, detector.settings.halo)
        coded = detector.codec.code_latents(latents, kept, rate)
        return replace(
            a_frame(seq),
            letterbox=result.letterbox,
            rate=rate,
            payload=encode(coded, detector.codec.tables, detector.manifest.cloud_id),
        )
