"""A training run: its processes, and what happens when one of them ends.

    run_training ─┬─ Loop, rank 0: clock, files, watcher ──┐ gradients, time and the wish
                  ├─ Loop, rank 1 (fork)                 ──┤ to stop, summed every step
                  └─ ...                                 ──┘

On a CPU every process has one thread: two threads in one process are up to seven times slower on
busy cores. Processes fork after decoding, so that they share the
pictures. On a GPU there is one process and no fork, since CUDA doesn't survive one.

A run that was killed goes on from its last checkpoint with the samples it would have drawn.
Ctrl-C and SIGTERM end it after the step with a checkpoint; a second Ctrl-C ends it at once.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import cv2
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from sparsight.errors import SparsightError, TrainingError
from sparsight_cloud.training.config import TrainConfig
from sparsight_cloud.training.exchange import PartnerLost
from sparsight_cloud.training.loop import Loop, Outcome, Watcher
from sparsight_cloud.training.samples import Sampler

HELPER_END_S = 10.0
"""What a helper gets to end by itself."""


def run_training(config: TrainConfig, sampler: Sampler, watcher: Watcher) -> Outcome:
    """Train, or go on training.

    Args:
        config: The run.
        sampler: Draws from the data set; preload it before, processes share what it holds.
        watcher: Is told how it goes.

    Raises:
        TrainingError: The run can't start or go on.
    """
    device = choose_device(config.device)
    ranks = 1 if device.type == "cuda" else config.processes
    make_folder(config.out)
    with (
        alone_in(config.out),
        stop_switch() as switch,
        tempfile.TemporaryDirectory(prefix="sparsight-train-") as meeting,
        threads(1 if device.type == "cpu" else torch.get_num_threads()),
    ):
        context = mp.get_context("fork")
        helpers = [
            context.Process(
                target=_help, args=(rank, ranks, Path(meeting), config, sampler), daemon=True
            )
            for rank in range(1, ranks)
        ]
        for p in helpers:
            p.start()
        try:
            with _group(0, ranks, Path(meeting)):
                loop = Loop(0, ranks, config, sampler, device)
                return loop.go(watcher, switch.is_set)
        except PartnerLost as e:
            raise _why_lost(helpers, Path(meeting)) from e
        finally:
            for p in helpers:
                p.join(HELPER_END_S if sys.exc_info()[0] is None else 1.0)
                if p.is_alive():
                    p.kill()


def make_folder(out: Path) -> None:
    """Make a run's folder.

    Raises:
        TrainingError: It can't be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise TrainingError(
            f"{out}: can't make the run's folder ({e.strerror}); change `out`"
        ) from e


def choose_device(wanted: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means here.

    Raises:
        TrainingError: A GPU was asked for and torch sees none.
    """
    there = wanted != "cpu" and torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise TrainingError("device: cuda was asked for, but torch sees no GPU; use auto or cpu")
    return torch.device("cuda" if there else "cpu")


def _help(rank: int, ranks: int, meeting: Path, config: TrainConfig, sampler: Sampler) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is rank 0's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_with_parent()
    try:
        with threads(1), _group(rank, ranks, meeting):
            Loop(rank, ranks, config, sampler, torch.device("cpu")).go(None, lambda: False)
    except PartnerLost:
        os._exit(0)  # rank 0 is gone, or says itself what happened
    except SparsightError as e:
        _leave_word(meeting, rank, str(e))
    except BaseException:
        _leave_word(meeting, rank, traceback.format_exc())


def _end_with_parent() -> None:
    # Were rank 0 killed before all have met, this process would wait for it for half an hour.
    # Where there is no prctl, gloo notices a little later.
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _leave_word(meeting: Path, rank: int, text: str) -> None:
    try:
        (meeting / f"{rank}.error").write_text(text, encoding="utf-8")
    finally:
        os._exit(1)


def _why_lost(helpers: Sequence[BaseProcess], meeting: Path) -> TrainingError:
    again = "start again to go on from the last checkpoint"
    for rank, p in enumerate(helpers, 1):
        p.join(HELPER_END_S)
        word = meeting / f"{rank}.error"
        if word.exists():
            text = word.read_text(encoding="utf-8").strip().splitlines() or ["?"]
            return TrainingError(f"training process {rank} ended: {text[-1].strip()}; {again}")
        if p.exitcode is not None and p.exitcode < 0:
            name = signal.Signals(-p.exitcode).name
            return TrainingError(
                f"training process {rank} was killed ({name}); {again}, with a smaller `cache_gb` "
                "or fewer `processes` if memory ran out"
            )
    return TrainingError(f"a training process lost contact with the others; {again}")


@contextmanager
def _group(rank: int, ranks: int, meeting: Path) -> Iterator[None]:
    if ranks == 1:
        yield
        return
    if "lo" in {name for _, name in socket.if_nameindex()}:
        # Gloo otherwise looks up the host's name, which fails on machines without a network.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting / 'store'}", rank=rank, world_size=ranks
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for torch and OpenCV; freed memory stays with the process."""
    before, before_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    _keep_freed_memory()
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(before_cv2)


def _keep_freed_memory() -> None:
    # glibc gives every freed map back to the system and fetches it again: a sixth of a step's time
    # was page faults. Without glibc nothing is lost but that.
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        if not libc.mallopt(-3, 1 << 30):  # M_MMAP_THRESHOLD
            libc.mallopt(-3, 1 << 25)  # the most that glibc takes before 2.35
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-2, 1 << 28)  # M_TOP_PAD


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Refuse a second run in the same folder: they would overwrite each other's checkpoints."""
    with (folder / ".lock").open("w") as f:
        try:
            # Not flock: that lock would live on in helpers, and a killed run could not go on.
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise TrainingError(
                f"{folder}: another run is at work there; wait for it or change `out`"
            ) from e
        yield


@contextmanager
def stop_switch() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C or SIGTERM; the second Ctrl-C ends the program."""
    switch = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield switch  # signals are the main thread's
        return

    def press(number: int, frame: FrameType | None) -> None:
        if switch.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        switch.set()

    before = {s: signal.signal(s, press) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield switch
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
