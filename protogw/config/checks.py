"""What the models cannot say: names that must exist, addresses that clash, keys that exclude each other.

Reads the document, not the models, and tolerates any shape, so that these faults are told beside all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from protogw.config.delivery_checks import check_delivery
from protogw.config.document import Document
from protogw.config.faults import Place
from protogw.config.kinds import Kinds, default_schema, goes_by_key, options_key, takes_path
from protogw.config.raw_checks import check_raw_listener, check_raw_upstream, raw_kind, transport
from protogw.config.routes import VERBS, RestBinding
from protogw.config.sources import LIVE
from protogw.config.units import Address, admin_address, parse_listen_address, parse_target
from protogw.config.upstreams import Upstream
from protogw.values import parse_duration
from protogw.words import hint, quoted

_BINDINGS = (*VERBS, "custom")
_OF_ONE_METHOD = ("rest", "websocket", "fan_in")
"""What a route may say of a single method only."""
_SAYS = frozenset(("to", *_OF_ONE_METHOD, "share", "mirror", "shadow", "timeout", "max_timeout", "use"))
"""What a route without `call` may be there for."""


def check(document: Document, kinds: Kinds) -> None:
    """Add the faults between parts of the document to it."""
    data = document.data
    listeners = _mapping(data.get("listeners"))
    upstreams = _mapping(data.get("upstreams"))
    policies = _mapping(data.get("policies"))
    _listeners(document, listeners, upstreams, kinds)
    for name, upstream in upstreams.items():
        if isinstance(upstream, dict):
            _upstream(document, ("upstreams", name), upstream, kinds)
    for name, policy in policies.items():
        if isinstance(policy, dict):
            kind = _one_kind(document, ("policies", name), policy, kinds.policies, "a policy")
            if kind is not None:
                _named_by(document, ("policies", name, kind), policy[kind], policies, kinds.policies[kind])
    _names(document, ("use",), data.get("use"), policies, "policy")
    _subjects(document, _mapping(data.get("consumers")), policies)
    routes = data.get("routes")
    named: set[str] = set()
    for index, route in enumerate(routes if isinstance(routes, list) else ()):
        if isinstance(route, dict):
            given = route.get("name")
            if isinstance(given, str):
                if given in named:
                    document.fault(("routes", index, "name"), f"{quoted(given)} is the name of another route")
                named.add(given)
            _route(document, ("routes", index), route, upstreams, policies, kinds)
            _offers(document, ("routes", index), route, kinds)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _many(value: object) -> Iterable[tuple[tuple[int, ...], Any]]:
    """The items of a list, each with its step, or the one value that stands for a list."""
    if isinstance(value, list):
        return [((index,), item) for index, item in enumerate(value)]
    return [] if value is None else [((), value)]


def _parsed(parse: Callable[[object], Any], value: object) -> Any:
    """What `parse` makes of the value, or None when the value is bad (which the models report)."""
    try:
        return parse(value)
    except PydanticCustomError:
        return None


def _listeners(document: Document, listeners: Mapping[str, Any], upstreams: Mapping[str, Any], kinds: Kinds) -> None:
    taken: list[tuple[Address, Place, str]] = []
    for name, listener in listeners.items():
        if not isinstance(listener, dict):
            continue
        place: Place = ("listeners", name)
        address = _parsed(parse_listen_address, listener.get("address"))
        if address is not None:
            _clash(document, taken, address, (*place, "address"), transport=transport(listener, kinds))
        if listener.get("proxy_protocol") is True and not listener.get("trusted_proxies"):
            message = "needs trusted_proxies, the addresses whose word is believed"
            document.fault((*place, "proxy_protocol"), message, key=True)
        check_raw_listener(document, place, listener, upstreams, kinds)
        offer = [item for _, item in _many(listener.get("offer"))]
        for kind in kinds.front_ends:
            if kind in listener and offer and kind not in offer:
                document.fault((*place, kind), "has settings but is not in this listener's offer", key=True)
        seen: set[str] = set()
        for steps, kind in _many(listener.get("offer")):
            if isinstance(kind, str) and kind in seen:
                document.fault((*place, "offer", *steps), f"{quoted(kind)} is offered twice")
            seen.add(str(kind))
    admin = _parsed(admin_address, document.data.get("admin", "127.0.0.1:9901"))
    if isinstance(admin, Address):
        _clash(document, taken, admin, ("admin",))


def _clash(
    document: Document,
    taken: list[tuple[Address, Place, str]],
    address: Address,
    place: Place,
    transport: str = "tcp",
) -> None:
    for other, where, used in taken:
        if (
            address.port
            and transport == used
            and address.port == other.port
            and (address.host == other.host or address.wildcard or other.wildcard)
        ):
            owner = ".".join(map(str, where))
            document.fault(place, f"{quoted(str(address))} clashes with {owner}, which is {quoted(str(other))}")
            return
    taken.append((address, place, transport))


def _one_kind(
    document: Document, place: Place, value: Mapping[str, Any], table: Mapping[str, Any], what: str
) -> str | None:
    """The one kind that the mapping has for a key; none or several are a fault."""
    found = [kind for kind in value if kind in table]
    if len(found) == 1:
        return found[0]
    words = ", ".join(table)
    if found:
        for extra in found[1:]:
            message = f"{what} has one kind, and this one already is {quoted(found[0])}"
            document.fault((*place, extra), message, key=True)
    elif not value or all(document.known((*place, key)) == (*place, key) and key in _COMMON for key in value):
        document.fault(place, f"does not say which kind it is: one key of {words}", key=True)
    return None


_COMMON = frozenset(Upstream.model_fields[name].alias or name for name in Upstream.model_fields)
"""An upstream's keys that are not kinds. With any other key beside them the unknown key is the fault, not its lack."""


def _upstream(document: Document, place: Place, upstream: Mapping[str, Any], kinds: Kinds) -> None:
    kind = _one_kind(document, place, upstream, {**kinds.translators, **kinds.passthroughs}, "an upstream")
    if kind is None:
        return
    if kind in kinds.passthroughs:
        check_raw_upstream(document, place, upstream, kind, kinds)
        _endpoints(document, (*place, kind), upstream.get(kind), None)
        return
    if "proxy_protocol" in upstream:
        document.fault((*place, "proxy_protocol"), f"is for raw connections: {kind} has fields for that", key=True)
    rule = default_schema(kinds.translators[kind])
    if rule == "none" and "schema" in upstream:
        document.fault((*place, "schema"), f"an upstream that speaks {kind} takes no schema", key=True)
    elif rule == "" and "schema" not in upstream:
        document.fault(place, f"needs a schema: {kind} has no way to ask for it", key=True)
    else:
        for steps, source in _many(upstream.get("schema")):
            if source in LIVE and source != rule:
                instead = f"write {rule}" if rule in LIVE else "name its schema files"
                document.fault((*place, "schema", *steps), f"{kind} has no {source}: {instead}")
    for other in kinds.translators:
        if other != kind and options_key(other) in upstream:
            message = f"is for an upstream that speaks {other}, and this one speaks {kind}"
            document.fault((*place, options_key(other)), message, key=True)
    _balancing(document, place, upstream, kinds)
    _health(document, (*place, "health"), _mapping(upstream.get("health")), kinds, kinds.translators[kind])
    _endpoints(document, (*place, kind), upstream.get(kind), upstream.get("tls"))
    _paths(document, (*place, kind), upstream.get(kind), kinds.translators[kind])


def _balancing(document: Document, place: Place, upstream: Mapping[str, Any], kinds: Kinds) -> None:
    """Keys that mean something to some balancers only."""
    balance = upstream.get("balance", "round_robin")
    balancer = kinds.balancers.get(balance) if isinstance(balance, str) else None
    if balancer is None:
        return
    keyed = goes_by_key(balancer)
    if "affinity" in upstream and not keyed:
        those = ", ".join(kind for kind, part in kinds.balancers.items() if goes_by_key(part))
        document.fault((*place, "affinity"), f"means nothing to {balance}: balance by one of {those}", key=True)
    if keyed and "affinity" not in upstream and raw_kind(upstream, kinds) is None:
        document.fault((*place, "balance"), f"{balance} goes by a key: write affinity, such as header.x-user")
    if keyed and "sticky" in upstream:
        message = f"goes beside a balancer that does not go by a key: {balance} does"
        document.fault((*place, "sticky"), message, key=True)
    if keyed and "slow_start" in upstream:
        message = f"means nothing to {balance}, which sends equal keys to the same address from the start"
        document.fault((*place, "slow_start"), message, key=True)


def _health(document: Document, place: Place, health: Mapping[str, Any], kinds: Kinds, translator: type[Any]) -> None:
    transport = getattr(translator, "transport", "")
    found = [kind for kind in kinds.probes if kind in health]
    for extra in found[1:]:
        document.fault((*place, extra), f"a check has one kind, and this one already is {quoted(found[0])}", key=True)
    for kind in found[:1]:
        if transport not in kinds.probes[kind].transports:
            fits = [one for one, part in kinds.probes.items() if transport in part.transports]
            message = f"cannot ask an upstream that speaks {translator.kind}; {' and '.join(fits)} can"
            document.fault((*place, kind), message, key=True)


def _paths(document: Document, place: Place, endpoints: object, translator: type[Any]) -> None:
    """One path for all of an upstream's addresses, if its kind takes any."""
    first: str | None = None
    for steps, endpoint in _many(endpoints):
        written = endpoint.get("address") if isinstance(endpoint, dict) else endpoint
        target = _parsed(parse_target, written)
        if target is None:
            continue
        if not takes_path(translator):
            if target.path.strip("/"):
                document.fault(
                    (*place, *steps), f"{quoted(str(written))} has a path: an address is only http://host:port"
                )
        elif first is not None and target.path != first:
            document.fault((*place, *steps), "has another path than the addresses before it")
        first = target.path if first is None else first


def _endpoints(document: Document, place: Place, endpoints: object, tls: object) -> None:
    seen: set[Address] = set()
    first_secure: bool | None = None
    for steps, endpoint in _many(endpoints):
        written = endpoint.get("address") if isinstance(endpoint, dict) else endpoint
        target = _parsed(parse_target, written)
        if target is None:
            continue
        at: Place = (*place, *steps)
        if target.address in seen:
            document.fault(at, f"{quoted(str(target))} is listed twice (a weight gives it a larger share)")
        seen.add(target.address)
        secure = bool(target.secure)
        if isinstance(tls, dict) or tls is True:
            if target.secure is False:
                document.fault(at, f"{quoted(str(written))} is clear text, but the upstream has tls")
        elif first_secure is not None and secure != first_secure:
            document.fault(at, "mixes addresses with TLS and without in one upstream")
        first_secure = secure if first_secure is None else first_secure


def _names(document: Document, place: Place, value: object, known: Mapping[str, Any], what: str) -> None:
    seen: set[str] = set()
    for steps, name in _many(value):
        if not isinstance(name, str):
            continue
        if name not in known:
            guess = hint(name, known) if known else f"; there are no {what.removesuffix('y')}ies"
            document.fault((*place, *steps), f"no {what} has the name {quoted(name)}{guess}")
        elif name in seen:
            document.fault((*place, *steps), f"{quoted(name)} is named twice")
        seen.add(name)


def _subjects(document: Document, consumers: Mapping[str, Any], policies: Mapping[str, Any]) -> None:
    for name, consumer in consumers.items():
        for policy in _mapping(_mapping(consumer).get("subjects")):
            if policy not in policies:
                message = f"no policy has the name {quoted(policy)}{hint(policy, policies)}"
                document.fault(("consumers", name, "subjects", policy), message, key=True)


def _named_by(document: Document, place: Place, settings: object, policies: Mapping[str, Any], part: type[Any]) -> None:
    """The policies that a policy's own settings name, in a list or under the key that its class says."""
    key = getattr(part, "names_policies", None)
    if key is None:
        return
    if isinstance(settings, dict):
        _names(document, (*place, key), settings.get(key), policies, "policy")
    else:
        _names(document, place, settings, policies, "policy")


def _route(
    document: Document,
    place: Place,
    route: Mapping[str, Any],
    upstreams: Mapping[str, Any],
    policies: Mapping[str, Any],
    kinds: Kinds,
) -> None:
    match = _mapping(route.get("match"))
    call = match.get("call")
    if "call" in match:
        for key in ("path", "method"):
            if key in match:
                document.fault((*place, "match", key), f"a match has call or {key}, not both", key=True)
        if "rewrite" in route:
            document.fault((*place, "rewrite"), "is for plain HTTP: a call's path is its method's", key=True)
    elif isinstance(route.get("match"), dict) and not _SAYS.intersection(route):
        document.fault(place, "says nothing: plain HTTP needs `to`; calls take timeout, max_timeout or use", key=True)
    _to(document, (*place, "to"), route.get("to"), upstreams, kinds)
    check_delivery(document, place, route, upstreams, kinds)
    _names(document, (*place, "use"), route.get("use"), policies, "policy")
    for key in _OF_ONE_METHOD:
        if key in route and (not isinstance(call, str) or call.endswith("*")):
            document.fault((*place, key), "needs a match with the call of one method", key=True)
    if "rest" in route:
        for steps, binding in _many(route["rest"]):
            if isinstance(binding, dict):
                _binding(document, (*place, "rest", *steps), binding)
    if "fan_in" in route and "share" in route:
        document.fault((*place, "share"), "a route has fan_in or share, not both", key=True)
    timeout = _parsed(parse_duration, route.get("timeout"))
    longest = _parsed(parse_duration, route.get("max_timeout"))
    if timeout is not None and longest is not None and timeout > longest:
        document.fault((*place, "timeout"), "is longer than max_timeout")


def _offers(document: Document, place: Place, route: Mapping[str, Any], kinds: Kinds) -> None:
    """How a front end offers a method is said of one method."""
    call = _mapping(route.get("match")).get("call")
    for kind, part in kinds.front_ends.items():
        if kind in route and hasattr(part, "RouteSettings") and (not isinstance(call, str) or call.endswith("*")):
            document.fault((*place, kind), "needs a match with the call of one method", key=True)


def _to(document: Document, place: Place, value: object, upstreams: Mapping[str, Any], kinds: Kinds) -> None:
    names = [value] if isinstance(value, str) else list(value) if isinstance(value, dict) else []
    for name in names:
        if name not in upstreams:
            at = place if isinstance(value, str) else (*place, name)
            document.fault(at, f"no upstream has the name {quoted(name)}{hint(name, upstreams)}", key=at != place)
        elif (raw := raw_kind(upstreams[name], kinds)) is not None:
            document.fault(place, f"{quoted(name)} is {raw}, which a listener passes through: a route carries calls")


def _binding(document: Document, place: Place, binding: Mapping[str, Any]) -> None:
    found = [verb for verb in binding if verb in _BINDINGS]
    if not found and all(key in RestBinding.model_fields for key in binding):
        document.fault(place, f"names no path: one key of {', '.join(_BINDINGS)}", key=True)
    for extra in found[1:]:
        document.fault((*place, extra), f"a binding has one path, and this one already has {found[0]}", key=True)
