"""The arithmetic of limits: what a window's state says, and what it becomes. Pure; times in seconds of any one clock.

A state is two numbers, which mean what their algorithm says.
"""

from __future__ import annotations

from typing import NamedTuple

from protogw.stores.base import Algorithm, Taken, Window


class State(NamedTuple):
    """A token bucket's `first` is its theoretical arrival time (`second` is unused); a sliding window's are the counts
    of this window and of the one before, and `start` is when this one began."""

    first: float
    second: float = 0.0
    start: float = 0.0


def judge(window: Window, state: State | None, cost: int, now: float) -> tuple[Taken, State]:
    """What comes of taking `cost` now, and the state if it is taken."""
    if window.algorithm is Algorithm.TOKEN_BUCKET:
        taken, arrival = bucket(window, state.first if state is not None else 0.0, cost, now)
        return taken, State(arrival)
    return _sliding(window, state, cost, now)


def expires(window: Window, state: State, now: float) -> float:
    """From when on the state says no more than none would."""
    return state.first if window.algorithm is Algorithm.TOKEN_BUCKET else state.start + 2 * window.per_s


def bucket(window: Window, arrival: float, cost: int, now: float) -> tuple[Taken, float]:
    """What comes of taking `cost` now from a token bucket with this theoretical arrival time (0.0 for a new one), and
    the arrival time afterwards."""
    if arrival < now:
        arrival = now
    emission = window.emission_s
    reach = now + window.tolerance_s
    after = arrival + emission * cost
    if after - reach > slack(now):
        retry = after - reach if cost <= window.burst else window.per_s
        return Taken(False, max(0, int((reach - arrival) / emission + 1e-6)), arrival - now, retry), arrival
    return Taken(True, max(0, int((reach - after) / emission + 1e-6)), after - now, 0.0), after


def slack(now: float) -> float:
    """By how many seconds something may come early, so that what is due at this very moment is not refused by
    rounding."""
    return 1e-9 * max(1.0, now)


def _sliding(window: Window, state: State | None, cost: int, now: float) -> tuple[Taken, State]:
    start = now - now % window.per_s
    count, before = 0.0, 0.0
    if state is not None:
        if state.start == start:
            count, before = state.first, state.second
        elif state.start == start - window.per_s:
            before = state.first
    gone = (now - start) / window.per_s
    used = count + before * (1.0 - gone)
    reset = start + window.per_s - now
    if used + cost > window.amount + 1e-9:
        room = window.amount - count - cost
        # Within this window the one before counts less and less; else this one must become the one before.
        if before > 0 and room >= 0:
            retry = (1.0 - room / before) * window.per_s - (now - start)
        elif count > 0 and cost <= window.amount:
            retry = reset + max(0.0, 1.0 - (window.amount - cost) / count) * window.per_s
        else:
            retry = reset
        return Taken(False, max(0, int(window.amount - used)), reset, max(retry, 0.001)), State(count, before, start)
    return (
        Taken(True, max(0, int(window.amount - used - cost + 1e-9)), reset, 0.0),
        State(count + cost, before, start),
    )
