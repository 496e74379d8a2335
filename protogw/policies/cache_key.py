"""What an answer is kept under, and what the service is asked with when one is to be kept.

The key covers everything that reaches the service and could change its answer: the method and the message in its one
canonical form (or of opaque HTTP the path and query, byte for byte), the host and scheme that were asked, who calls,
and the fields. What the key does not cover is left out of a request whose answer is kept, is known to change nothing
(marks for tracing), or an answer that varies by it is not kept. So nothing that one client sends can change what
another is given.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from protogw.call import Call, Encoding, Metadata, Payload
from protogw.errors import InvalidRequest
from protogw.policies.freshness import directives
from protogw.wire.content import preferences

if TYPE_CHECKING:
    from protogw.descriptors.model import Method
    from protogw.wire.http import Header, RequestHead

KEPT = 256

_TRACING: Final = frozenset(
    (
        b"traceparent",
        b"tracestate",
        b"x-request-id",
        b"x-correlation-id",
        b"b3",
        b"x-b3-traceid",
        b"x-b3-spanid",
        b"x-b3-parentspanid",
        b"x-b3-sampled",
        b"x-b3-flags",
    )
)
"""Goes on to the service and is no part of the key."""

_ASKING: Final = frozenset((b"cache-control", b"pragma", b"if-none-match", b"if-modified-since", b"if-range"))
"""Says how the client asks, not what for: no part of the key, and left out of a request whose answer is kept."""

_CLIENT: Final = frozenset((b"user-agent", b"referer"))
"""No part of the key. Plain HTTP services get them and say in Vary when they matter: such answers are not kept."""

_NOISE: Final = frozenset(
    (
        b"baggage",
        b"dnt",
        b"priority",
        b"save-data",
        b"upgrade-insecure-requests",
        b"via",
        b"x-user-agent",
        b"x-grpc-web",
    )
)

_BYPASSING: Final = frozenset((b"range", b"if-match", b"if-unmodified-since"))
_ADDRESSES: Final = frozenset((b"x-forwarded-for", b"x-real-ip"))
"""Of what trusted proxies say, what names the client alone. The rest may change links and redirects."""

_AUTHORIZATION, _COOKIE, _ACCEPT_ENCODING = b"authorization", b"cookie", b"accept-encoding"


@cache
def _outside(vary: frozenset[bytes] | None, *, opaque: bool, public: bool) -> frozenset[bytes]:
    """What services may be sent beside what is in the key. Whether a client sends it or not: what is made for one
    without a User-Agent is no answer for one with it."""
    found = _TRACING | _ADDRESSES | {b"forwarded"}
    if opaque:
        found |= _CLIENT - (vary or frozenset())
    if public:
        found |= {_AUTHORIZATION, _COOKIE} - (vary or frozenset())
    return found


class Fields:
    """What one set of metadata means to a cache. `bypasses` says that the call has nothing to do with it."""

    __slots__ = (
        "authorized",
        "bypasses",
        "condition",
        "conditional",
        "directives",
        "keyed",
        "metadata",
        "sent",
        "since",
        "unkeyed",
    )

    def __init__(self, metadata: Metadata, vary: frozenset[bytes] | None, *, opaque: bool, public: bool) -> None:
        self.metadata = metadata
        self.bypasses = False
        self.authorized = False
        self.condition: bytes | None = None
        self.since: bytes | None = None
        self.unkeyed = _outside(vary, opaque=opaque, public=public)
        """What the service may be sent beside what is in the key."""
        sent: list[Header] = []
        keyed: list[Header] = []
        said: list[bytes] = []
        conditions: list[bytes] = []
        for pair in metadata.pairs:
            name, value = pair
            if name in _TRACING or (opaque and name in _CLIENT and not (vary is not None and name in vary)):
                sent.append(pair)
            elif name in _BYPASSING:
                self.bypasses = True
            elif name in _ASKING and not (vary is not None and name in vary):
                if name == b"cache-control":
                    said.append(value)
                elif name == b"pragma" and b"no-cache" in value.lower():
                    said.append(b"no-cache")
                elif name == b"if-none-match":
                    conditions.append(value)
                elif name == b"if-modified-since":
                    self.since = value
            elif name in (_AUTHORIZATION, _COOKIE):
                self.authorized = self.authorized or name == _AUTHORIZATION
                sent.append(pair)
                if name not in self.unkeyed:
                    keyed.append(pair)
            elif name == _ACCEPT_ENCODING and opaque:
                # Of the many ways to write it only two tell answers apart.
                plain = (name, b"gzip" if _takes_gzip(value) else b"identity")
                sent.append(plain)
                keyed.append(plain)
            elif name in vary if vary is not None else not self._noise(name, opaque):
                sent.append(pair)
                keyed.append(pair)
        keyed.sort()
        self.keyed = b"".join([b"%d:%b%d:%b" % (len(name), name, len(value), value) for name, value in keyed])
        self.sent = Metadata(tuple(sent))
        if conditions:
            self.condition = b",".join(conditions)
            self.since = None  # the weaker condition does not count beside it (RFC 9110 section 13.2.2)
        self.conditional = self.condition is not None or self.since is not None
        self.directives = directives(said) if said else None

    @staticmethod
    def _noise(name: bytes, opaque: bool) -> bool:
        return name in _NOISE or name in _CLIENT or name.startswith(b"sec-") or (name == b"origin" and not opaque)


class Asked:
    """One call as the cache sees it: the key, what the service is asked with, and what the client asks for."""

    __slots__ = ("fields", "key", "name", "payload", "ttl_s")

    def __init__(self, key: bytes, name: str, fields: Fields, payload: Payload | None, ttl_s: float | None) -> None:
        self.key = key
        self.name = name
        self.fields = fields
        self.payload = payload
        self.ttl_s = ttl_s


class Keys:
    """Makes keys for the calls of one policy."""

    def __init__(self, policy: str, vary: frozenset[bytes] | None, *, public: bool) -> None:
        self._policy = policy.encode()
        self._vary = vary
        self._public = public
        # By identity: equal heads share one Metadata, which is never changed, held here so that its id stays its own.
        self._known: dict[int, Fields] = {}
        self._prefixes: dict[tuple[object, object], bytes] = {}

    def of_method(self, call: Call, method: Method, ttl_s: float | None) -> Asked | None:
        """What is asked for; None when the cache has nothing to do with it. Raises InvalidRequest for a message that is
        none."""
        fields = self._fields(call, opaque=False)
        if fields is None or call.payload is None:
            return None
        message = canonical(method, call.payload)
        key = self._digest(call, method, _joined([message, *_asked_of(call)]), fields)
        return Asked(key, method.full_name, fields, Payload(message, Encoding.PROTO, method.input.codec), ttl_s)

    def of_request(self, call: Call, head: RequestHead, ttl_s: float | None) -> Asked | None:
        """The same for opaque HTTP. HEAD shares GET's entries."""
        fields = self._fields(call, opaque=True)
        # A GET with a body means nothing that is agreed on: services differ in whether they read it.
        if fields is None or call.payload is None or call.payload.data or head.upgrade:
            return None
        facts = [head.scheme, head.path, head.query, *_asked_of(call)]
        path = head.path.decode("latin-1")
        return Asked(self._digest(call, None, _joined(facts), fields), path, fields, None, ttl_s)

    def _fields(self, call: Call, *, opaque: bool) -> Fields | None:
        metadata = call.metadata
        fields = self._known.get(id(metadata))
        if fields is None:
            fields = Fields(metadata, self._vary, opaque=opaque, public=self._public)
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[id(metadata)] = fields
        if fields.bypasses or (fields.authorized and not self._public and call.identity is None):
            return None
        return fields

    def _digest(self, call: Call, method: Method | None, facts: bytes, fields: Fields) -> bytes:
        """`facts` is the message, or of opaque HTTP what was asked for."""
        place = (call.route, method)
        prefix = self._prefixes.get(place)
        if prefix is None:
            prefix = self._prefix(call, method)
        identity, keyed = call.identity, fields.keyed
        who = (
            b""
            if self._public
            else b"nobody"
            if identity is None
            else b"=" + identity.key.encode("utf-8", "surrogatepass")
        )
        whole = b"%b%d:%b%d:%b%b" % (prefix, len(who), who, len(keyed), keyed, facts)
        attributes = call.attributes
        if attributes is not None and method is None:
            changed = [repr(attributes.get(name)).encode() for name in ("path", "query", "host")]
            whole = b"%d:%b%b" % (len(whole), whole, _joined(changed))
        return sha256(whole).digest()

    def _prefix(self, call: Call, method: Method | None) -> bytes:
        """What the calls of a method on a route have in common."""
        route = call.route
        where = f"{route.name} {route.target.name}".encode() if route is not None else b""
        if len(self._prefixes) >= KEPT:
            self._prefixes.clear()
        name = method.full_name.encode() if method is not None else b""
        prefix = self._prefixes[call.route, method] = _joined([self._policy, where, name])
        return prefix


def _asked_of(call: Call) -> list[bytes]:
    """Whom the client asked, and how, as services are told in X-Forwarded-*: their links may be made of it."""
    head, peer = call.head, call.peer
    facts = [head.authority if head is not None else b"", b"s" if peer.tls else b""]
    if peer.forwarded:
        facts += [b"%b=%b" % pair for pair in peer.forwarded if pair[0] not in _ADDRESSES]
    return facts


def _takes_gzip(value: bytes) -> bool:
    """Whether Accept-Encoding allows gzip (RFC 9110 section 12.5.3)."""
    wanted = {one.range: one.quality for one in preferences(value)}
    return wanted.get(b"gzip", wanted.get(b"*", 0.0)) > 0


def _joined(parts: list[bytes]) -> bytes:
    """Parts in one, such that no two lists come to the same."""
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])


def canonical(method: Method, payload: Payload) -> bytes:
    """The call's message in the one form that every client's way of writing it leads to: fields in order of their
    numbers, maps in order of their keys. Raises InvalidRequest."""
    data = payload.proto()
    if not data:
        return data
    try:
        message = method.input.message.FromString(data)
    except DecodeError as error:
        raise InvalidRequest(f"the message is not a {method.input.name}") from error
    written: bytes = message.SerializePartialToString(deterministic=True)
    return written
