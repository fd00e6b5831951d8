"""Which replica gets a batch, for Ray Serve: one that idles, if there is one.

    batch, `Ticket` ─> `Places` ranks the replicas ─> Serve sends it to the first that has room

Serve's own router counts what each replica has, too, but hears that a batch is done a millisecond
after we have its answer. The next batch is on its way by then: with two replicas at 60 % load every
tenth one stood behind another while a replica idled. So each batch brings the truth along: a ticket
that says which others are under way.

Ray imports this module and pickles all of it, by value: what has a state or a type of its own is in
`places`. The base class is public, `ray.serve.request_router`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, no_type_check

from ray.serve.request_router import RequestRouter

from sparsight_cloud.serving.places import Places

if TYPE_CHECKING:
    from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica


@no_type_check  # the tests' checks can't be pickled
class IdleFirst(RequestRouter):
    """Serve's router for calls whose last argument is a `Ticket`."""

    def initialize_state(self, **_: object) -> None:
        """Nothing is under way."""
        self._places: Places[ReplicaID] = Places()

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Rank them; Serve takes the first that has room."""
        if pending_request is None:
            return [candidate_replicas]
        ticket = pending_request.args[-1]
        by_id = {replica.replica_id: replica for replica in candidate_replicas}
        ranked = self._places.ranked([*by_id], ticket)
        if ranked:
            # Two that leave in the same moment must not choose the same one.
            self._places.put(ticket, ranked[0])
        return [[by_id[replica_id]] for replica_id in ranked]

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: object
    ) -> None:
        """Other gateways may have filled the one that was chosen."""
        self._places.put(pending_request.args[-1], replica_id)
