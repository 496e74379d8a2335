"""What a route says of several upstreams: keys that mean something only then, and upstreams that do not go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protogw.config.document import Document
from protogw.config.faults import Place, quoted
from protogw.config.kinds import Kinds, default_schema

_OF_SEVERAL = ("sticky_by", "override")


def check_delivery(
    document: Document, place: Place, route: Mapping[str, Any], upstreams: Mapping[str, Any], kinds: Kinds
) -> None:
    """Add the faults of how a route shares its calls to the document."""
    to = route.get("to")
    several = isinstance(to, dict) and len(to) > 1
    for key in _OF_SEVERAL:
        if key in route and not several:
            document.fault((*place, key), "is for a route `to` several upstreams", key=True)
    if not isinstance(to, dict):
        return
    if to and all(weight == 0 for weight in to.values() if not isinstance(weight, bool)):
        document.fault((*place, "to"), "has only weights of 0: no call could be carried")
    if not several:
        return
    for key in ("fan_in", "share"):
        if key in route:
            document.fault((*place, key), "is for a route to one upstream", key=True)
    described = {name: _described(upstreams[name], kinds) for name in to if isinstance(upstreams.get(name), dict)}
    if len(set(described.values())) > 1:
        without = next(name for name, known in described.items() if not known)
        message = f"mixes upstreams with a schema and without: {quoted(without)} carries plain HTTP only"
        document.fault((*place, "to"), message)


def _described(upstream: Mapping[str, Any], kinds: Kinds) -> bool:
    kind = next((kind for kind in upstream if kind in kinds.translators), None)
    return kind is not None and default_schema(kinds.translators[kind]) != "none"
