"""Recorded payloads instead of pictures: a device's spool, a gateway's archive.

    folders ─ files of frames ─> items: a record each, every key once           `find_recorded`
    item ─ read ─ decode ─ synthesis on the kept cells ─> Looked                `Recall`

Only the cloud's half is run, so another head can be tried on flights that are over. Its codec must
be that of the payloads: what a bundle coded is read by it, and by one that has the same steps and
tables, such as one whose head alone was trained on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from sparsight.bundle import TABLES, Manifest
from sparsight.codec.chain import Reader, whole_of
from sparsight.codec.payload import BUNDLE_BYTES, peek
from sparsight.errors import BundleError, PayloadError, SparsightError, SpoolError, UsageError
from sparsight.frame_file import MARK, Found, Record, body_of, read_file
from sparsight.model.coding import kept_of
from sparsight.model.detector import Detector
from sparsight.model.passes import SplitPass
from sparsight.wire import FrameFeatures, FrameKey, WireError, unpack_device_message
from sparsight_cloud.batch.items import Item
from sparsight_cloud.batch.reading import Lost, ms_since
from sparsight_cloud.batch.stages import Looked

SEGMENTS = "*.seg"
"""Names of the files."""


def find_recorded(given: Sequence[str]) -> list[Item]:
    """List the frames of some folders, each once.

    Args:
        given: Spools, archives or folders of them, or single files of theirs; on this machine's
            disks.

    Returns:
        At least one item, which names a record; one that rotted is an item, too, and will be a row
        with an error.

    Raises:
        UsageError: There is no frame, or a folder can't be read.
        SpoolError: A file is of a later version.
    """
    seen: set[FrameKey] = set()
    items = []
    for one in given:
        for file in _files(one):
            try:
                found = read_file(file)
                data = b"" if found is None else file.read_bytes()
            except OSError as error:
                raise UsageError(f"{file}: can't be read ({error.strerror})") from error
            for record in [] if found is None else found.records:
                key = _key(data, record, found)
                if key is None or key not in seen:
                    items.append(_item(file, record, key))
                if key is not None:
                    seen.add(key)
    if not items:
        raise UsageError(
            f"nothing found: no frame in {', '.join(given)}; give the folder of a device's --spool "
            "or of a cloud's --archive"
        )
    return items


def _files(given: str) -> list[Path]:
    path = Path(given)
    if "://" in given:
        raise UsageError(f"{given}: recorded payloads are read from local folders; fetch it first")
    if path.is_file():
        return [path.resolve()]
    if not path.is_dir():
        raise UsageError(f"{given} is neither a file nor a folder")
    return sorted(file.resolve() for file in path.rglob(SEGMENTS))


def _key(data: bytes, record: Record, found: Found | None) -> FrameKey | None:
    body = body_of(data[record.begin : record.end], old=found is not None and found.old)
    try:
        return None if body is None else _unpacked(body).key
    except SparsightError:
        return None


def _item(file: Path, record: Record, key: FrameKey | None) -> Item:
    named = "" if key is None else f"{key.device}/{key.epoch}/{key.seq}"
    return Item(str(file), record.place, record.begin, record.end - record.begin, named)


def codings(manifest: Manifest, coded_by: Manifest | None) -> tuple[str, ...]:
    """Whose payloads a bundle's deep part can be given, as they name their bundle.

    Args:
        manifest: Of the bundle.
        coded_by: Of another bundle, which coded them.

    Raises:
        UsageError: It has another codec.
        BundleError: The bundle has none.
    """
    if not manifest.rates:
        raise BundleError(f"bundle {manifest.name}: has no codec, so there are no payloads for it")
    own = manifest.cloud_id[: 2 * BUNDLE_BYTES]
    if coded_by is None:
        return (own,)
    same = [rate.steps for rate in coded_by.rates] == [rate.steps for rate in manifest.rates]
    if not same or coded_by.sha256.get(TABLES) != manifest.sha256.get(TABLES):
        raise UsageError(
            f"--coded-by: bundle {coded_by.name} has another codec than {manifest.name}; payloads "
            "are for heads that were trained behind the codec that made them"
        )
    return (own, coded_by.cloud_id[: 2 * BUNDLE_BYTES])


class Recall:
    """What stands for a device: recorded payloads to P3 of the kept cells."""

    def __init__(self, bundle: Path, codings: Sequence[str], device: str = "cpu") -> None:
        """Load the bundle.

        Args:
            bundle: Its folder.
            codings: Whose payloads are read.
            device: Torch's name of what computes.

        Raises:
            BundleError: It can't be loaded, or has no codec.
        """
        self._detector = Detector.from_bundle(bundle)
        if self._detector.codec is None:
            raise BundleError(f"{bundle}: has no codec")
        self._detector.network.to(device)
        self._codec = self._detector.codec
        self._reader = Reader(self._codec.tables)
        self._codings = frozenset(codings)

    def run(self, items: Sequence[Item]) -> Iterator[Looked | Lost]:
        """Recall some frames, one after the other."""
        for item in items:
            begin_s = time.perf_counter()
            try:
                frame = _frame(item)
                read_ms = ms_since(begin_s)
                yield self._looked(frame, read_ms)
            except Exception as error:  # one frame's trouble is not the others'
                yield Lost(f"{item.changed or item.name}: {error}", ms_since(begin_s))

    @torch.inference_mode()
    def _looked(self, frame: FrameFeatures, read_ms: float) -> Looked:
        begin_s = time.perf_counter()
        head = peek(whole_of(frame.payload))
        if head.bundle_prefix not in self._codings:
            raise PayloadError(
                f"coded by bundle {head.bundle_prefix}..., this one reads payloads of "
                f"{' and '.join(sorted(self._codings))}; name the bundle that made it with "
                "--coded-by, if both have one codec"
            )
        coded = self._reader.read(frame.payload)
        if coded.grid_hw != frame.letterbox.cells_hw:
            raise PayloadError(
                f"payload: a map of {coded.grid_hw} cells, the letterbox has "
                f"{frame.letterbox.cells_hw}"
            )
        kept = kept_of(coded)
        area = SplitPass(self._detector.network, self._detector.cost, [kept]).area
        p3 = self._codec.rows([coded], area)[:, :, 0, 0].cpu().numpy()
        return Looked(frame.letterbox, kept, p3, read_ms, ms_since(begin_s), frame.key)


def _frame(item: Item) -> FrameFeatures:
    with Path(item.path).open("rb") as file:
        file.seek(item.stamp or 0)
        data = file.read(item.size_bytes)
    body = body_of(data, old=not data.startswith(MARK))
    if body is None:
        raise SpoolError("rotted on the disk, or changed since it was listed")
    return _unpacked(body)


def _unpacked(body: bytes) -> FrameFeatures:
    message = unpack_device_message(body)
    if not isinstance(message, FrameFeatures):
        raise WireError("no frame")
    return message
