"""The one small language over the neutral call: keys (`by: identity.subject`), conditions, values.

A bare path is read by straight code; anything else is CEL (github.com/google/cel-spec), which always ends, touches
nothing but the call, and whose regular expressions take linear time. Knows no protocol.

    identity.key                       who calls, as a text that nobody else has: also where subjects of several issuers
                                       or schemes are alike
    identity.subject · .consumer · .issuer · .scheme · .groups · .scopes · .claims.NAME · .metadata.NAME
    peer.address · peer.network        the client's address, and of an IPv6 address its /64
    peer.identity                      the name that its certificate vouches for
    header.NAME                        a field of the metadata; several of one name are one, with commas between
    method · service · front_end
    host · path                        in one spelling, whatever the client's: wire.spelling
    cost                               what the front end says that the call costs: of GraphQL its field's part of the
                                       operation's cost (docs/graphql.md), of everything else 1
    message.FIELD                      the request's message (of a stream: the one at hand), as ProtoJSON writes it
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import orjson
from pydantic import PlainValidator, WithJsonSchema

from protogw.call import Call, Payload
from protogw.values import refuse
from protogw.wire.spelling import host_of, network_of, path_of

if TYPE_CHECKING:
    from protogw.identity import Identity

Reader = Callable[[Call, "Payload | None"], Any]
"""Reads a value of a call; the payload is the message at hand where that is not the call's own."""


class Key(Protocol):
    """Reads a value of a call as text."""

    def __call__(self, call: Call, payload: Payload | None = None) -> str: ...


_FIELDS = re.compile(r"(?<![\w.])message((?:\s*\.\s*[A-Za-z_]\w*+(?!\s*\())+)")

MAX_LENGTH: Final = 4096
"""Characters of one expression."""
MAX_KEY: Final = 256
"""Characters of a key."""

_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_-]+)*")
_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_MEMBER = re.compile(r"(?<![\w.])(identity|peer)\s*\.\s*([A-Za-z_]\w*)(?!\w*\s*\()")
_PATTERN = re.compile(r"""\bmatches\s*\((?:[^"'()]*,)?\s*(r?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))\s*\)""")
"""A regular expression that stands in an expression as it is."""
_QUOTED = re.compile(r"""r?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")


class ExpressionError(Exception):
    """An expression that has no value for this call; the message says why."""


def identity_as_data(who: Identity) -> dict[str, Any]:
    """A caller as plain data, under the names that expressions have for it."""
    return {
        "subject": who.subject,
        "consumer": who.consumer,
        "issuer": who.issuer,
        "scheme": who.scheme,
        "groups": sorted(who.groups),
        "scopes": sorted(who.scopes),
        "claims": dict(who.claims),
        "metadata": dict(who.metadata),
    }


def _identity(call: Call, payload: Payload | None) -> Mapping[str, Any]:
    who: Identity | None = call.identity
    return _NOBODY if who is None else {"key": who.key, **identity_as_data(who)}


_NOBODY: Final[Mapping[str, Any]] = {
    "key": "",
    "subject": "",
    "consumer": "",
    "issuer": "",
    "scheme": "",
    "groups": [],
    "scopes": [],
    "claims": {},
    "metadata": {},
}


def _headers(call: Call, payload: Payload | None) -> Mapping[str, str]:
    found: dict[bytes, bytes] = {}
    for name, value in call.metadata.pairs:
        before = found.get(name)
        found[name] = value if before is None else before + _between(name) + value
    return {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in found.items()}


def _between(name: bytes) -> bytes:
    """What stands between the values of a field that is there more than once (RFC 9110 section 5.3, RFC 9113 section
    8.2.3). Services take the first, the last or all of them: with one of them alone, a condition would be asked of
    another value than the service reads."""
    return b"; " if name == b"cookie" else b", "


def _peer(call: Call, payload: Payload | None) -> Mapping[str, str]:
    host = call.peer.host
    return {"address": host, "network": network_of(host), "identity": call.peer.identity}


def _method(call: Call, payload: Payload | None) -> str:
    return call.method.full_name if call.method is not None else ""


def _service(call: Call, payload: Payload | None) -> str:
    return call.method.service if call.method is not None else ""


def _front_end(call: Call, payload: Payload | None) -> str:
    return call.front_end


def _host(call: Call, payload: Payload | None) -> str:
    if call.head is None:
        return ""
    return host_of(call.head.authority).decode("latin-1")


def _path(call: Call, payload: Payload | None) -> str:
    return path_of(call.head.path) if call.head is not None else ""


def _cost(call: Call, payload: Payload | None) -> Any:
    return 1 if call.attributes is None else call.attributes.get("cost", 1)


def _message(call: Call, payload: Payload | None) -> Any:
    if payload is None:
        if call.payload is None:
            return {}
        # Whatever is decided by it, the service gets the message that it was decided by.
        payload = call.payload = call.payload.settled()
    if payload.codec is None:
        raise ExpressionError("message: an opaque body has no fields")
    return orjson.loads(payload.codec.canonical.to_json(payload.proto()))


_ROOTS: Final[Mapping[str, Reader]] = {
    "identity": _identity,
    "peer": _peer,
    "header": _headers,
    "metadata": _headers,
    "method": _method,
    "service": _service,
    "front_end": _front_end,
    "host": _host,
    "path": _path,
    "cost": _cost,
    "message": _message,
}

_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "identity": frozenset(_NOBODY),
    "peer": frozenset(("address", "network", "identity")),
}
"""The roots whose members are known beforehand."""


def _identity_key(call: Call, payload: Payload | None) -> str:
    return call.identity.key if call.identity is not None else ""


def _subject(call: Call, payload: Payload | None) -> str:
    return call.identity.subject if call.identity is not None else ""


def _consumer(call: Call, payload: Payload | None) -> str:
    return call.identity.consumer if call.identity is not None else ""


def _address(call: Call, payload: Payload | None = None) -> str:
    return call.peer.host


def _network(call: Call, payload: Payload | None) -> str:
    return network_of(call.peer.host)


def _name(call: Call, payload: Payload | None) -> str:
    return call.peer.identity


_FAST: Final[Mapping[str, Callable[[Call, Payload | None], str]]] = {
    "identity.key": _identity_key,
    "identity.subject": _subject,
    "identity.consumer": _consumer,
    "peer.address": _address,
    "peer.network": _network,
    "peer.identity": _name,
}
"""The usual values, read without making what is around them."""


def _quick_key(read: Callable[[Call, Payload | None], str]) -> Key:
    def key(call: Call, payload: Payload | None = None) -> str:
        value = read(call, payload)
        return value if len(value) <= MAX_KEY and value.isascii() else _kept(value)

    return key


def _consumer_key(call: Call, payload: Payload | None = None) -> str:
    """The commonest of them, in one step."""
    identity = call.identity
    if identity is None:
        return ""
    value = identity.consumer
    return value if len(value) <= MAX_KEY and value.isascii() else _kept(value)


_FAST_KEYS: Final[Mapping[str, Key]] = {
    **{name: _quick_key(read) for name, read in _FAST.items()},
    "identity.consumer": _consumer_key,
    "peer.address": _address,
}
"""The same as keys. An address is short and ASCII as it is."""


def _kept(value: str) -> str:
    """A key as it is kept: by the 100,000, in stores that take UTF-8, and a client may choose it. Of one that is long,
    or has half a surrogate pair (a policy of the user's may find anything), a digest."""
    if len(value) <= MAX_KEY:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    return f"sha256:{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _printed(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError:
        # Half a surrogate pair, which this escapes.
        return json.dumps(value, sort_keys=True, separators=(",", ":"))


class Expression:
    """One expression, compiled. `reads_message` says whether it needs the request's fields."""

    __slots__ = ("_read", "key", "reads_message", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError whose message follows the expression: `"…" is not an expression: …`."""
        self.text = text
        if len(text) > MAX_LENGTH:
            raise ValueError(f"is not an expression: it is longer than {MAX_LENGTH} characters")
        if _PATH.fullmatch(text) and text not in ("true", "false", "null"):
            self._read = _compiled_path(text)
            self.reads_message = text.partition(".")[0] == "message"
        else:
            bare = _QUOTED.sub('""', text)
            roots = {word for word in _WORD.findall(bare) if word in _ROOTS}
            for root, member in _MEMBER.findall(bare):
                _check_member(root, member)
            self._read = _compiled_cel(text, roots)
            self.reads_message = "message" in roots
        self.key: Key = _FAST_KEYS.get(text, self._key)
        """Its value as a key: text as it is, other values as JSON, "" for what is not there; of long ones a digest.
        There is always a way to write it as UTF-8."""

    def value(self, call: Call, payload: Payload | None = None) -> Any:
        """Its value; raises ExpressionError, or InvalidRequest when the message it reads is none."""
        return self._read(call, payload)

    @property
    def message_fields(self) -> list[str]:
        """The fields of the message that it names, `book.title` for `message.book.title`."""
        if not self.reads_message:
            return []
        if _PATH.fullmatch(self.text):
            _, _, path = self.text.partition(".")
            return [path] if path else []
        found = _FIELDS.findall(_QUOTED.sub('""', self.text))
        return ["".join(path.split()).removeprefix(".") for path in found]

    def _key(self, call: Call, payload: Payload | None = None) -> str:
        try:
            value = self._read(call, payload)
        except ExpressionError:
            return ""
        if not isinstance(value, str):
            value = "" if value is None else _printed(value)
        return value if len(value) <= MAX_KEY and value.isascii() else _kept(value)

    def holds(self, call: Call, payload: Payload | None = None) -> bool:
        """Whether it is true; raises ExpressionError when it is no truth value or has none."""
        value = self._read(call, payload)
        if value is True or value is False:
            return bool(value)
        raise ExpressionError(f"{self.text}: neither true nor false, but {type(value).__name__}")

    def __repr__(self) -> str:
        return f"<Expression {self.text}>"


def of_head(*written: object) -> bool:
    """None of these, so far as they are expressions, needs the request's fields."""
    return not any(isinstance(one, Expression) and one.reads_message for one in written)


def _check_member(root: str, name: str) -> None:
    known = _MEMBERS.get(root)
    if known is not None and name not in known:
        raise ValueError(f"is not an expression: {root} has no {name}, but {', '.join(sorted(known))}")


def _compiled_path(text: str) -> Reader:
    fast = _FAST.get(text)
    if fast is not None:
        return fast
    root, *members = text.split(".")
    read = _ROOTS.get(root)
    if read is None:
        known = ", ".join(_ROOTS)
        raise ValueError(f"is not an expression: there is no {root}; there are {known}")
    if members:
        _check_member(root, members[0])
    if root in ("header", "metadata"):
        if len(members) != 1:
            raise ValueError(f"is not an expression: write {root}.NAME")
        name = members[0].lower().encode()
        between = _between(name)

        def field(call: Call, payload: Payload | None) -> str:
            found: bytes | None = None
            for key, value in call.metadata.pairs:
                if key == name:
                    found = value if found is None else found + between + value
            return found.decode("utf-8", "replace") if found is not None else ""

        return field
    if not members:
        return read

    def member(call: Call, payload: Payload | None) -> Any:
        value = read(call, payload)
        for name in members:
            if not isinstance(value, Mapping) or name not in value:
                raise ExpressionError(f"{text}: there is no {name}")
            value = value[name]
        return value

    return member


def _compiled_cel(text: str, roots: set[str]) -> Reader:
    try:
        from cel_expr_python import cel  # some platforms have no build of it, and most configs need none
    except ImportError as error:
        raise ValueError("cannot be read: cel-expr-python is not installed; only plain paths do without it") from error
    kinds = {"method": cel.Type.STRING, "service": cel.Type.STRING, "front_end": cel.Type.STRING}
    kinds |= {"host": cel.Type.STRING, "path": cel.Type.STRING}
    environment = cel.NewEnv(variables={name: kinds.get(name, cel.Type.DYN) for name in _ROOTS})
    try:
        program = environment.compile(text)
    except RuntimeError as error:
        raise ValueError(f"is not an expression: {_complaint(str(error))}") from error
    failed = cel.Type.ERROR
    quoted = [found.span() for found in _QUOTED.finditer(text)]
    for found in _PATTERN.finditer(text):
        if any(start < found.start() < end for start, end in quoted):
            continue
        # CEL reads it when it is used, and would have no value for any call.
        tried = environment.compile(f'"".matches({found[1]})').eval(data={})
        if tried.type() == failed:
            raise ValueError(f"is not an expression: {str(tried.value()).partition(': ')[2]}")
    readers = tuple((name, _ROOTS[name]) for name in sorted(roots))

    def evaluate(call: Call, payload: Payload | None) -> Any:
        try:
            result = program.eval(data={name: read(call, payload) for name, read in readers})
        except RuntimeError as error:  # of half a surrogate pair
            raise ExpressionError(f"{text}: is about what is no text") from error
        if result.type() == failed:
            raise ExpressionError(f"{text}: {result.value()}")
        return result.plain_value()

    return evaluate


_CEL_FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): ([^\n]*)")


def _complaint(said: str) -> str:
    found = _CEL_FAULT.search(said)
    return f"{found[3]} (column {found[2]})" if found is not None else said.splitlines()[0]


def parse_expression(value: object) -> Expression:
    """An expression out of a setting."""
    if isinstance(value, Expression):
        return value
    if not isinstance(value, str) or not value.strip():
        refuse("is not an expression: write a path such as identity.subject, or a CEL expression")
    try:
        return Expression(value.strip())
    except ValueError as error:
        refuse(str(error))


ExpressionText = Annotated[
    Expression,
    PlainValidator(parse_expression),
    WithJsonSchema({"type": "string", "examples": ["identity.subject", 'header["x-tenant"] == "a"']}),
]
"""An expression as a setting."""
