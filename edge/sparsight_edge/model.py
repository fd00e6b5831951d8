"""A bundle's device half, ready to run: a frame in, the codec's payload out.

    frame ─ letterbox ─> input ─ engine ─> heat, latents
                                             │
         payload <─ encode <─ union, marks, their zones' latents <─ slicer: heat -> patches

The three steps are apart since each has its own thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from sparsight.bundle import TABLES, Manifest, open_bundle
from sparsight.codec.cut import cut_frame
from sparsight.codec.payload import decode, encode
from sparsight.codec.tables import Tables
from sparsight.errors import BundleError, UsageError
from sparsight.geometry import Letterbox
from sparsight.pictures import letterbox
from sparsight.settings import DetectSettings
from sparsight.slicer import slice_heat
from sparsight_edge.engine.choose import open_engine
from sparsight_edge.engine.engine import Engine, Maps
from sparsight_edge.settings import EngineName
from sparsight_edge.steady import SteadySettings, same_fields

WARM_PX = 256
"""Side of the frame that a loaded model is warmed with."""


@dataclass(frozen=True, slots=True)
class Coded:
    """What is sent of a frame.

    Attributes:
        payload: The codec's bytes.
        patches: How many patches are in it.
        kept_area: Share of the frame under them.
    """

    payload: bytes
    patches: int
    kept_area: float


@dataclass(frozen=True, slots=True)
class EdgeModel:
    """A bundle's device half.

    Attributes:
        bundle_id: Names the bundle to the cloud (`Manifest.cloud_id`), in every payload.
        classes: Names of the classes, in the order of labels.
        rate: Index of the quality level of frames that nobody chooses one for, 0 the finest.
        sizes_bytes: Mean payload at each rate where the bundle was judged; empty if it was not.
        settings: How frames are scaled and cut.
        engine: Runs the network; from one thread.
        tables: Of the entropy coder.
    """

    bundle_id: str
    classes: tuple[str, ...]
    rate: int
    sizes_bytes: tuple[float, ...]
    settings: DetectSettings
    engine: Engine
    tables: Tables

    @classmethod
    def load(
        cls,
        folder: Path,
        rate: int | None = None,
        threads: int = 1,
        engine: EngineName = "auto",
        plans: Path | None = None,
    ) -> EdgeModel:
        """Load a bundle; every file of it is checked first.

        Args:
            folder: The bundle.
            rate: Index of the quality level, 0 the finest; None is `Manifest.default_rate`.
            threads: Of an engine on the CPU.
            engine: Which one (`engine.choose`).
            plans: Where TensorRT engines are kept; None is the user's cache.

        Raises:
            BundleError: It is missing, damaged, or has no device half.
            UsageError: It has no such rate, or that engine is not there.
        """
        bundle = open_bundle(folder)
        rates = bundle.manifest.rates
        if not rates:
            raise BundleError(
                f"{folder}: this bundle has no device half (no rates in its manifest); train and "
                "build one with a bottleneck"
            )
        if rate is None:
            rate = bundle.manifest.default_rate
        if not 0 <= rate < len(rates):
            raise UsageError(
                f"rate: this bundle has 0 (the finest) to {len(rates) - 1}, got {rate}"
            )
        tables = Tables.load(folder / TABLES)
        if (tables.rates, tables.channels) != (len(rates), rates[rate].channels):
            raise BundleError(
                f"{folder / TABLES}: has {tables.rates} rates of {tables.channels} channels, the "
                f"manifest {len(rates)} of {rates[rate].channels}; write the bundle again"
            )
        return cls(
            bundle.manifest.cloud_id,
            bundle.manifest.classes,
            rate,
            _sizes(bundle.manifest),
            bundle.manifest.detect_settings(),
            open_engine(bundle, engine, threads, plans),
            tables,
        )

    def warm(self) -> None:
        """Code a made-up frame, so that the first real one does not wait for compilers."""
        maps = self.engine.run(np.zeros((WARM_PX, WARM_PX, 3), np.uint8), self.rate)
        maps = Maps(np.ones_like(maps.heat), maps.latents)
        same_fields(maps, maps, SteadySettings())
        decode(self.code(maps, self.rate).payload, self.tables)  # as the uplink does

    def fit(
        self, frame: UInt8[np.ndarray, "h w 3"]
    ) -> tuple[Letterbox, UInt8[np.ndarray, "input_h input_w 3"]]:
        """A frame as the network's input, and how it lies in it."""
        box = Letterbox.fit((frame.shape[0], frame.shape[1]), self.settings.long_side_px)
        return box, letterbox(frame, box)

    def code(self, maps: Maps, rate: int, budget: int | None = None) -> Coded:
        """Choose the patches of a frame, and code what is under them.

        Args:
            maps: What the engine said of it.
            rate: The quality level that the engine was run at.
            budget: At most so many patches, the best ones; None for as many as the bundle wants.

        Raises:
            BundleError: The heat or the latents are not what the bundle promises.
        """
        slicer = self.settings.slicer
        if budget is not None:
            slicer = replace(slicer, max_patches=budget)
        patches = slice_heat(maps.heat, slicer)
        marks = maps.heat >= self.settings.mark
        frame = cut_frame(maps.latents, patches, marks, rate, self.settings.halo)
        payload = encode(frame, self.tables, self.bundle_id)
        return Coded(payload, len(patches), patches.kept_area)


def _sizes(manifest: Manifest) -> tuple[float, ...]:
    sizes = [rate.bytes_per_frame for rate in manifest.rates]
    return tuple(size for size in sizes if size) if all(sizes) else ()
