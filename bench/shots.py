"""Several ways of running a detector over the same frames, interleaved and timed.

    frame 1: dense  patches  sparse  sahi | frame 2: dense  patches  sparse  sahi | ...

Frame by frame and not way by way: on a machine that others use, too, every way meets the same
weather. Files are read outside the measured time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from bench.variants import Answer, Run
from jaxtyping import UInt8
from rich.console import Console

from sparsight_cloud.progress import counting


@dataclass(frozen=True, slots=True)
class Source:
    """A frame that is read when its turn comes.

    Attributes:
        name: For people.
        read: Gives its pixels.
    """

    name: str
    read: Callable[[], UInt8[np.ndarray, "h w 3"]]


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame through one way.

    Attributes:
        source: Name of the frame.
        ms: Wall time from pixels to objects, in milliseconds.
        answer: What came of it.
    """

    source: str
    ms: float
    answer: Answer


def shoot(
    runs: Mapping[str, Run], sources: Sequence[Source], console: Console, title: str
) -> dict[str, list[Shot]]:
    """Run every frame through every way.

    Each way first runs the first frame once, uncounted: libraries compile and allocate in it.

    Args:
        runs: The ways by key.
        sources: The frames, at least one.
        console: Shows progress and the time left.
        title: What is going on, for people.

    Returns:
        A shot for each frame, in order, of each way.

    Raises:
        PictureError: A frame can't be read: a table of some of the frames would mislead.
    """
    shots: dict[str, list[Shot]] = {key: [] for key in runs}
    with counting(console) as progress:
        task = progress.add_task(title, total=(len(sources) + 1) * len(runs))
        for i, source in enumerate([sources[0], *sources]):
            frame = source.read()
            for key, run in runs.items():
                start_s = time.perf_counter()
                answer = run(frame)
                ms = (time.perf_counter() - start_s) * 1e3
                if i:
                    shots[key].append(Shot(source.name, ms, answer))
                progress.advance(task)
    return shots
