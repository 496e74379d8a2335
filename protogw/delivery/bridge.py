"""Carries the calls of one method as calls of another, which another schema describes, perhaps in another language.

Messages go over canonical ProtoJSON, by the names of their fields (`made_at` and `madeAt` are one); where both types
are one on the wire, they are not touched. What the other type does not know is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import orjson

from protogw.call import Call, Encoding, PassingPayloads, Payload, Reply
from protogw.delivery.compare import camel
from protogw.delivery.twin import twin
from protogw.descriptors.model import Method, Schema, Type
from protogw.errors import BadUpstream, InvalidRequest
from protogw.policies.base import Reachable, Target


def counterpart(method: Method, schema: Schema, names: Mapping[str, str]) -> Method | None:
    """The method of `schema` that answers for `method`; None when there is none of its shape.

    `names` are written `package.Service/Method` or `package.Service/*` on both sides. What they do not name, or name as
    the schema does not, is looked for under its own name.
    """
    wanted = names.get(method.full_name)
    if wanted is None and (service := names.get(f"{method.service}/*")) is not None:
        wanted = f"{service.removesuffix('*')}{method.name}"
    for full_name in (wanted, method.full_name):
        service, _, name = (full_name or "").partition("/")
        known = schema.services.get(service)
        found = known.methods.get(name) if known is not None else None
        if found is not None and found.shape == method.shape:
            return found
    return None


def alike(one: Type, other: Type) -> bool:
    """Whether bytes of either type mean the same in the other, as far as that knows their fields."""
    return _alike(one, other, set())


def _alike(one: Type, other: Type, seen: set[tuple[str, str]]) -> bool:
    if one.codec.canonical is not one.codec or other.codec.canonical is not other.codec:
        return False  # its JSON is its service's own
    pair = (one.name, other.name)
    if pair in seen:
        return True
    seen.add(pair)
    numbers = {field.number: name for name, field in other.fields.items()}
    for name, field in one.fields.items():
        known = other.fields.get(name)
        if known is None:
            if field.number in numbers:
                return False
            continue
        same = (field.number, field.kind, field.repeated, field.map_key)
        if same != (known.number, known.kind, known.repeated, known.map_key):
            return False
        if not field.type_name:
            continue
        within, without = one.types.get(field.type_name), other.types.get(known.type_name)
        if within is not None and without is not None:
            if not _alike(within, without, seen):
                return False
        elif field.type_name != known.type_name:
            return False
    return True


def one_call(one: Method, other: Method) -> bool:
    """Whether a call of `one` is, as it stands, a call of `other`: the same name, bytes and bindings."""
    if one.full_name != other.full_name or one.annotated != other.annotated:
        return False
    if one.input is other.input and one.output is other.output and one.binding is other.binding:
        return True
    none = one.binding is None and other.binding is None
    return none and alike(one.input, other.input) and alike(one.output, other.output)


class Bridge:
    """A Target for calls of `method` whose service knows them as `other`.

    Without `answers` its replies are told in the other's words, as they came.
    """

    def __init__(self, target: Target, method: Method, other: Method, *, answers: bool = True) -> None:
        self.name = target.name
        self.kind = target.kind
        self._target = target
        self._method = method
        self._other = other
        self._asks = None if alike(method.input, other.input) else Conversion(method.input, other.input)
        same = not answers or alike(method.output, other.output)
        self._answers = None if same else Conversion(other.output, method.output)

    @property
    def reachable(self) -> bool:
        return not isinstance(self._target, Reachable) or self._target.reachable

    async def send(self, call: Call) -> Reply:
        """Carry one call; raises InvalidRequest when the other's request cannot say it, BadUpstream when this method's
        reply cannot say the other's."""
        payload, payloads, gzip = call.payload, call.payloads, call.gzip
        if self._asks is not None:
            gzip = 0
            payload = self._asks(payload) if payload is not None else None
            payloads = _Converted(payloads, self._asks) if payloads is not None else None
        if self._answers is not None:
            gzip = 0
        sent = twin(call, method=self._other, payload=payload, payloads=payloads, gzip=gzip)
        try:
            reply = await self._target.send(sent)
        finally:
            call.upstream = sent.upstream
        if self._answers is not None:
            if reply.payload is not None:
                reply.payload = _answered(reply.payload, self._answers)
            elif reply.payloads is not None:
                reply.payloads = _Answered(reply.payloads, self._answers)
        return reply

    def __repr__(self) -> str:
        return f"<Bridge {self._method.full_name} as {self._other.full_name} of {self.name}>"


class Renaming:
    """Writes JSON of one type with the names of the other, where a field's differ: `made_at` and `madeAt` are one."""

    def __init__(self, of: Type, to: Type) -> None:
        self._plans: dict[tuple[str, str], dict[str, _Renamed]] = {}
        self._start = (of.name, to.name)
        self._plan(of, to)
        self.needed = any(name != renamed.name for plan in self._plans.values() for name, renamed in plan.items())

    def _plan(self, of: Type, to: Type) -> None:
        pair = (of.name, to.name)
        if pair in self._plans:
            return
        plan = self._plans[pair] = {}
        known = {camel(field.name): field for field in to.fields.values()}
        for field in of.fields.values():
            other = to.fields.get(field.name) or known.get(camel(field.name))
            if other is None:
                continue
            inner, outer = of.types.get(field.type_name), to.types.get(other.type_name)
            within: tuple[str, str] | None = None
            if inner is not None and outer is not None and not inner.name.startswith("google.protobuf."):
                within = (inner.name, outer.name)
                self._plan(inner, outer)
            plan[field.json_name] = _Renamed(other.json_name, within, field.map_key is not None)

    def __call__(self, data: bytes) -> bytes:
        return orjson.dumps(self._renamed(orjson.loads(data), self._start))

    def _renamed(self, value: Any, pair: tuple[str, str]) -> Any:
        if isinstance(value, list):
            return [self._renamed(one, pair) for one in value]
        if not isinstance(value, dict):
            return value
        plan = self._plans[pair]
        found: dict[str, Any] = {}
        for name, inner in value.items():
            renamed = plan.get(name)
            if renamed is None:
                found[name] = inner
            elif renamed.within is None:
                found[renamed.name] = inner
            elif renamed.map and isinstance(inner, dict):
                found[renamed.name] = {key: self._renamed(one, renamed.within) for key, one in inner.items()}
            else:
                found[renamed.name] = self._renamed(inner, renamed.within)
        return found


class _Renamed(NamedTuple):
    """What a field is called by the other type, and the types of the messages in it."""

    name: str
    within: tuple[str, str] | None
    map: bool


class Conversion:
    """Messages of one type as messages of another, over canonical JSON."""

    def __init__(self, of: Type, to: Type) -> None:
        self._of = of
        self.to = to
        renaming = Renaming(of, to)
        self._renaming = renaming if renaming.needed else None

    def __call__(self, payload: Payload) -> Payload:
        """The converted message; raises InvalidRequest naming the field that does not fit."""
        data = canonical(payload, self._of)
        if self._renaming is not None:
            data = self._renaming(data)
        codec = self.to.codec
        return Payload(codec.canonical.lenient.from_json(data), Encoding.PROTO, codec)


def canonical(payload: Payload, kind: Type) -> bytes:
    """The message as canonical ProtoJSON; raises InvalidRequest when it is none of this type."""
    codec = kind.codec
    if payload.encoding is Encoding.JSON and codec.canonical is codec:
        return payload.data
    data = payload.data if payload.encoding is Encoding.PROTO else codec.from_json(payload.data)
    return codec.canonical.to_json(data)


def _answered(payload: Payload, conversion: Conversion) -> Payload:
    try:
        return conversion(payload)
    except InvalidRequest as error:
        raise BadUpstream(f"a reply cannot be told as {conversion.to.name}: {error.message}") from error


class _Converted(PassingPayloads):
    """Messages, each converted as it is read."""

    __slots__ = ("_conversion",)

    def __init__(self, payloads: AsyncIterator[Payload], conversion: Conversion) -> None:
        super().__init__(payloads)
        self._conversion = conversion

    async def __anext__(self) -> Payload:
        return self._conversion(await self._payloads.__anext__())


class _Answered(_Converted):
    """Messages of a reply."""

    __slots__ = ()

    async def __anext__(self) -> Payload:
        return _answered(await self._payloads.__anext__(), self._conversion)
