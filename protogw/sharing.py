"""What a route's `fan_in` and `share` say, made into the targets that its calls go to.

They are kept from one schema to the next as long as the method is the same, so that a schema that comes again does not
part those who talk to each other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from protogw.call import Call, Reply
from protogw.config import Route
from protogw.config.fan_in import FanIn as FanInConfig
from protogw.descriptors.model import Method, Type
from protogw.errors import Code, GatewayError, InvalidRequest
from protogw.fanin.fan_in import FanIn, Options
from protogw.fanin.fields import FieldFault, TextField
from protogw.fanin.hub import Rules
from protogw.fanin.outbox import Slow
from protogw.fanin.shared import SharedStreams
from protogw.policies.base import Target
from protogw.routing.route import UNARY_TIMEOUT_S


class Misfit(Exception):
    """What a route says does not fit the method; the message names the key."""


class Refusing:
    """Stands where a fan-in cannot be made: letting calls through without it would show clients each other's."""

    def __init__(self, target: Target, why: str) -> None:
        self.name = target.name
        self.kind = target.kind
        self._why = why

    async def send(self, call: Call) -> Reply:
        raise GatewayError(f"the method cannot be offered as configured: {self._why}", code=Code.FAILED_PRECONDITION)


class Sharing:
    """Makes the targets. `own` keeps a task until it ends or the gateway does."""

    def __init__(self, own: Callable[[asyncio.Task[None]], None]) -> None:
        self._own = own
        self._fan_ins: dict[tuple[str, str], FanIn] = {}
        self._streams: dict[tuple[str, str], SharedStreams] = {}

    def target(self, name: str, route: Route, method: Method, target: Target, faults: list[str]) -> Target:
        """Where calls of the method go by the route of this name: `target` itself, or what shares it."""
        key = (name, method.full_name)
        if route.fan_in is not None:
            known = self._fan_ins.get(key)
            if known is not None and known.method is method:
                return known
            try:
                made = self._fan_ins[key] = self._fan_in(route, route.fan_in, method, target)
            except Misfit as fault:
                faults.append(f"{name}.fan_in{fault}")
                return Refusing(target, f"fan_in{fault}")
            return made
        if route.share is not None and method.server_streaming and not method.client_streaming:
            streams = self._streams.get(key)
            if streams is None:
                written = route.share
                scope = tuple(one.encode() for one in written.by)
                streams = SharedStreams(target, scope, written.buffer, Slow(written.slow), self._own)
                self._streams[key] = streams
            return streams
        return target

    def _fan_in(self, route: Route, written: FanInConfig, method: Method, target: Target) -> FanIn:
        if method.server_streaming and not method.client_streaming:
            raise Misfit(f": {method.full_name} takes one request and answers with a stream: use share")
        asks, answers = method.input, method.output
        names = written.reply_key is not None or written.reply_topic is not None
        unaddressed = written.unaddressed or ("drop" if names or method.unary else "broadcast")
        rules = Rules(
            key=_field(asks, "key", written.key, singular=True),
            subscribe=_field(asks, "subscribe", written.subscribe),
            unsubscribe=_field(asks, "unsubscribe", written.unsubscribe),
            reply_key=_field(answers, "reply_key", written.reply_key),
            reply_topic=_field(answers, "reply_topic", written.reply_topic),
            broadcast=unaddressed == "broadcast",
        )
        options = Options(
            by_identity=written.identify == "identity",
            buffer=written.buffer,
            slow=Slow(written.slow),
            pending=written.pending,
            replay=written.replay,
            linger_s=written.linger,
            connect=_message(asks, "connect", written.connect),
            disconnect=_message(asks, "disconnect", written.disconnect),
            lost=_message(answers, "lost", written.lost),
            resumed=_message(answers, "resumed", written.resumed),
            unary_timeout_s=route.timeout if route.timeout is not None else UNARY_TIMEOUT_S,
        )
        return FanIn(target, method, rules, options, self._own)


def _field(message: Type, name: str, path: str | None, *, singular: bool = False) -> TextField | None:
    if path is None:
        return None
    try:
        field = TextField(message, path)
    except FieldFault as fault:
        raise Misfit(f".{name}: {fault}") from None
    if singular and field.repeated:
        raise Misfit(f".{name}: {message.name}.{path} is a list")
    return field


def _message(kind: Type, name: str, written: Mapping[str, Any] | None) -> bytes | None:
    if written is None:
        return None
    try:
        return kind.codec.from_json(json.dumps(written).encode())
    except InvalidRequest as fault:
        raise Misfit(f".{name}: {fault.message}") from None
