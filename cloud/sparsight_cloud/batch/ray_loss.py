"""Nodes that a cluster loses on the way, and flows that come to nothing.

    flow begins ─ nodes noted ─> shards come, ...          a node goes: others do what is left
                                 none for a while ─ a node gone ─> `NodeLostError`, a new flow
                                                  └ all there ───> much later, the end of the run

Ray starts the processes of a lost node anew where it finds room. On a cluster that is full there is
none before others end, which Ray Data has them do when they have nothing left (so it went in
`bench.batch_nodes`). What is not mended so within a while gets a new flow.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sparsight.errors import UsageError

if TYPE_CHECKING:
    from ray.data._internal.execution.execution_callback import ExecutionCallback

_LOOK_S = 1.0
_PATIENCE_S = 15.0  # after a node is gone; a new flow loads the bundle anew, which takes as long
_PATIENCE_SHARDS = 3.0  # of the longest that a shard took, if that is longer
_STALL_S = 1800.0
_STALL_PICTURE_S = 30.0  # a shard may have thousands of large pictures


class NodeLostError(Exception):
    """A flow can't go on as it was begun, for a node is gone; over what is left a new one can."""


class Progress:
    """Knows with which nodes a flow began, and when a shard last came out of it."""

    def __init__(self, pictures: int) -> None:
        """A flow that begins now, on the cluster that this process is connected to.

        Args:
            pictures: The most that a shard has.
        """
        self._nodes = _alive()
        self._came_s = self._looked_s = time.monotonic()
        self._longest_s = 0.0
        self._stall_s = max(_STALL_S, pictures * _STALL_PICTURE_S)

    def came(self, took_s: float) -> None:
        """A shard was done."""
        self._came_s = time.monotonic()
        self._longest_s = max(self._longest_s, took_s)

    def node_is_lost(self) -> bool:
        """Whether a node is gone that was there when the flow began."""
        return not self._nodes <= _alive()

    def check(self) -> None:
        """Called again and again while the flow goes on.

        Raises:
            NodeLostError: A node is gone, and for a while nothing came.
            UsageError: Nothing came for so long that nothing will.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        idle_s = now_s - self._came_s
        if idle_s > self._stall_s:
            raise UsageError(
                f"no shard was done for {idle_s / 60:.0f} minutes; what is done stays, and the "
                "same command goes on from there"
            )
        patience_s = max(_PATIENCE_S, _PATIENCE_SHARDS * self._longest_s)
        if idle_s > patience_s and self.node_is_lost():
            raise NodeLostError


def callback_of(progress: Progress) -> type[ExecutionCallback]:
    """What has Ray Data check at every step of a flow, in its own thread."""
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    # Ray pickles it with its settings. A class statement in here would not bear that where
    # arguments are checked at run time, as in the tests.
    members = {"on_execution_step": lambda _self, _executor: progress.check()}
    return type("Check", (ExecutionCallback,), members)


def _alive() -> frozenset[str]:
    import ray

    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])
