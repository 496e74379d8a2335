"""Messages are checked against what their own schema asks of them, before a service gets them and before a client does.

Of streams each message is checked when it comes. What is wrong is told as google.rpc.BadRequest and
buf.validate.Violations, which every protocol that has details carries.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from protogw.call import Call, Encoding, PassingPayloads, Payload, Reply
from protogw.descriptors.model import Method, Spelling
from protogw.errors import BadUpstream, BodyTooLarge, Code, GatewayError, InvalidRequest
from protogw.policies.base import Handler, PolicySettings, Tools
from protogw.policies.message_checks import Checks, Known
from protogw.policies.seldom import Seldom
from protogw.values import Bytes

log = logging.getLogger("protogw")

_MOST_UNSAID = 50


class ValidateSettings(PolicySettings):
    """Which messages are checked, and what becomes of those that are not as their schema says."""

    request: Literal["refuse", "log", "off"] = "refuse"
    """Messages that clients send: refused as INVALID_ARGUMENT with every violation, only logged, or not looked at."""
    reply: Literal["refuse", "log", "off"] = "off"
    """Messages that services answer with: turned into an INTERNAL error, only logged, or not looked at."""
    max_message: Annotated[Bytes, Field(ge=1024, le=64 << 20)] = 4 << 20
    """The largest message that is checked; a larger one is refused, or logged. It bounds what a check can cost."""


class _Plan:
    """What is checked of one method."""

    __slots__ = ("fault", "method", "reply", "request", "unsaid")

    def __init__(self, method: Method, settings: ValidateSettings, known: Known) -> None:
        self.method = method
        self.request: Checks | None = None
        self.reply: Checks | None = None
        self.fault = ""
        self.unsaid: list[str] = []
        """What the schema asks and cannot be checked, each with the setting that it would be checked for."""
        try:
            if settings.request != "off":
                self.request = self._checks("request", Checks(method.input, known))
            if settings.reply != "off":
                self.reply = self._checks("reply", Checks(method.output, known))
        except ValueError as error:
            self.fault = str(error)

    def _checks(self, key: str, made: Checks) -> Checks | None:
        self.unsaid.extend(f"{key}: {said}" for said in made.unsaid)
        return made if made.any else None


class Validate:
    """Checks messages against the rules of their own schema: required fields, protovalidate's and JSON Schema's.

    What a JSON Schema asks is made of rules of protovalidate's by then (descriptors/rules.py)."""

    kind: ClassVar[str] = "validate"
    Settings: ClassVar[type[PolicySettings]] = ValidateSettings

    def __init__(self, settings: ValidateSettings) -> None:
        self._settings = settings
        self._most = settings.max_message
        self._name = "validate"
        self._spelling: Callable[[str], Spelling] = lambda front_end: Spelling.PROTO
        self._plans: dict[bytes, _Plan] = {}
        self._telling = Seldom()
        self.logged = 0
        """Messages that were not as their schema says and were let through."""

    def equip(self, tools: Tools) -> None:
        self._name = tools.name
        self._spelling = tools.spelling

    def fit(self, methods: Sequence[Method], complete: bool) -> list[str]:
        """The methods that this policy is around have come or changed."""
        known = Known()
        self._plans = {method.path: _Plan(method, self._settings, known) for method in methods}
        faults = list(dict.fromkeys(plan.fault for plan in self._plans.values() if plan.fault))
        unsaid = list(dict.fromkeys(said for plan in self._plans.values() for said in plan.unsaid))
        if len(unsaid) > _MOST_UNSAID:
            unsaid[_MOST_UNSAID:] = [f"and {len(unsaid) - _MOST_UNSAID} more of a schema's demands are not enforced"]
        return [*faults, *unsaid]

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        method = call.method
        if method is None:
            return await forward(call)
        plan = self._plans.get(method.path)
        if plan is None or plan.method is not method:
            plan = self._plans[method.path] = _Plan(method, self._settings, Known())
        if plan.fault:
            raise GatewayError("the method's rules cannot be used", code=Code.FAILED_PRECONDITION)
        checks = plan.request
        if checks is not None:
            if call.payloads is not None:
                call.payloads = _Checked(call.payloads, checks, self._asked, self._spelling(call.front_end))
            elif call.payload is not None:
                self._asked(call.payload, checks, self._spelling(call.front_end))
        reply = await forward(call)
        checks = plan.reply
        if checks is not None:
            if reply.payloads is not None:
                reply.payloads = _Checked(reply.payloads, checks, self._answered, Spelling.PROTO)
            elif reply.payload is not None:
                self._answered(reply.payload, checks, Spelling.PROTO)
        return reply

    def _asked(self, payload: Payload, checks: Checks, spelling: Spelling) -> None:
        """Check what a client sent; raises InvalidRequest."""
        try:
            self._check(payload, checks, spelling)
        except InvalidRequest as error:
            if self._settings.request == "refuse":
                raise
            self._log("a request", error)

    def _answered(self, payload: Payload, checks: Checks, spelling: Spelling) -> None:
        """Check what the service answered; raises BadUpstream, without what the message holds."""
        try:
            self._check(payload, checks, spelling)
        except InvalidRequest as error:
            self._log("a reply", error)
            if self._settings.reply == "refuse":
                raise BadUpstream("the reply is not what its schema says") from error

    def _check(self, payload: Payload, checks: Checks, spelling: Spelling) -> None:
        if len(payload.data) > self._most:
            raise BodyTooLarge(f"a message of {len(payload.data)} bytes is larger than those that are checked")
        if spelling is Spelling.PROTO and payload.encoding is Encoding.JSON:
            spelling = Spelling.JSON
        checks.check(payload, spelling)

    def _log(self, what: str, error: InvalidRequest) -> None:
        self.logged += 1
        if self._telling.due():
            log.warning("policies.%s: %s is not as its schema says: %s", self._name, what, error.message)


class _Checked(PassingPayloads):
    """The messages of a stream, each checked before it goes on."""

    __slots__ = ("_check", "_checks", "_spelling")

    def __init__(
        self,
        payloads: AsyncIterator[Payload],
        checks: Checks,
        check: Callable[[Payload, Checks, Spelling], None],
        spelling: Spelling,
    ) -> None:
        super().__init__(payloads)
        self._spelling = spelling
        self._checks = checks
        self._check = check

    async def __anext__(self) -> Payload:
        payload = await self._payloads.__anext__()
        self._check(payload, self._checks, self._spelling)
        return payload
