"""The model in a process that Ray Serve started, one batch at a time.

    gateway: Model ─ by name ─> Ray ─> replica's process: load ─> run, run, run ...

Serve calls a plain method in a thread for each call. A second batch waits for the first all the
same: two at once on one processor would both take twice as long, and hold the memory of two. This
module does not import Ray: it is what Ray imports.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from sparsight.bundle import open_bundle
from sparsight.codec.payload import VERSION
from sparsight.errors import BundleError
from sparsight.wire import FrameFeatures
from sparsight_cloud.serving.batching import Computed
from sparsight_cloud.serving.dispatch import Replica, Serves
from sparsight_cloud.serving.places import Ticket


@dataclass(frozen=True, slots=True)
class Model:
    """What every replica computes with.

    Attributes:
        load: Makes it, in the replica's process: pickled by name, so it must be importable there.
        serves: What it will answer.
    """

    load: Callable[[], Replica]
    serves: Serves

    @classmethod
    def of_bundles(cls, folders: Sequence[Path], device: str = "cpu") -> Model:
        """Check some bundles here, to be loaded there; needs no torch.

        Args:
            folders: Of the bundles, at the same place on every machine of the cluster.
            device: Where torch computes there, `cpu` or `cuda`.

        Raises:
            BundleError: One is missing, damaged, or has no codec.
        """
        bundles = [open_bundle(folder.resolve()) for folder in folders]
        for bundle in bundles:
            if not bundle.manifest.rates:
                raise BundleError(
                    f"{bundle.folder}: has no codec and can't be run in two halves; train one with "
                    "`stage: bottleneck` (docs/data.md) or take another bundle"
                )
        return cls(
            partial(_load_bundles, [bundle.folder for bundle in bundles], device),
            Serves(
                bundles={bundle.manifest.cloud_id: bundle.manifest.classes for bundle in bundles},
                codec_versions=frozenset({VERSION}),
            ),
        )


@dataclass(frozen=True, slots=True)
class Broken:
    """The model raised over a batch.

    Attributes:
        why: What, in one line.
    """

    why: str


class RayReplica:
    """Owns a model; an instance is one replica of Serve's."""

    def __init__(self, load: Callable[[], Replica], *, on_loopback: bool) -> None:
        """Load the model.

        Args:
            load: Makes it.
            on_loopback: Nobody from another machine calls this one.

        Raises:
            RuntimeError: The model can't be loaded; in one line, which Serve tells the gateway.
        """
        if on_loopback:
            listen_on_loopback()
        self._one_at_a_time = threading.Lock()
        try:
            self._replica = load()
        except Exception as error:
            raise RuntimeError(_one_line(error)) from error
        # What is there now stays: a look over all of it takes 0.15 s, in which no batch moves.
        gc.collect()
        gc.freeze()

    def reconfigure(self, _: object) -> None:
        """Serve wants to tell of what it keeps for gateways that join."""

    def run(self, frames: list[FrameFeatures], _: Ticket) -> Computed | Broken:
        """Answer a batch; its ticket was for the router on the way here."""
        with self._one_at_a_time:
            try:
                return Computed.by(self._replica, frames)
            except Exception as error:
                return Broken(_one_line(error))


def listen_on_loopback() -> None:
    """Have this process's gRPC servers listen on loopback where they want every interface.

    Serve opens a port in every replica on `[::]`, without a token, and unpickles what comes there:
    whoever reaches it runs code. Serve has no setting for the address.
    """
    server: Any = type(grpc.aio.server())
    listen: Callable[[object, str], int] = server.add_insecure_port

    def nearer(self: object, address: str) -> int:
        host, _, port = address.rpartition(":")
        return listen(self, f"127.0.0.1:{port}" if host in ("[::]", "0.0.0.0") else address)

    server.add_insecure_port = nearer


def _load_bundles(folders: Sequence[Path], device: str) -> Replica:
    from sparsight_cloud.serving.replica import BundleReplica

    return BundleReplica.from_bundles(folders, device)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
