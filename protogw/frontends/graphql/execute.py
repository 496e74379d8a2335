"""Runs plans: calls that need no other are made at once, equal ones of a query once, a mutation's one by one.

Every call counts its deadline from the moment the request came in. When the client goes, all of them are cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from google.protobuf.message import DecodeError

from protogw.call import ASKED_BY, PARTIAL, RENEWED, Call, Encoding, Metadata, Payload, Withheld
from protogw.descriptors.to_graphql_model import RootField
from protogw.errors import BadUpstream, Code, GatewayError, InternalError, InvalidRequest, Status
from protogw.frontends.enveloped import close, written
from protogw.frontends.graphql.bound import Bound
from protogw.frontends.graphql.plan import Asked, Plan, Told, Variables
from protogw.frontends.graphql.projection import Unsayable
from protogw.frontends.graphql.refusals import BAD_USER_INPUT, Types, of_error, of_status, unsaid

if TYPE_CHECKING:
    from protogw.frontends.base import Handler
    from protogw.frontends.graphql.documents import Operation
    from protogw.wire.http import Header, Peer, RequestHead

Response: TypeAlias = dict[str, Any]
"""A response as the specification has it: data, errors."""
Saw: TypeAlias = Callable[[Call], None]
Ended: TypeAlias = Callable[[Call, float, GatewayError | None], None]
"""Told of a call that has ended, of how long it took in seconds, and of the error that it ended with."""
Send: TypeAlias = Callable[[Response], Awaitable[None]]
"""Takes one response of several; returns once there is room for the next."""


class Origin:
    """Where the calls of a request come from, and when it came in."""

    __slots__ = (
        "ended",
        "gateway",
        "head",
        "kind",
        "metadata",
        "operation",
        "peer",
        "renewed",
        "request",
        "saw",
        "started",
        "timeout",
    )

    def __init__(
        self,
        kind: str,
        handle: Handler,
        head: RequestHead,
        peer: Peer,
        metadata: Metadata,
        *,
        started: float,
        timeout: float | None,
        saw: Saw,
        ended: Ended | None = None,
        request: object = None,
    ) -> None:
        """`saw` is told of each call before it is made, `ended` afterwards. `request` is what stands for the HTTP
        request that brought it, where that has brought others."""
        self.kind = kind
        self.gateway = handle
        self.head = head
        self.peer = peer
        self.metadata = metadata
        self.started = started
        self.timeout = timeout
        self.saw = saw
        self.ended = ended
        self.request = request or object()
        self.operation: Operation | None = None
        """What its calls are made for; set once it is known, before the first of them."""
        self.renewed: Callable[[], Metadata] | None = None
        """What the metadata is by now, where the client can say anew who it is."""

    def call(self, root: RootField, request: bytes, cost: int) -> Call:
        call = Call(
            root.method,
            self.metadata,
            front_end=self.kind,
            peer=self.peer,
            started=self.started,
            head=self.head,
            payload=Payload(request, Encoding.PROTO, root.method.input.codec),
            timeout=self.timeout,
        )
        call.attributes = {"cost": cost, PARTIAL: True, ASKED_BY: self.request}
        if self.renewed is not None:
            call.attributes[RENEWED] = self.renewed
        self.saw(call)
        return call


class Increments(Protocol):
    """Where a response goes that comes in several pieces."""

    def start(self) -> None: ...

    async def first(self, response: Response) -> None: ...

    async def later(self, response: Response, label: str | None, *, more: bool) -> None: ...

    def end(self) -> None: ...


class _Failure:
    """How a call failed."""

    __slots__ = ("error", "status")

    def __init__(self, status: Status, error: GatewayError | None) -> None:
        self.status = status
        self.error = error


class _Lacking:
    """A reply message that is not all there."""

    __slots__ = ("message", "withheld")

    def __init__(self, message: Any, withheld: tuple[Withheld, ...]) -> None:
        self.message = message
        self.withheld = withheld


class Executor:
    """Runs the plans of one schema."""

    def __init__(self, bound: Bound, *, masked: bool) -> None:
        self._bound = bound
        self._masked = masked

    async def run(self, plan: Plan, variables: Variables, origin: Origin) -> tuple[Response, list[Header]]:
        """The response of a query or mutation, and the metadata that the replies came with."""
        return await self.entries(plan.entries, variables, origin, serially=plan.root == "mutation")

    async def entries(
        self, entries: tuple[Asked | Told, ...], variables: Variables, origin: Origin, *, serially: bool = False
    ) -> tuple[Response, list[Header]]:
        """What these entries of a plan come to."""
        data: dict[str, Any] = {}
        errors: list[dict[str, Any]] = []
        metadata: list[Header] = []
        asked: list[tuple[Asked, bytes]] = []
        for entry in entries:
            data[entry.key] = None
            if isinstance(entry, Told):
                data[entry.key] = entry.answer(variables)
                continue
            try:
                asked.append((entry, entry.request(variables)))
            except InvalidRequest as error:
                errors.append(_bad_input(entry, error.message))
        if len(asked) == 1:
            entry, request = asked[0]
            self._show(entry, await self._ask(entry.root, request, origin, metadata, entry.cost), data, errors)
        elif serially:
            for entry, request in asked:
                self._show(entry, await self._ask(entry.root, request, origin, metadata, entry.cost), data, errors)
        elif asked:
            await self._at_once(asked, origin, data, errors, metadata)
        response: Response = {"data": data}
        if errors:
            response = {"errors": errors, "data": data}
        return response, metadata

    async def _at_once(
        self,
        asked: list[tuple[Asked, bytes]],
        origin: Origin,
        data: dict[str, Any],
        errors: list[dict[str, Any]],
        metadata: list[Header],
    ) -> None:
        """Make the calls together, and of equal ones only the first."""
        wanted: dict[tuple[RootField, bytes], list[Asked]] = {}
        for entry, request in asked:
            wanted.setdefault((entry.root, request), []).append(entry)
        tasks = [
            asyncio.ensure_future(self._ask(root, request, origin, metadata, sum(entry.cost for entry in entries)))
            for (root, request), entries in wanted.items()
        ]
        try:
            outcomes = await asyncio.gather(*tasks)
        except BaseException:  # cancelled, too: its calls go with the request
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        for entries, outcome in zip(wanted.values(), outcomes, strict=True):
            for entry in entries:
                self._show(entry, outcome, data, errors)

    async def _ask(self, root: RootField, request: bytes, origin: Origin, metadata: list[Header], cost: int) -> Any:
        """The reply message of one call, a _Lacking or a _Failure."""
        call = origin.call(root, request, cost)
        ended = origin.ended
        began = asyncio.get_running_loop().time() if ended is not None else 0.0
        failed: GatewayError | None = None
        try:
            reply = await origin.gateway(call)
        except GatewayError as error:
            failed = error
            return _Failure(error.status, error)
        except asyncio.CancelledError:
            if call.cut is None:
                raise
            failed = _cut(call.cut)
            return _Failure(failed.status, failed)
        finally:
            call.ended()
            if call.notes:
                names = call.notes[0]
                metadata[:] = [pair for pair in metadata if pair[0] not in names]
                metadata.extend(call.noted())
            if ended is not None:
                ended(call, asyncio.get_running_loop().time() - began, failed)
        if reply.metadata.pairs:
            metadata.extend(pair for pair in reply.metadata.pairs if pair not in metadata)
        if reply.status.code is not Code.OK:
            return _Failure(reply.status, None)
        if reply.payload is None:
            return _Failure(Status(Code.INTERNAL), InternalError())
        try:
            return self._message(root, reply.payload, reply.withheld)
        except GatewayError as error:
            return _Failure(error.status, error)

    def _message(self, root: RootField, payload: Payload, withheld: tuple[Withheld, ...]) -> Any:
        made = self._bound.messages(root.schema).of(root.method.output.name)
        try:
            message = made.FromString(written(payload, Encoding.PROTO))
        except DecodeError as error:
            raise BadUpstream("the reply does not parse") from error
        return _Lacking(message, withheld) if withheld else message

    def _show(self, entry: Asked, outcome: Any, data: dict[str, Any], errors: list[dict[str, Any]]) -> None:
        """Put what a call came to into the response."""
        if isinstance(outcome, _Failure):
            errors.append(self._entry(entry, outcome))
            return
        shown = entry.shown
        if isinstance(outcome, _Lacking):
            shown, outcome = entry.shown_without(outcome.withheld), outcome.message
        try:
            data[entry.key] = shown.show(outcome)
        except Unsayable:
            data[entry.key] = shown.show_carefully(outcome, (entry.key,), entry.location, errors)

    def _entry(self, entry: Asked, failure: _Failure) -> dict[str, Any]:
        types: Types = entry.root.schema.types.get
        path = (entry.key,)
        if failure.error is not None:
            return of_error(failure.error, path, entry.location, types, masked=self._masked)
        return of_status(failure.status, path, entry.location, types, masked=self._masked)

    async def increments(self, plan: Plan, variables: Variables, origin: Origin, answer: Increments) -> None:
        """Send what is not deferred, then each deferred fragment when its calls are done; all run at once."""
        waiting = [
            asyncio.ensure_future(self._labelled(label.label, entries, variables, origin))
            for label, entries in plan.later
        ]
        try:
            response, _ = await self.run(plan, variables, origin)
            answer.start()
            await answer.first(response)
            left = len(waiting)
            for done in asyncio.as_completed(waiting):
                later, label = await done
                left -= 1
                await answer.later(later, label, more=left > 0)
            answer.end()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _labelled(
        self, label: str | None, entries: tuple[Asked | Told, ...], variables: Variables, origin: Origin
    ) -> tuple[Response, str | None]:
        response, _ = await self.entries(entries, variables, origin)
        return response, label

    async def stream(self, plan: Plan, variables: Variables, origin: Origin, send: Send) -> None:
        """Send the responses of a subscription, one for each message of the stream; the last may be a failure.

        Only when one is sent is the next message read.
        """
        (entry,) = plan.entries
        if isinstance(entry, Told):
            await send({"data": {entry.key: entry.answer(variables)}})
            return
        try:
            request = entry.request(variables)
        except InvalidRequest as error:
            await send({"errors": [_bad_input(entry, error.message)]})
            return
        call = origin.call(entry.root, request, entry.cost)
        began = asyncio.get_running_loop().time()
        failed: GatewayError | None = None
        failure: _Failure | None = None
        try:
            failure = await self._messages(entry, call, origin, send)
        except GatewayError as error:
            failed = error
        except asyncio.CancelledError:
            if call.cut is None:
                raise
            failed = _cut(call.cut)
        finally:
            call.ended()
            if origin.ended is not None:
                origin.ended(call, asyncio.get_running_loop().time() - began, failed)
        if failed is not None:
            failure = _Failure(failed.status, failed)
        if failure is not None:
            await send({"errors": [self._entry(entry, failure)], "data": {entry.key: None}})

    async def _messages(self, entry: Asked, call: Call, origin: Origin, send: Send) -> _Failure | None:
        """Send an event for each message; returns how the stream failed, if it did."""
        reply = await origin.gateway(call)
        payloads = reply.payloads
        if payloads is not None:
            try:
                async for payload in payloads:
                    await send(self._event(entry, payload, reply.withheld))
            finally:
                await close(payloads)
        elif reply.payload is not None and reply.status.code is Code.OK:
            await send(self._event(entry, reply.payload, reply.withheld))
        return None if reply.status.code is Code.OK else _Failure(reply.status, None)

    def _event(self, entry: Asked, payload: Payload, withheld: tuple[Withheld, ...]) -> Response:
        data: dict[str, Any] = {entry.key: None}
        errors: list[dict[str, Any]] = []
        self._show(entry, self._message(entry.root, payload, withheld), data, errors)
        return {"errors": errors, "data": data} if errors else {"data": data}


def _cut(error: GatewayError) -> GatewayError:
    """The gateway itself has cancelled the task that waited, for this: it goes on."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    return error


def _bad_input(entry: Asked, message: str) -> dict[str, Any]:
    found = unsaid(message, (entry.key,), entry.location)
    found["extensions"] = {"code": BAD_USER_INPUT}
    return found
