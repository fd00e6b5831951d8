"""Where a gateway's batches are, so that the next one goes to a replica that idles.

batch, ticket ─> forget what is no longer under way ─> fewest of ours, longest left alone
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a batch tells of its gateway's batches.

    Attributes:
        number: Of this one.
        under_way: Numbers of all that have no answer yet, this one among them.
    """

    number: int
    under_way: frozenset[int]


class Places(Generic[R]):
    """Owns which replica has which batch; `R` names a replica."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._at: dict[int, R] = {}
        self._turn: dict[R, int] = {}  # when each was chosen last

    def ranked(self, replicas: Sequence[R], ticket: Ticket) -> list[R]:
        """Replicas, the best for this batch first; what is no longer under way is forgotten.

        Of a batch that left later, and came here earlier, the ticket says nothing.
        """
        self._at = {
            number: replica
            for number, replica in self._at.items()
            if number > ticket.number or number in ticket.under_way - {ticket.number}
        }
        self._turn = {replica: self._turn.get(replica, 0) for replica in replicas}
        held = [*self._at.values()]
        return sorted(replicas, key=lambda one: (held.count(one), self._turn[one]))

    def put(self, ticket: Ticket, replica: R) -> None:
        """A batch goes to a replica."""
        self._at[ticket.number] = replica
        self._turn[replica] = max(self._turn.values(), default=0) + 1
