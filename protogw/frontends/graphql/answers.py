"""Answers a client that takes several responses: over server-sent events, or in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protogw.frontends.graphql.execute import Origin
from protogw.frontends.graphql.operations import perform
from protogw.frontends.graphql.refusals import BAD_REQUEST, Refused, refused
from protogw.frontends.graphql.request import Params
from protogw.frontends.graphql.served import Served
from protogw.frontends.graphql.streams import Events, Increments, Parts

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange
    from protogw.frontends.graphql.documents import Operation


def check_verb(operation: Operation, verb: bytes) -> None:
    """Raises Refused when a GET would change something."""
    if verb == b"GET" and operation.root == "mutation":
        raise refused(BAD_REQUEST, "a mutation needs POST", http=405, headers=((b"allow", b"POST"),))


async def as_events(exchange: Exchange, served: Served, params: Params, origin: Origin, heartbeat_s: float) -> None:
    """Any operation as one event stream (graphql-sse, distinct connections mode)."""
    events = Events(exchange, heartbeat_s)
    try:
        check_verb(served.operation(params), exchange.head.method)
    except Refused as refusal:
        # What is wrong with the document is an event; what is wrong with the request is not.
        if refusal.http != 400 or refusal.errors[0]["extensions"]["code"] == BAD_REQUEST:
            raise
        events.start()
        events.end(list(refusal.errors))
        return
    exchange.state = events
    try:
        events.start()
        try:
            await perform(served, params, origin, events.send)
        except Refused as refusal:
            events.end(list(refusal.errors))
        else:
            events.end()
    finally:
        events.stop()


async def as_parts(exchange: Exchange, served: Served, params: Params, origin: Origin, heartbeat_s: float) -> bool:
    """A subscription, or a query that defers something, in parts; False when it is neither and has one response."""
    operation = origin.operation = served.operation(params)
    variables = operation.read(params.variables)
    if operation.root == "subscription":
        parts = Parts(exchange, heartbeat_s)
        exchange.state = parts
        try:
            parts.start()
            await served.executor.stream(operation.plan(variables, defer=False), variables, origin, parts.send)
            parts.end()
        finally:
            parts.stop()
        return True
    plan = operation.plan(variables, defer=True)
    if not plan.later:
        return False
    increments = Increments(exchange)
    exchange.state = increments
    await served.executor.increments(plan, variables, origin, increments)
    return True
