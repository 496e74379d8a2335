"""A route made ready: its conditions, where its calls go, and the chain around them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from protogw.policies.base import Handler, OfHead, Policy, Target, chain
from protogw.routing.matcher import ANY, Allowed, Entry, Matcher
from protogw.wire.path_template import Template, Wildcard, parse
from protogw.wire.spelling import host_of

if TYPE_CHECKING:
    from protogw.call import Call, Reply
    from protogw.policies.identity_headers import Stripped
    from protogw.wire.http import RequestHead

UNARY_TIMEOUT_S = 15.0
"""How long a unary call may take when neither the client nor the route says."""


class Conditions:
    """What a request must be like, beside its method or path: host, header fields, and for calls the HTTP request."""

    __slots__ = ("_headers", "_host", "_matcher", "_suffix", "host")

    def __init__(
        self,
        *,
        host: str | None = None,
        headers: Mapping[str, str] | None = None,
        path: str | None = None,
        verbs: Sequence[str] = (),
    ) -> None:
        self.host = host
        self._host = host.encode() if host is not None and not host.startswith("*.") else None
        self._suffix = host[1:].encode() if host is not None and host.startswith("*.") else None
        self._headers = tuple((name.encode(), value.encode()) for name, value in (headers or {}).items())
        self._matcher: Matcher[None] | None = None
        if path is not None or verbs:
            template = parse(path if path is not None else "/**")
            wanted = [verb.encode() for verb in verbs] or [ANY]
            self._matcher = Matcher.build(Entry(verb, template, None) for verb in wanted)

    @property
    def any(self) -> bool:
        """Every request fits."""
        return self._host is None and self._suffix is None and not self._headers and self._matcher is None

    @property
    def rank(self) -> int:
        """Exact hosts go before patterns, and patterns before none."""
        return 0 if self._host is not None else 1 if self._suffix is not None else 2

    def fit(self, head: RequestHead | None) -> bool:
        if self.any:
            return True
        if head is None:
            return False
        if self.rank < 2 and not self._fits_host(head.authority):
            return False
        if self._matcher is not None:
            found = self._matcher.match(head.method, head.path)
            if found is None or isinstance(found, Allowed):
                return False
        return all(value in head.get_all(name) for name, value in self._headers)

    def _fits_host(self, authority: bytes) -> bool:
        host = host_of(authority)
        if self._host is not None:
            return host == self._host
        assert self._suffix is not None
        return host.endswith(self._suffix) and len(host) > len(self._suffix)


class Rewrite:
    """What the upstream is told instead of the request's path and host."""

    __slots__ = ("_parts", "_rest", "host")

    _PART = re.compile(r"\{([A-Za-z_][\w.]*|\*\*)\}")

    def __init__(self, path: str | None, host: str | None, template: Template) -> None:
        """Raises ValueError naming a variable that the template does not have."""
        self.host = host.encode() if host is not None else None
        self._parts: tuple[bytes | int, ...] | None = None
        self._rest = len(template.segments)
        if path is None:
            return
        names = {variable.name: index for index, variable in enumerate(template.variables)}
        if Wildcard.REST in template.segments:
            self._rest = template.segments.index(Wildcard.REST)
            names["**"] = -1
        parts: list[bytes | int] = []
        for index, piece in enumerate(self._PART.split(path)):
            if index % 2 == 0:
                if piece:
                    parts.append(piece.encode())
            elif piece in names:
                parts.append(names[piece])
            else:
                known = ", ".join("{" + name + "}" for name in names) or "none"
                raise ValueError(f"{{{piece}}} is not a variable of {template.text} (it has: {known})")
        self._parts = tuple(parts)

    def path(self, path: bytes, values: tuple[bytes, ...]) -> bytes | None:
        """The path for the upstream; what `**` matched goes on byte for byte."""
        if self._parts is None:
            return None
        return b"".join(
            part
            if isinstance(part, bytes)
            else b"/".join(path.split(b"/")[1 + self._rest :])
            if part < 0
            else quote(values[part], safe="-._~").encode()
            for part in self._parts
        )


class Route:
    """One way through the gateway: policies folded around a target, with the limits of time."""

    __slots__ = (
        "_late",
        "_stripped",
        "conditions",
        "handler",
        "max_timeout",
        "name",
        "path",
        "policies",
        "rewrite",
        "stream_timeout",
        "target",
        "title",
        "unary_timeout",
    )

    def __init__(
        self,
        name: str,
        target: Target,
        policies: Sequence[Policy] = (),
        *,
        conditions: Conditions | None = None,
        timeout: float | None = None,
        max_timeout: float | None = None,
        rewrite: Rewrite | None = None,
        stripped: Stripped | None = None,
        title: str | None = None,
        path: str = "",
    ) -> None:
        """`name` is where the config has it (`routes[N]`), `title` what it is called there. `timeout` is for calls
        whose client names none: 15 s for unary ones by default, no bound for streams. `stripped` cleans calls before
        any policy sees them. `path` is the template of a plain HTTP route, which its calls are counted under."""
        self.name = name
        self.title = title or name
        self.path = path
        self.target = target
        self.policies = tuple(policies)
        self.conditions = conditions
        self.rewrite = rewrite
        self._stripped = stripped
        self._late: Handler | None = None
        self.handler: Handler = self._folded(len(self.policies))
        self.unary_timeout: float = timeout if timeout is not None else UNARY_TIMEOUT_S
        self.stream_timeout = timeout
        self.max_timeout = max_timeout
        if max_timeout is not None:
            self.unary_timeout = min(self.unary_timeout, max_timeout)

    @property
    def late(self) -> Handler:
        """What carries a call whose message its client holds back: policies that need the head alone come first, then
        the message is asked for. Folded for the first such call."""
        if self._late is None:
            first = [isinstance(policy, OfHead) and policy.of_head for policy in self.policies]
            self._late = self._folded((*first, False).index(False), _arrived)
        return self._late

    def _folded(self, split: int, between: Callable[[Handler], Handler] | None = None) -> Handler:
        """The policies around the target, with something between the first so many of them and the others."""
        handler = chain(self.policies[split:], self.target.send)
        if between is not None:
            handler = between(handler)
        handler = chain(self.policies[:split], handler)
        return handler if self._stripped is None else _cleaned(self._stripped, handler)

    def __repr__(self) -> str:
        return f"<Route {self.name} to {self.target.name}>"


def _arrived(handler: Handler) -> Handler:
    async def run(call: Call) -> Reply:
        await call.arrive()
        return await handler(call)

    return run


def _cleaned(stripped: Stripped, handler: Handler) -> Handler:
    def run(call: Call) -> Awaitable[Reply]:
        stripped.clean(call)
        return handler(call)

    return run
