"""What the models cannot say of raw listeners and upstreams; as checks.py, over the document and of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from protogw.config.document import Document
from protogw.config.faults import Place
from protogw.config.kinds import Kinds
from protogw.config.units import parse_target
from protogw.config.upstreams import Upstream
from protogw.words import hint, quoted

_OF_PROTOCOLS = ("offer", "limits")
"""A listener's keys that a raw one has no use for, beside the front ends' own."""

_RAW = frozenset(("tls", "balance", "connect_timeout", "proxy_protocol", "discovery"))
_OF_CALLS = frozenset(field.alias or name for name, field in Upstream.model_fields.items()) - _RAW
"""An upstream's keys that a raw one has no use for."""


def raw_kind(written: object, kinds: Kinds) -> str | None:
    """The passthrough that a listener or upstream is, None for those that speak protocols."""
    return next((kind for kind in kinds.passthroughs if isinstance(written, dict) and kind in written), None)


def transport(listener: Mapping[str, Any], kinds: Kinds) -> str:
    """What its port is one of: TCP and UDP each have their own."""
    kind = raw_kind(listener, kinds)
    found: str = "tcp" if kind is None else kinds.passthroughs[kind].transport
    return found


def check_raw_listener(
    document: Document, place: Place, listener: Mapping[str, Any], upstreams: Mapping[str, Any], kinds: Kinds
) -> None:
    kind = raw_kind(listener, kinds)
    if kind is None:
        return
    part = kinds.passthroughs[kind]
    for key in listener:
        at = (*place, key)
        if key in kinds.passthroughs and key != kind:
            document.fault(at, f"a listener is raw in one way, and this one already is {quoted(kind)}", key=True)
        elif key == "limits":
            document.fault(at, f"are those of protocols: a raw listener has {kind}.limits", key=True)
        elif key in _OF_PROTOCOLS or key in kinds.front_ends:
            document.fault(at, f"goes with protocols, and this listener passes {kind} through", key=True)
        elif (key == "tls" and not part.secures) or (key == "proxy_protocol" and not part.proxied):
            document.fault(at, f"is not for {kind}", key=True)
    if "trusted_proxies" in listener and listener.get("proxy_protocol") is not True:
        text = "are believed in PROXY headers here, which this listener does not take: proxy_protocol: true"
        document.fault((*place, "trusted_proxies"), text, key=True)
    settings = listener[kind]
    if "tls" in listener and isinstance(settings, dict) and "sni" in settings:
        text = "reads the name without ending TLS: leave out tls here, or name one upstream with `to`"
        document.fault((*place, kind, "sni"), text, key=True)
    for steps, name in part.targets(settings):
        if isinstance(name, str) and name:
            _target(document, (*place, kind, *steps), name, kind, upstreams, kinds)


def _target(document: Document, place: Place, name: str, kind: str, upstreams: Mapping[str, Any], kinds: Kinds) -> None:
    fitting = [other for other, upstream in upstreams.items() if raw_kind(upstream, kinds) == kind]
    if name not in upstreams:
        guess = hint(name, fitting) if fitting else f"; no upstream is {kind}"
        document.fault(place, f"no upstream has the name {quoted(name)}{guess}")
    elif name not in fitting and isinstance(upstreams[name], dict):
        known = {**kinds.translators, **kinds.passthroughs}
        spoken = next((key for key in upstreams[name] if key in known), "something else")
        guess = f"; did you mean {quoted(fitting[0])}?" if len(fitting) == 1 else ""
        document.fault(place, f"{quoted(name)} is {spoken}, and this listener passes {kind} through{guess}")


def _is_target(written: str) -> bool:
    """It could be an address of another kind; if not, the models say what is wrong with it."""
    try:
        parse_target(written)
    except PydanticCustomError:
        return False
    return True


def check_raw_upstream(document: Document, place: Place, upstream: Mapping[str, Any], kind: str, kinds: Kinds) -> None:
    part = kinds.passthroughs[kind]
    for key in upstream:
        if key in _OF_CALLS:
            document.fault((*place, key), f"goes with calls, and {kind} is passed through", key=True)
        elif (key == "tls" and not part.secures) or (key == "proxy_protocol" and not part.proxied):
            document.fault((*place, key), f"is not for {kind}", key=True)
    endpoints = upstream[kind]
    for index, endpoint in enumerate(endpoints if isinstance(endpoints, list) else [endpoints]):
        written = endpoint.get("address") if isinstance(endpoint, dict) else endpoint
        if isinstance(written, str) and "://" in written and _is_target(written):
            at = (*place, kind, index) if isinstance(endpoints, list) else (*place, kind)
            document.fault(at, f"{quoted(written)} is a URL: {kind} goes to host:port")
