"""Routes: exceptions to what the schemas say, and plain HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from protogw.config.delivery import Canary, MethodName, Mirror, Override, Shadow
from protogw.config.fan_in import FanIn, Share
from protogw.config.strict import LISTED, TRUTH, Strict
from protogw.config.units import Name
from protogw.descriptors.model import HttpRule, SocketRule
from protogw.expressions import ExpressionText
from protogw.values import OrText, Positive, Short, refuse
from protogw.wire.path_template import TemplateError, parse

_CALL = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*/(?:\*|[A-Za-z_]\w*)\Z", re.ASCII)
_HOST = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z|\[[0-9A-Fa-f:.]+\]\Z")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
VERBS = ("get", "put", "post", "delete", "patch")


def _call(value: str) -> str:
    text = value.removeprefix("/")
    if not _CALL.match(text):
        refuse("is not a call: write package.Service/Method or package.Service/*")
    return text


def _host(value: str) -> str:
    if not _HOST.match(value):
        refuse("is not a host: write www.example.com or *.example.com, without a port")
    return value.lower()


def _path(value: str) -> str:
    if not value.startswith("/"):
        refuse("is not a path: it starts with /")
    if "?" in value or "#" in value or any(char <= " " or char == "\x7f" for char in value):
        refuse("is not a path: ?, # and white space do not belong in one")
    return value


def _template(value: str) -> str:
    _path(value)
    try:
        parse(value)
    except TemplateError as error:
        refuse(f"is not a path template: {str(error).removeprefix(value + ': ')}")
    return value


def _verb(value: str) -> str:
    if not _TOKEN.match(value):
        refuse("is not an HTTP method")
    return value.upper()


def _header_name(value: str) -> str:
    if not _TOKEN.match(value):
        refuse("is not a header name")
    return value.lower()


def _header_value(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Call = Annotated[str, AfterValidator(_call)]
Host = Annotated[str, AfterValidator(_host)]
Template = Annotated[str, AfterValidator(_template)]
Verb = Annotated[str, AfterValidator(_verb)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, BeforeValidator(_header_value)]


class Match(Strict):
    """Which calls or requests a route is for: all that is written must fit."""

    call: Call | None = None
    """`package.Service/Method`, or `package.Service/*` for all of a service, whatever protocol it comes in."""
    host: Host | None = None
    """The request's host, or `*.example.com` for all below it."""
    path: Template | None = None
    """A path template: `/v1/users/{id}`, `*` for one segment, `**` for all the rest."""
    method: Annotated[tuple[Verb, ...], LISTED] = ()
    """The HTTP method, or a list of them. Default: any."""
    headers: Mapping[HeaderName, HeaderValue] = {}
    """Header fields and the values that they must have."""


class CustomVerb(Strict):
    """A binding to an HTTP method that has no key of its own (google.api.CustomHttpPattern)."""

    kind: Verb
    """The method, or `*` for any."""
    path: Template
    """The path template."""


class RestBinding(Strict):
    """How one method is offered as REST, as google.api.http would say it."""

    get: Template | None = None
    """The path template of a GET."""
    put: Template | None = None
    """The path template of a PUT."""
    post: Template | None = None
    """The path template of a POST."""
    delete: Template | None = None
    """The path template of a DELETE."""
    patch: Template | None = None
    """The path template of a PATCH."""
    custom: CustomVerb | None = None
    """Another HTTP method."""
    body: str = ""
    """The request field that the body holds, `*` for the whole request. Default: there is no body."""
    response_body: str = ""
    """The reply field that is sent as the body. Default: the whole reply."""
    success: Annotated[int, Field(ge=200, le=299)] = 200
    """The HTTP status of an OK reply."""
    replace: bool = False
    """Offer the method by the bindings written here alone, not by those of its annotation as well."""

    @property
    def rule(self) -> HttpRule:
        if self.custom is not None:
            verb, template = self.custom.kind, self.custom.path
        else:
            verb, template = next((verb.upper(), found) for verb in VERBS if (found := getattr(self, verb)) is not None)
        return HttpRule(
            verb=verb, template=template, body=self.body, response_body=self.response_body, success=self.success
        )


class SocketBinding(OrText, Strict):
    """A path under which one method is offered to sockets: written as text, or as a mapping with more to say."""

    text_for = "path"
    text_examples = ("/chat",)

    path: Template
    """The path template. Its variables are request fields, which every message of the socket then has."""
    start: Literal["open", "message"] | None = None
    """When the call of a method that takes one message begins: once the socket is `open`, made of path and query, or
    with its first `message`. Default: `open` where the path has variables."""

    @property
    def rule(self) -> SocketRule:
        return SocketRule(template=self.path, starts=None if self.start is None else self.start == "open")


class Rewrite(Strict):
    """What the upstream is told instead of what the client asked for."""

    path: Annotated[str, AfterValidator(_path)] | None = None
    """The path, with the match's variables: `/{**}` is what `**` matched."""
    host: Host | None = None
    """The host."""


def _destinations(value: Any) -> Any:
    return {value: 1} if isinstance(value, str) else value


class Route(Strict):
    """One exception: calls or requests that match are treated as it says."""

    front_ends: ClassVar[tuple[str, ...]] = ()

    match: Match
    """Which calls or requests it is for."""
    name: Name | None = None
    """What the admin address calls it. Default: `routes[N]`."""
    to: Annotated[
        Mapping[str, Annotated[int, Field(ge=0, le=1_000_000)]],
        Short(_destinations, {"type": "string"}),
        Field(min_length=1),
    ] = {}
    """The upstream that they go to, or several with their shares, `{ orders: 95, orders_v2: 5 }`.
    Default for calls: the one whose schema describes them."""
    sticky_by: ExpressionText | None = None
    """What decides which of several upstreams a call goes to: equal values go to the same one. Default: chance."""
    override: Override | None = None
    """Where a caller may name the one of several upstreams that it wants."""
    methods: Mapping[MethodName, MethodName] = {}
    """How another upstream of the route calls the methods that the first one offers, where it calls them otherwise:
    `shop.v1.Shop/*: shop.v2.Shop/*`."""
    canary: Annotated[Canary | None, TRUTH] = None
    """Move the weights of `to` towards the new version step by step, or back; `true` for all defaults."""
    mirror: Mirror | None = None
    """Send copies of the calls elsewhere too."""
    shadow: Shadow | None = None
    """Ask another upstream too, and compare the answers."""
    timeout: Positive | None = None
    """How long they may take when the client does not say. Default: 15s for unary calls, none for streams."""
    max_timeout: Positive | None = None
    """The longest that a client may ask for."""
    rest: Annotated[tuple[RestBinding, ...], LISTED] = ()
    """How the method is offered as REST, one binding or a list."""
    websocket: Annotated[tuple[SocketBinding, ...], LISTED] = ()
    """Paths under which the method is offered to sockets, beside its own; one or a list."""
    fan_in: FanIn | None = None
    """Let all clients of the method share one upstream stream."""
    share: Annotated[Share | None, TRUTH] = None
    """Open equal server streams once; `true` for all defaults."""
    rewrite: Rewrite | None = None
    """What the upstream is told instead; for plain HTTP."""
    use: Annotated[tuple[str, ...] | None, LISTED] = None
    """The policies, outermost first, instead of the gateway's own `use`."""

    @property
    def offered(self) -> dict[str, object]:
        """What it says of how front ends offer the method, by their kind."""
        written = ((kind, getattr(self, "kind_" + kind.replace("-", "_"))) for kind in self.front_ends)
        return {kind: said for kind, said in written if said is not None}

    @property
    def upstream(self) -> str | None:
        """The one upstream that it names, or None."""
        return next(iter(self.to), None)
