"""The ordered set of routes, compiled: a call's method or a request's path finds its route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protogw.call import Call
from protogw.errors import Code, NotOffered
from protogw.routing.matcher import ANY, Allowed, Entry, Matcher
from protogw.routing.route import Route
from protogw.wire.path_template import Template, Wildcard


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HttpRoute:
    """A plain HTTP route: a path template under verbs (none means any), and the route it leads to."""

    template: Template
    verbs: tuple[bytes, ...]
    route: Route


class Router:
    """Built once for each set of schemas, asked per call.

    `methods` maps a method's full name to its candidates in order; the last one has no conditions, or the method is
    reachable only under conditions.
    """

    def __init__(self, methods: Mapping[str, Sequence[Route]], http: Sequence[HttpRoute] = ()) -> None:
        self.methods = {name: tuple(routes) for name, routes in methods.items()}
        self.http = tuple(http)
        # Stands for this router in heads, which must not keep all of it alive once another has taken its place.
        self._token = object()
        # Nearly every method has one route without conditions: that is one look-up.
        self._plain = {
            name: routes[0]
            for name, routes in self.methods.items()
            if routes and (routes[0].conditions is None or routes[0].conditions.any)
        }
        free = [one for one in http if one.route.conditions is None or one.route.conditions.any]
        self._free = Matcher.build(_entries(free))
        bound = [(index, one) for index, one in enumerate(http) if one not in free]
        bound.sort(key=lambda pair: (pair[1].route.conditions.rank, *_rank(pair[1]), pair[0]))  # type: ignore[union-attr]
        self._bound = tuple((one, Matcher.build(_entries([one]))) for _, one in bound)

    @property
    def shadowed(self) -> list[str]:
        """Plain HTTP routes that can never match, each with the one that hides it."""
        return [
            f"{entry.verb.decode()} {entry.template} (route {entry.found.route.name}) is hidden by "
            f"route {by.found.route.name}"
            for entry, by in self._free.shadowed
        ]

    def match(self, call: Call) -> Route:
        """The call's route; raises NotOffered (404, or 405 with Allow for plain HTTP)."""
        method = call.method
        if method is None:
            return self._match_http(call)
        route = self._plain.get(method.full_name)
        if route is not None:
            return route
        for route in self.methods.get(method.full_name, ()):
            if route.conditions is None or route.conditions.fit(call.head):
                return route
        raise NotOffered(f"{method.full_name}: not offered here")

    def _match_http(self, call: Call) -> Route:
        head = call.head
        assert head is not None
        routed = head.routed
        if routed is not None and routed[0] is self._token:
            route: Route = routed[1]
            return route
        allowed: tuple[bytes, ...] = ()
        for one, matcher in self._bound:
            conditions = one.route.conditions
            assert conditions is not None
            if not conditions.fit(head):
                continue
            found = matcher.match(head.method, head.path)
            if found is None:
                continue
            if isinstance(found, Allowed):
                allowed += found.verbs
                continue
            return self._chosen(call, found.found.route, found.values)
        found = self._free.match(head.method, head.path)
        if found is not None and not isinstance(found, Allowed):
            return self._chosen(call, found.found.route, found.values)
        if isinstance(found, Allowed):
            allowed += found.verbs
        path = head.path.decode("latin-1")
        if allowed:
            verbs = b", ".join(sorted(set(allowed)))
            raise NotOffered(
                f"{head.method.decode('latin-1')} is not offered for {path}; offered: {verbs.decode('latin-1')}",
                http_status=405,
                headers=((b"allow", verbs),),
            )
        raise NotOffered(f"{path}: nothing is offered here", code=Code.NOT_FOUND, http_status=404)

    def _chosen(self, call: Call, route: Route, values: tuple[bytes, ...]) -> Route:
        rewrite = route.rewrite
        if rewrite is None and call.head is not None:
            # Everything so far follows from the head alone, so requests that share it need not ask again.
            call.head.routed = (self._token, route)
        if rewrite is not None:
            assert call.head is not None
            attributes = call.attributes if call.attributes is not None else {}
            path = rewrite.path(call.head.path, values)
            if path is not None:
                attributes["path"] = path
            if rewrite.host is not None:
                attributes["host"] = rewrite.host
            call.attributes = attributes
        return route


def _entries(routes: Iterable[HttpRoute]) -> list[Entry[HttpRoute]]:
    return [Entry(verb, one.template, one) for one in routes for verb in one.verbs or (ANY,)]


def _rank(one: HttpRoute) -> tuple[tuple[int, ...], ...]:
    """The matcher's precedence, as a sort key: literal, then one segment, then the rest; longer first."""
    ranks = tuple(
        2 if segment is Wildcard.REST else 1 if segment is Wildcard.ONE else 0 for segment in one.template.segments
    )
    return ((*ranks, 3),)
