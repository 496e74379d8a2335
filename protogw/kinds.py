"""Tables of interchangeable parts: kind → class, with third parties' entry points merged in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, runtime_checkable


def table(group: str, *parts: type[Any]) -> Mapping[str, type[Any]]:
    """The parts by their `kind`, and those registered under the entry-point group `protogw.<group>`.

    Raises ValueError when two parts claim one kind; for third parties' that is told when the table is first read.
    """
    return _Table(group, parts)


class _Table(Mapping[str, type[Any]]):
    """Third parties' parts are loaded when the table is first read: their modules may import ours, and be imported
    before."""

    def __init__(self, group: str, parts: Iterable[type[Any]]) -> None:
        self._group = group
        self._parts: dict[str, type[Any]] = {}
        self._whole = False
        self._add(parts)

    def _add(self, parts: Iterable[type[Any]]) -> None:
        for part in parts:
            kind: str = part.kind
            if kind in self._parts:
                raise ValueError(f"{self._group}: kind {kind!r} is claimed by both {self._parts[kind]!r} and {part!r}")
            self._parts[kind] = part

    def _all(self) -> Mapping[str, type[Any]]:
        if not self._whole:
            self._add([point.load() for point in entry_points(group=f"protogw.{self._group}")])
            self._whole = True
        return self._parts

    def __getitem__(self, kind: str) -> type[Any]:
        return self._all()[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"<table of {self._group}: {', '.join(self._parts)}>"


@runtime_checkable
class Gaps(Protocol):
    """A part that cannot carry all of what its counterparts can, and says so."""

    gaps: ClassVar[Mapping[str, str]]
    """Call shape → what of it is lost, to whom; under "" what is lost in every shape. `protogw explain` shows it."""
