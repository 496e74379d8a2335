"""`protogw explain`: the way of one request through the gateway, found by going it up to the pool."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from protogw.assembly import KINDS
from protogw.call import NO_METADATA, Call
from protogw.commands.configured import assembled, loaded, run
from protogw.commands.metadata import parse_headers
from protogw.commands.methods import find_method
from protogw.commands.raw_ways import raw_way
from protogw.commands.rehearsal import PEER, RehearsedExchange, rehearse, request_head
from protogw.commands.terminal import note, print_json, say, style
from protogw.config import Config
from protogw.config.document import Document
from protogw.config.kinds import summary
from protogw.descriptors.model import Method
from protogw.errors import GatewayError
from protogw.frontends.base import Naming
from protogw.gateway import Gateway
from protogw.kinds import Gaps
from protogw.routing.matcher import Entry, Match, Matcher
from protogw.routing.route import Route
from protogw.values import format_duration
from protogw.wire.http import Header
from protogw.wire.path_template import TemplateError, parse

_REQUEST = re.compile(r"([A-Za-z]+)\s+(/\S*)\Z")
_URL = re.compile(r"https?://[^/\s]+")


def explain(
    path: Path, request: str, *, headers: tuple[str, ...], data: str | None, connect: bool, as_json: bool
) -> None:
    config, document = loaded(path)
    fields = parse_headers(headers)
    raw = raw_way(config, request.strip())
    ways, unknown = (
        ([raw], {})
        if raw is not None
        else run(lambda: _ways(config, document, request.strip(), fields, data, connect=connect))
    )
    if as_json:
        print_json({"ways": ways, "schema_unknown": unknown})
        return
    for index, way in enumerate(ways):
        if index:
            say()
        _print(way)
    for name, reason in unknown.items():
        note(f"upstreams.{name}: its schema is not known: {reason}")


async def _ways(
    config: Config, document: Document, request: str, fields: tuple[Header, ...], data: str | None, *, connect: bool
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What becomes of the request at each listener."""
    match = _REQUEST.match(_URL.sub("", request)) or _REQUEST.match("GET " + _URL.sub("", request))
    async with assembled(config, connect=connect) as (gateway, unknown):
        explained = _Explained(config, document, gateway)
        if match is None or (" " not in request and gateway.catalog.methods.get(request.encode()) is not None):
            method = find_method(gateway.catalog, request, unknown)
            return explained.method(method, fields), unknown
        verb, target = match[1].upper(), match[2]
        return [await explained.request(name, verb, target, fields, data) for name in gateway.doors], unknown


class _Explained:
    """Facts of one gateway, for the ways through it."""

    def __init__(self, config: Config, document: Document, gateway: Gateway) -> None:
        self._config = config
        self._document = document
        self._gateway = gateway

    def method(self, method: Method, fields: tuple[Header, ...]) -> list[dict[str, Any]]:
        """The way of a method's calls, whichever front end they come in by."""
        head = request_head("POST", method.path.decode(), fields)
        call = Call(method, NO_METADATA, front_end="", peer=PEER, started=0.0, head=head)
        ways = []
        for name, door in self._gateway.doors.items():
            way = self._start(name, method.full_name)
            kinds = [front_end.kind for front_end in door.front_ends]
            way["front end"] = ", ".join(kinds)
            naming = {one.kind: one.offered_as(method) for one in door.front_ends if isinstance(one, Naming)}
            if named := [f"{kind} {name}" for kind, name in naming.items() if name]:
                way["asked as"] = ", ".join(named)
            ways.append(self._finish(way, call, kinds))
        return ways

    async def request(
        self, listener: str, verb: str, target: str, fields: tuple[Header, ...], data: str | None
    ) -> dict[str, Any]:
        """The way of one HTTP request."""
        way = self._start(listener, f"{verb} {target}")
        names = {name for name, _ in fields}
        body = data.encode() if data is not None else b"" if verb in ("GET", "HEAD", "DELETE", "OPTIONS") else b"{}"
        if body and b"content-type" not in names:
            fields = (*fields, (b"content-type", b"application/json"))
        if body and b"content-length" not in names:
            fields = (*fields, (b"content-length", b"%d" % len(body)))
        exchange = RehearsedExchange(request_head(verb, target, fields), body)
        try:
            front_end, call = await rehearse(self._gateway.doors[listener].front_ends, exchange)
        except GatewayError as error:
            status = f"HTTP {error.http_status}, " if error.http_status else ""
            way["refused"] = f"{status}{error.status.code.name}: {error.message}"
            return way
        way["front end"] = f"{front_end.kind}: {summary(type(front_end))}"
        if call.method is not None and (binding := _binding(call.method, verb, target)):
            way["binding"] = binding
        return self._finish(way, call, [front_end.kind])

    def _start(self, listener: str, what: str) -> dict[str, Any]:
        address = self._config.listeners[listener].address
        return {"request": what, "listener": f"{listener} ({address})"}

    def _finish(self, way: dict[str, Any], call: Call, front_ends: list[str]) -> dict[str, Any]:
        """Add what comes after the front end."""
        method = call.method
        if method is not None:
            way["method"] = f"{method.full_name}, {method.shape}: {method.input.name} → {method.output.name}"
        else:
            way["method"] = "none: plain HTTP"
        try:
            route: Route = self._gateway.router.match(call)
        except GatewayError as error:
            status = f"HTTP {error.http_status}, " if error.http_status else ""
            way["refused"] = f"{status}{error.status.code.name}: {error.message}"
            return way
        way["route"] = self._route(route)
        streaming = method is not None and not method.unary
        limit = route.stream_timeout if streaming else route.unary_timeout
        way["timeout"] = format_duration(limit) if limit is not None else "none"
        if route.max_timeout is not None:
            way["timeout"] += f", at most {format_duration(route.max_timeout)}"
        way["policies"] = " → ".join(self._gateway.names_of(route.policies)) or "none"
        upstream = self._config.upstreams.get(route.target.name)
        if upstream is None:
            way["pool"] = f"{route.target.name}: answered by the gateway itself"
            return way
        addresses = ", ".join(str(endpoint.target) for endpoint in upstream.endpoints)
        way["pool"] = f"{route.target.name}: {upstream.balance} over {addresses}"
        offering = self._gateway.offering
        for delivery in offering.deliveries if offering is not None else ():
            if delivery.place == route.name:
                way["delivery"] = delivery.told()
        part = KINDS.translators[upstream.kind]
        secure = " over TLS" if upstream.secure is not None else ""
        way["translator"] = f"{upstream.kind}: {summary(part)} ({part.transport}{secure})"
        lost = _gaps(part, method, f"to {upstream.kind}")
        for kind in front_ends:
            lost += _gaps(KINDS.front_ends[kind], method, f"from {kind}")
        way["cannot carry"] = lost
        return way

    def _route(self, route: Route) -> str:
        if not route.name.startswith("routes["):
            return f"{route.name}: what the schema says"
        index = int(route.name[7:-1])
        mark = self._document.values.get(("routes", index))
        return f"{route.title} ({mark.file}:{mark.line})" if mark is not None else route.title


def _gaps(part: type[Any], method: Method | None, where: str) -> list[str]:
    """What a part cannot carry of this method's calls."""
    if method is None or not isinstance(part, Gaps):
        return []
    return [f"{where}: {what}" for shape, what in part.gaps.items() if shape in ("", method.shape)]


def _binding(method: Method, verb: str, target: str) -> str:
    """The rule by which the request is this method's, or nothing when it is its own path."""
    for rule in method.http:
        try:
            matcher = Matcher.build([Entry(rule.verb.encode(), parse(rule.template), rule)])
        except TemplateError:
            continue
        if isinstance(matcher.match(verb.encode(), target.partition("?")[0].encode()), Match):
            body = f", body {rule.body}" if rule.body else ""
            return f"{rule.verb} {rule.template}{body}, answered with {rule.success}"
    return ""


def _print(way: dict[str, Any]) -> None:
    say(style(way["request"], "1"))
    for key, value in way.items():
        if key == "request":
            continue
        lines = (value or ["nothing is lost"]) if isinstance(value, list) else [value]
        for index, line in enumerate(lines):
            say(f"  {(key if not index else ''):<13}{style(line, '31') if key == 'refused' else line}")
