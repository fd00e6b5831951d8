"""All rows over all frames, dealt out to processes.

    what is missing in the store ─ jobs ─┬─ process 1: frame ─ prepare ─ shoot ─ save
                                         └─ process 2: ...

A job is a frame and a curve, or a video and one of its rows. Processes share nothing but the store,
so a run goes on where it was stopped, with more of them or fewer. Each has one thread: CPU times
mean something, and two processes are quicker than one with two threads.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import groupby

from rich.console import Console

from sparsight.errors import UsageError
from sparsight_cloud.data.dataset import LabelledImage
from sparsight_cloud.progress import counting
from sparsight_cloud.rates.rows import Curve
from sparsight_cloud.rates.store import Store, joint_hash
from sparsight_cloud.rates.worker import Job, Setup, Video, Worker, begin, do


def videos_of(
    images: Sequence[LabelledImage], frames: Sequence[str], fps: float
) -> tuple[Video, ...]:
    """Cut a folder's frames into videos: another size or another camera's name begins a new one.

    Args:
        images: In the order in which they were taken; a camera's name is a picture's without its
            digits at the end.
        frames: Their names in the store.
        fps: Frames a second.
    """
    videos = []
    pairs = zip(images, frames, strict=True)
    for _, group in groupby(pairs, key=lambda pair: _camera(pair[0])):
        members = list(group)
        names = [f"{fps:g} fps", *(name for _, name in members)]
        so_far = tuple(joint_hash(names[: i + 2]) for i in range(len(members)))
        videos.append(Video(tuple(image for image, _ in members), so_far))
    return tuple(videos)


def frame_jobs(
    some: Sequence[Curve], images: Sequence[LabelledImage], frames: Sequence[str], store: Store
) -> list[Job]:
    """What is missing of still frames, frame after frame: a frame's look is kept for a while."""
    jobs = []
    for image, frame in zip(images, frames, strict=True):
        for curve in some:
            rows = tuple(row for row in curve.rows if not store.has(row, frame))
            if rows:
                jobs.append(Job(rows, (image,), (frame,)))
    return jobs


def video_jobs(some: Sequence[Curve], videos: Sequence[Video], store: Store) -> list[Job]:
    """What is missing of videos."""
    return [
        Job((row,), video.images, video.frames)
        for curve in some
        for row in curve.rows
        for video in videos
        if not all(store.has(row, name) for name in video.frames)
    ]


def sweep(jobs: Sequence[Job], setup: Setup, processes: int, console: Console) -> None:
    """Do all jobs; what is done stays done, whatever ends this.

    Args:
        jobs: What to do.
        setup: What with.
        processes: How many at a time.
        console: Shows progress and the time left.

    Raises:
        PictureError: A frame can't be read: figures of some of the frames would mislead.
        KeyboardInterrupt: Ctrl-C, after the processes have ended.
    """
    if not jobs:
        return
    # The estimate looks back over many jobs: rows differ by a factor of ten.
    with counting(console, looks_back_s=600) as bar:
        task = bar.add_task("rows", total=sum(job.size for job in jobs))
        for done in _done(jobs, setup, min(processes, len(jobs))):
            bar.advance(task, done)


def _done(jobs: Sequence[Job], setup: Setup, processes: int) -> Iterator[int]:
    """Sizes of the jobs as they are done."""
    if processes == 1:
        worker = Worker(setup)
        yield from (worker.do(job) for job in jobs)
        return
    # Forked, torch and onnxruntime may hang in locks that another thread held.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(processes, context, begin, (setup, stop))
    try:
        with _for_children():
            futures = [pool.submit(do, job) for job in jobs]
        yield from (future.result() for future in as_completed(futures))
    except BrokenProcessPool as error:
        raise UsageError(
            "a process ended, maybe for lack of memory; what is done is kept: run the same again "
            "with fewer --processes"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _for_children() -> Iterator[None]:
    """What processes that are started within the block inherit.

    They have one thread, and Ctrl-C, which a terminal sends to all, is for their parent alone.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    before = {name: os.environ.get(name) for name in threads}
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(threads)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _camera(image: LabelledImage) -> tuple[str, tuple[int, int]]:
    return image.path.stem.rstrip("0123456789"), image.frame_hw
