"""The product in small: certificates, a cloud, a device a camera, and what they wrote down.

sparsight pki dev ─> sparsight cloud up <── mTLS ── sparsight edge run  (avenue)
                                        <── mTLS ── sparsight edge run  (street)
"""

from __future__ import annotations

import time
from pathlib import Path

from tools.demo.board import Board
from tools.demo.outcomes import RESULTS, DeviceFiles, Outcome, outcomes_of
from tools.demo.plan import Camera, Plan
from tools.demo.programs import Program, ProgramError, Programs

from sparsight_cloud.sinks.logs import all_records, ends_of

_LOOK_S = 0.1
_READY_S = 600.0  # against a hang; Ray and torch take 20 s on an idle machine
_READY = "listening on "


def stream(plan: Plan, programs: Programs, board: Board) -> tuple[list[Outcome], list[str]]:
    """Run all of it until every device has ended.

    Args:
        plan: What is run.
        programs: Starts what is started; the cloud is ended here, the devices end by themselves.
        board: Shows how far it is.

    Returns:
        What became of every frame, and a line for each device that did not end well.

    Raises:
        ProgramError: The certificates can't be made, or the cloud does not start or stay.
    """
    pki, out = programs.folder / "pki", programs.folder / "cloud"
    with board.step("making certificates"):
        names = [word for camera in plan.cameras for word in ("--device", camera.name)]
        programs.start("pki", "pki", "dev", "--out", str(pki), *names).wait()
    with board.step(f"starting the cloud, computing {plan.computes}"):
        cloud = programs.start("cloud", *_cloud(plan, pki, out))
        address = cloud.wait_for(_READY, _READY_S).removeprefix(_READY).partition(",")[0]
    devices = {
        camera: programs.start(camera.name, *_device(plan, camera, address, programs.folder))
        for camera in plan.cameras
    }
    _watch(devices, cloud, programs.folder, board)
    troubles = [device.ended for device in devices.values() if device.code]
    with board.step("ending the cloud"):
        programs.end(cloud)
    if cloud.code:
        troubles.append(cloud.ended)
    records = list(all_records(ends_of(out)))
    return [
        outcome
        for camera in plan.cameras
        for outcome in outcomes_of(
            camera, DeviceFiles.read(_written(programs.folder, camera)), records
        )
    ], troubles


def _cloud(plan: Plan, pki: Path, out: Path) -> list[str]:
    where = ["--in-process"] if plan.replicas is None else ["--replicas", str(plan.replicas)]
    options = {"pki": pki, "out": out, "bundle": plan.bundle, "listen": "127.0.0.1:0"}
    return ["cloud", "up", *where, *_words(options)]


def _device(plan: Plan, camera: Camera, address: str, folder: Path) -> list[str]:
    pki = folder / "pki"
    options = {
        "source": camera.source,
        "max-frames": len(camera.pictures),
        "fps": plan.fps,
        "cloud": address,
        "bundle": plan.bundle,
        "rate": plan.rate,
        "device": camera.name,
        "stream": camera.name,
        "cert": pki / f"{camera.name}.crt",
        "key": pki / f"{camera.name}.key",
        "ca": pki / "ca.crt",
        "spool": folder / f"{camera.name}-spool",
        "out": _written(folder, camera),
    }
    return ["edge", "run", *_words(options), *camera.options]


def _words(options: dict[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def _watch(devices: dict[Camera, Program], cloud: Program, folder: Path, board: Board) -> None:
    """Until every device has ended."""
    steps = {camera: f"streaming the {camera.name}" for camera in devices}
    for camera, step in steps.items():
        board.begin(step, len(camera.pictures))
    answers = {camera: _Lines(_written(folder, camera) / RESULTS) for camera in devices}
    running = True
    while running:
        running = any(device.code is None for device in devices.values())
        if cloud.code is not None:
            raise ProgramError(cloud.ended)
        board.at({step: answers[camera].count() for camera, step in steps.items()})
        if running:
            time.sleep(_LOOK_S)


def _written(folder: Path, camera: Camera) -> Path:
    return folder / f"{camera.name}-out"


class _Lines:
    """Counts the lines of a file that grows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_bytes = self._lines = 0

    def count(self) -> int:
        """How many there are."""
        if self._file.exists():
            with self._file.open("rb") as file:
                file.seek(self._read_bytes)
                more = file.read()
            self._read_bytes += len(more)
            self._lines += more.count(b"\n")
        return self._lines
