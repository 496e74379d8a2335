"""Tables of interchangeable parts: kind → class, with third parties' entry points merged in."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable


def table(group: str, *parts: type[Any]) -> Mapping[str, type[Any]]:
    """The parts by their `kind`, and those registered under the entry-point group `protogw.<group>`.

    Raises ValueError when two parts claim one kind.
    """
    found: dict[str, type[Any]] = {}
    external: list[type[Any]] = [point.load() for point in entry_points(group=f"protogw.{group}")]
    for part in (*parts, *external):
        kind: str = part.kind
        if kind in found:
            raise ValueError(f"{group}: kind {kind!r} is claimed by both {found[kind]!r} and {part!r}")
        found[kind] = part
    return MappingProxyType(found)


@runtime_checkable
class Gaps(Protocol):
    """A part that cannot carry all of what its counterparts can, and says so."""

    gaps: ClassVar[Mapping[str, str]]
    """Call shape → what of it is lost, to whom; under "" what is lost in every shape. `protogw explain` shows it."""
