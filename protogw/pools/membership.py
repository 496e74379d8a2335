"""Which of a pool's endpoints calls go to: the ready ones of the first priority with enough, of one's own zone first.

Pure: given what is known of each endpoint, it answers with a tuple.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Member(Protocol):
    """What is asked of an endpoint here."""

    @property
    def priority(self) -> int:
        """0 for those that are used first."""
        ...

    @property
    def zone(self) -> str:
        """Where it is; "" for nowhere in particular."""
        ...


M = TypeVar("M", bound=Member)


def members(endpoints: Sequence[M], ready: Sequence[M], *, panic: float = 50.0, zone: str = "") -> tuple[M, ...]:
    """The endpoints to balance over, never none of `endpoints` (which has at least one).

    The first priority of which at least `panic` percent are ready serves alone, by its ready endpoints; where none has
    so many, every endpoint of the first with any ready one is tried, or of the very first where nothing is ready. Those
    in `zone` serve alone while at least half of that zone's are ready.
    """
    priorities = sorted({endpoint.priority for endpoint in endpoints})
    chosen: tuple[M, ...] | None = None
    for priority in priorities:
        all_of_it = [endpoint for endpoint in endpoints if endpoint.priority == priority]
        ready_ones = [endpoint for endpoint in ready if endpoint.priority == priority]
        if ready_ones and len(ready_ones) * 100 >= len(all_of_it) * panic:
            chosen = tuple(ready_ones)
            break
    if chosen is None:
        # Panic: most being down is likelier a wrong check, and the few left would only be overrun.
        first = next((endpoint.priority for endpoint in sorted(ready, key=lambda one: one.priority)), priorities[0])
        return tuple(endpoint for endpoint in endpoints if endpoint.priority == first)
    if zone:
        near = tuple(endpoint for endpoint in chosen if endpoint.zone == zone)
        there = sum(endpoint.zone == zone and endpoint.priority == chosen[0].priority for endpoint in endpoints)
        if near and len(near) * 2 >= there:
            return near
    return chosen
