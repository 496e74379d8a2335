"""Rights on single fields: messages without what the caller may not have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import PARTIAL, Call, Encoding, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import BadUpstream, Code, Forbidden, InvalidRequest, Status
from protogw.policies.inspected import Inspected
from protogw.policies.rights import Requirement, Rights
from protogw.values import refuse
from protogw.wire.sieve import Cut, Found, Sieve, UnknownField, check_path, field_of, sieve_of, takes_text

_PATH = re.compile(r"(?:[A-Za-z_][\w.]*/)?[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")

MASK: Final = "***"


class FieldRule(Rights):
    """One field, and what the caller must have to write or read it."""

    field: Annotated[str, StringConstraints(max_length=1000)]
    """A path in the message (`book.price`, through lists and map values too), or `package.Type/field`: that field
    wherever a message of this type is."""
    of: Literal["reply", "request"] = "reply"
    """Whose field it is."""
    otherwise: Literal["remove", "mask", "refuse"] = "remove"
    """What becomes of it for callers who may not: taken out; a text in replies replaced by `***` (what is no text is
    taken out); or the call is refused, unless its client can be told of single fields: then the reply is without it."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if _PATH.fullmatch(self.field) is None or ("/" in self.field and "." in self.field.rpartition("/")[2]):
            refuse("is not a field: write field.field or package.Type/field")
        if not self.any:
            raise PydanticCustomError("rights", "{reason}", {"reason": "asks for nothing: say who may"})
        if self.otherwise == "mask" and self.of == "request":
            raise PydanticCustomError("mask", "{reason}", {"reason": "requests are not masked: write remove or refuse"})
        return self


class MethodFields:
    """The field rules of one rule, for one method."""

    __slots__ = ("_method", "_reply", "_request", "_sieves")

    def __init__(self, method: Method, rules: Sequence[tuple[FieldRule, Requirement]]) -> None:
        self._method = method
        self._request = tuple(pair for pair in rules if pair[0].of == "request")
        self._reply = tuple(pair for pair in rules if pair[0].of == "reply")
        self._sieves: dict[tuple[bool, int, bool, bool], Sieve] = {}

    def take(self, call: Call) -> None:
        """Cut the call's request; raises Forbidden for fields that it must not have."""
        if not self._request:
            return
        if call.payloads is not None:
            call.payloads = Inspected(call.payloads, lambda payload: self._asked(call, payload))
        elif call.payload is not None:
            call.payload = self._asked(call, call.payload)

    @property
    def withheld(self) -> frozenset[str]:
        """The fields of replies that callers without any right may not see, each as `package.Type/field`."""
        found = [(rule, field_of(self._method.output, rule.field)) for rule, _ in self._reply]
        return frozenset(
            f"{its[0].name}/{its[1].name}"
            for rule, its in found
            if its is not None and not (rule.otherwise == "mask" and takes_text(its[1]))
        )

    def _asked(self, call: Call, payload: Payload) -> Payload:
        lacking = _lacking(self._request, call, payload)
        if not lacking:
            return payload
        try:
            return _sifted(self._sieve(call, lacking, request=True), payload)
        except Found as found:
            raise Forbidden(f"{self._method.full_name}: the caller may not set {found.path}") from found
        except ValueError as error:
            raise InvalidRequest(f"the message does not parse: {error}") from error

    def give(self, call: Call, reply: Reply) -> Reply:
        """The reply without what the caller may not have; raises Forbidden when it is to be refused for that, and the
        client cannot be told of the field alone."""
        lacking = _lacking(self._reply, call, None) if self._reply else 0
        if not lacking:
            return reply
        sieve = self._sieve(call, lacking, request=False)
        if sieve.empty:
            return reply
        reply.withheld = (*reply.withheld, sieve)
        if reply.payloads is not None:
            reply.payloads = Inspected(reply.payloads, lambda payload: self._told(sieve, payload))
        elif reply.payload is not None:
            whole = reply.payload
            reply.payload = self._told(sieve, whole)
            if reply.payload is not whole and reply.metadata.get(b"etag") is not None:
                # It tells versions of the whole message apart, and so something of what was cut.
                reply.metadata = reply.metadata.without((b"etag",))
        return reply

    def _told(self, sieve: Sieve, payload: Payload) -> Payload:
        try:
            return _sifted(sieve, payload)
        except Found as found:
            raise Forbidden(f"{self._method.full_name}: the caller may not see {found.path}") from found
        except ValueError as error:
            raise BadUpstream(f"the reply does not parse: {error}") from error

    def _sieve(self, call: Call, lacking: int, *, request: bool) -> Sieve:
        partial = not request and call.attributes is not None and PARTIAL in call.attributes
        key = (request, lacking, partial, call.identity is None)
        known = self._sieves.get(key)
        if known is None:
            rules = self._request if request else self._reply
            root = self._method.input if request else self._method.output
            cuts = [
                Cut(
                    path=rule.field,
                    refuse=rule.otherwise == "refuse" and not partial,
                    text=MASK if rule.otherwise == "mask" else None,
                    why=self._why(call, rule.field),
                )
                for index, (rule, _) in enumerate(rules)
                if lacking & 1 << index
            ]
            known = self._sieves[key] = sieve_of(root, cuts)
        return known

    def _why(self, call: Call, field: str) -> Status:
        """What is told of a field that this caller may not see."""
        name = self._method.full_name
        if call.identity is None:
            return Status(Code.UNAUTHENTICATED, f"{name}: nobody vouches for the caller, who may not see {field}")
        return Status(Code.PERMISSION_DENIED, f"{name}: the caller may not see {field}")


def _lacking(rules: Sequence[tuple[FieldRule, Requirement]], call: Call, payload: Payload | None) -> int:
    """The rules whose rights the caller does not have, as bits."""
    found = 0
    for index, (_, needs) in enumerate(rules):
        if not needs.met(call, payload):
            found |= 1 << index
    return found


def _sifted(sieve: Sieve, payload: Payload) -> Payload:
    if sieve.empty:
        return payload
    data = payload.proto()
    left = sieve.sift(data)
    if left is data and payload.encoding is Encoding.PROTO:
        return payload
    # As protobuf even when nothing was cut: what was read here is then what everyone after reads.
    return Payload(left, Encoding.PROTO, payload.codec)


def misfits(rules: Sequence[FieldRule], methods: Sequence[Method]) -> list[str]:
    """The rules whose field none of these methods has."""
    faults: list[str] = []
    for rule in rules:
        said = ""
        for method in methods:
            try:
                check_path(method.input if rule.of == "request" else method.output, rule.field)
                break
            except UnknownField as error:
                said = str(error)
        else:
            if methods:
                faults.append(f"{rule.field}: {said}")
    return faults
