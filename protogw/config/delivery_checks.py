"""What a route says of several upstreams: keys that mean something only then, and upstreams that do not go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protogw.config.document import Document
from protogw.config.faults import Place
from protogw.config.kinds import Kinds, default_schema
from protogw.config.raw_checks import raw_kind
from protogw.words import hint, quoted

_OF_SEVERAL = ("sticky_by", "override", "canary")
_BESIDE = ("mirror", "shadow")
_BEYOND_KEYS = ("query", "media_type")
"""Where an override is that is no part of a call's message and metadata."""


def check_delivery(
    document: Document, place: Place, route: Mapping[str, Any], upstreams: Mapping[str, Any], kinds: Kinds
) -> None:
    """Add the faults of how a route shares, mirrors and compares its calls to the document."""
    to = route.get("to")
    weights: Mapping[str, Any] = to if isinstance(to, dict) else {to: 1} if isinstance(to, str) else {}
    for key in _OF_SEVERAL:
        if key in route and len(weights) < 2:
            document.fault((*place, key), "is for a route `to` several upstreams", key=True)
    if weights and not any(_number(weight) for weight in weights.values()):
        document.fault((*place, "to"), "has only weights of 0: no call could be carried")
    if len(weights) > 1 or any(key in route for key in _BESIDE):
        for key in ("fan_in", "share"):
            if key in route:
                message = "is for a route to one upstream, without mirror and shadow"
                document.fault((*place, key), message, key=True)
    described = {name: _described(upstreams[name], kinds) for name in weights if isinstance(upstreams.get(name), dict)}
    if len(set(described.values())) > 1:
        without = next(name for name, known in described.items() if not known)
        message = f"mixes upstreams with a schema and without: {quoted(without)} carries plain HTTP only"
        document.fault((*place, "to"), message)
    for key in _BESIDE:
        _beside(document, (*place, key), route.get(key), upstreams, kinds, opaque=False in described.values())
    _canary(document, (*place, "canary"), route, weights)
    override = route.get("override")
    asked: Mapping[str, Any] = override if isinstance(override, dict) else {}
    cache, vary = _cache(document, route, kinds) if asked else ("", None)
    for key in _BEYOND_KEYS:
        if cache and key in asked:
            message = f"is in no key of {cache}, which would give one version's answers for another's: use a header"
            document.fault((*place, "override", key), message, key=True)
    header = asked.get("header")
    if isinstance(header, str) and isinstance(vary, list) and header.lower() not in [str(one).lower() for one in vary]:
        message = f"is not in vary of {cache}, which leaves it out: nobody would get the version that they name"
        document.fault((*place, "override", "header"), message)
    names = asked.get("names")
    for word, name in names.items() if isinstance(names, dict) and len(weights) > 1 else ():
        if name not in weights:
            message = f"is not one of the route's; there are {', '.join(weights)}"
            document.fault((*place, "override", "names", word), message)


def _cache(document: Document, route: Mapping[str, Any], kinds: Kinds) -> tuple[str, object]:
    """The first policy of the route's chain that keeps answers, and its `vary`; empty when none does."""
    policies = document.data.get("policies")
    use = route.get("use", document.data.get("use"))
    for name in use if isinstance(use, list) else [use]:
        written = policies.get(name) if isinstance(policies, dict) and isinstance(name, str) else None
        for kind, settings in written.items() if isinstance(written, dict) else ():
            if hasattr(kinds.policies.get(kind), "purge"):
                vary = settings.get("vary") if isinstance(settings, dict) else None
                return f"policies.{name}", [vary] if isinstance(vary, str) else vary
    return "", None


def _beside(
    document: Document, place: Place, written: object, upstreams: Mapping[str, Any], kinds: Kinds, *, opaque: bool
) -> None:
    """Where copies go: an upstream that there is, and that speaks of the same."""
    name = written.get("to") if isinstance(written, dict) else None
    if not isinstance(name, str):
        return
    upstream = upstreams.get(name)
    if upstream is None:
        document.fault((*place, "to"), f"no upstream has the name {quoted(name)}{hint(name, upstreams)}")
    elif isinstance(upstream, dict) and (raw := raw_kind(upstream, kinds)) is not None:
        document.fault((*place, "to"), f"{quoted(name)} is {raw}, which a listener passes through")
    elif opaque and place[-1] == "shadow":
        document.fault(place, "compares answers by their schema, and plain HTTP has none", key=True)
    elif isinstance(upstream, dict) and _described(upstream, kinds) is opaque:
        which = "carries plain HTTP only" if not opaque else "has a schema, and the route carries plain HTTP"
        document.fault((*place, "to"), f"{quoted(name)} {which}")


def _canary(document: Document, place: Place, route: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    written = route.get("canary")
    if (written is not True and not isinstance(written, dict)) or len(weights) < 2:
        return
    settings = written if isinstance(written, dict) else {}
    new = settings.get("upstream", list(weights)[-1])
    if new not in weights:
        document.fault((*place, "upstream"), f"is not one of the route's; there are {', '.join(weights)}")
    elif not any(_number(weight) for name, weight in weights.items() if name != new):
        document.fault(place, f"leaves nobody to go back to: all but {quoted(new)} have a weight of 0", key=True)
    rollback = settings.get("rollback")
    if isinstance(rollback, dict) and rollback.get("diff") is not None and "shadow" not in route:
        document.fault((*place, "rollback", "diff"), "is of what a shadow finds, and the route has none", key=True)


def _number(weight: object) -> bool:
    """A weight above 0, or what the models find fault with."""
    return weight != 0 or isinstance(weight, bool)


def _described(upstream: Mapping[str, Any], kinds: Kinds) -> bool:
    kind = next((kind for kind in upstream if kind in kinds.translators), None)
    return kind is not None and default_schema(kinds.translators[kind]) != "none"
