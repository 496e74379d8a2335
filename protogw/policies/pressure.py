"""How far a process is from the end of its means, and what part of the calls to refuse for it. Pure decisions, and the
two readings that they are made of.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

_GROW, _SHRINK = 0.3, 0.9
_MOST = 0.95
"""Some calls always get through, to find out whether it has become better."""

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_NO_LIMIT = 1 << 60


class Valve:
    """What part of the calls is refused while a delay is longer than it may be.

    Each look moves the part: up by a share of what is left, the more the worse it is; down by a tenth. What counts is
    the least of the last three delays (as with CoDel, RFC 8289): a burst passes by itself, a queue stays.
    """

    __slots__ = ("_before", "_bound", "part")

    def __init__(self, bound_s: float) -> None:
        self._bound = bound_s
        self._before = (0.0, 0.0)
        self.part = 0.0
        """From 0 to 0.95."""

    def look(self, delay_s: float) -> float:
        """The delay is this now; returns the part."""
        earlier, last = self._before
        self._before = (last, delay_s)
        delay_s = min(earlier, last, delay_s)
        if delay_s > self._bound:
            worse = min(1.0, (delay_s - self._bound) / self._bound)
            self.part = min(_MOST, self.part + (1 - self.part) * _GROW * max(0.2, worse))
        else:
            # Slower the nearer it is to the bound, so that it settles below and does not swing.
            self.part *= _SHRINK + (1 - _SHRINK) * (delay_s / self._bound)
            if self.part < 0.01:
                self.part = 0.0
        return self.part

    def admits(self, rank: int, ranks: int, chance: float) -> bool:
        """Whether a call of this rank of so many (0 is refused first) passes; `chance` is from 0 to 1."""
        return (rank + chance) / ranks >= self.part


def memory_limit() -> int:
    """The bytes that this process may use: what its cgroup has, else the machine; 0 when that cannot be told."""
    for path in _CGROUPS:
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _NO_LIMIT:
            return int(text)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


def memory_used() -> int:
    """The bytes that this process has in memory; 0 when that cannot be told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def descriptors_used() -> float:
    """The share of its file descriptors that this process has open, at least: all below the lowest free one are."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit in (0, resource.RLIM_INFINITY):
        return 0.0
    try:
        free = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 1.0
    os.close(free)
    return free / limit
