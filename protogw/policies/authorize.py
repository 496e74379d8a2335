"""Authorization: who may call which method, under which conditions, and which fields they may write and read.

Rules are about methods, so one holds in whatever protocol, batch or alias a call comes. Plain HTTP has no methods; its
rules are about paths, which only plain HTTP is matched by: a path rule for a method could be walked around.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import Forbidden, GatewayError, Unauthenticated
from protogw.policies.authorize_fields import FieldRule, MethodFields, misfits
from protogw.policies.base import Handler, PolicySettings
from protogw.policies.called import meant, names
from protogw.policies.inspected import Inspected
from protogw.policies.rights import Requirement, Rights
from protogw.routing.matcher import ANY, Entry, Match, Matcher
from protogw.values import LISTED, Short, refuse
from protogw.wire.path_template import TemplateError, parse

_CALL = re.compile(r"[A-Za-z_][\w.]*/[A-Za-z_]\w*|(?:[A-Za-z_][\w.]*[./])?\*")
_VERB = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}")


def _call(value: str) -> str:
    text = value.removeprefix("/")
    if _CALL.fullmatch(text) is None:
        refuse("is not a call: write package.Service/Method, package.Service/*, package.* or *")
    return text


def _path(value: str) -> str:
    try:
        parse(value)
    except TemplateError as error:
        refuse(f"is not a path template: {str(error).removeprefix(value + ': ')}")
    return value


def _verb(value: str) -> str:
    if _VERB.fullmatch(value) is None:
        refuse("is not an HTTP method")
    return value.upper()


class RuleMatch(BaseModel):
    """Which calls a rule is for: calls of methods, or plain HTTP."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    call: Annotated[tuple[Annotated[str, AfterValidator(_call)], ...], LISTED] = ()
    """`package.Service/Method`, `package.Service/*`, `package.*` for all below a package, or `*` for every method."""
    path: Annotated[tuple[Annotated[str, AfterValidator(_path)], ...], LISTED] = ()
    """Path templates of plain HTTP (`/admin/**`). Calls of methods are never matched by path, however they come."""
    method: Annotated[tuple[Annotated[str, AfterValidator(_verb)], ...], LISTED] = ()
    """HTTP methods, beside a path. GET includes HEAD. Default: any."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if not self.call and not self.path:
            raise PydanticCustomError("match", "{reason}", {"reason": "has neither call nor path"})
        if self.method and not self.path:
            raise PydanticCustomError("match", "{reason}", {"reason": "method belongs to a path"})
        return self


class Rule(Rights):
    """Who may do one thing. Without any right written: every caller whom an authentication policy knows."""

    match: Annotated[
        RuleMatch | None,
        Short(lambda value: {"call": value} if isinstance(value, (str, list)) else value, {"type": "string"}),
    ] = None
    """What the rule is for: a call (`library.v1.Library/*`), a list of calls, or a mapping. Default: everything."""
    anonymous: bool = False
    """Callers whom nobody vouches for may too; of the rights, only `when` can be beside it."""
    deny: bool = False
    """Nobody may."""
    fields: Annotated[tuple[FieldRule, ...], LISTED, Field(max_length=64)] = ()
    """Fields that need more than the call itself."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        named = self.scopes or self.any_scope or self.groups or self.consumers
        if self.deny and (self.any or self.anonymous or self.fields):
            raise PydanticCustomError("deny", "{reason}", {"reason": "deny stands alone: nobody may"})
        if self.anonymous and named:
            reason = "anonymous callers have no scopes, groups or names; of the rights only `when` fits"
            raise PydanticCustomError("anonymous", "{reason}", {"reason": reason})
        return self


class AuthorizeSettings(PolicySettings):
    """Who may do what: the first rule that matches decides."""

    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=10_000)]
    """In order; the first whose `match` fits decides alone."""
    default: Literal["deny", "allow"] = "deny"
    """What becomes of calls that no rule matches. `allow` lets even unknown callers through."""

    @model_validator(mode="after")
    def _each_decides(self) -> Self:
        before: dict[str, int] = {}
        for index, rule in enumerate(self.rules):
            match = rule.match
            calls = ("*",) if match is None else match.call
            hiding = [_hiding(call, before) for call in calls] if match is not None and not match.path else [None]
            first = before.get("", None if None in hiding else hiding[0])
            if first is not None:
                reason = f"rules[{index}] never decides: rules[{first}] comes before it and is for all of its calls"
                raise PydanticCustomError("rules", "{reason}", {"reason": reason})
            for call in calls if match is not None else ("", "*"):
                before.setdefault(call, index)
        return self


def _hiding(call: str, before: Mapping[str, int]) -> int | None:
    """The earlier rule that is for all calls of this pattern, by the patterns of those before it; "" is everything."""
    if call in before:
        return before[call]
    ends = [call[:at] + "*" for at in range(len(call)) if at == 0 or call[at - 1] in "./"]
    return next((before[end] for end in ends if end in before), None)


class _Decision:
    """What a rule says of one method: whom it lets through, and what of the fields."""

    __slots__ = ("fields", "method", "rule")

    def __init__(self, method: Method | None, rule: _Rule | None, fields: MethodFields | None) -> None:
        self.method = method
        self.rule = rule
        self.fields = fields


class _Rule:
    """One rule, made ready."""

    __slots__ = ("anonymous", "calls", "deny", "fields", "needs", "paths", "settings")

    def __init__(self, settings: Rule) -> None:
        match = settings.match
        self.settings = settings
        self.deny = settings.deny
        self.anonymous = settings.anonymous
        self.needs = Requirement(settings)
        self.fields = tuple((one, Requirement(one)) for one in settings.fields)
        self.calls = match.call if match is not None else ("*",)
        self.paths: Matcher[None] | None = None
        if match is not None and match.path:
            verbs = [verb.encode() for verb in match.method] or [ANY]
            self.paths = Matcher.build(Entry(verb, parse(path), None) for path in match.path for verb in verbs)

    def is_for(self, method: Method) -> bool:
        return any(names(call, method) for call in self.calls)

    def is_for_request(self, verb: bytes, path: bytes) -> bool:
        if self.settings.match is None:
            return True
        return self.paths is not None and isinstance(self.paths.match(verb, path), Match)

    def check(self, call: Call, payload: Payload | None, what: str) -> None:
        """Raises Unauthenticated or Forbidden unless the caller may."""
        if self.deny:
            raise Forbidden(f"{what}: nobody may")
        if self.anonymous:
            if not self.needs.fits(call, payload):
                raise Forbidden(f"{what}: not under these conditions")
        elif not self.needs.met(call, payload):
            raise self.needs.lacking(call, what)


class Authorize:
    """Lets callers do what the rules say that they may: by scopes, groups, consumers, conditions, down to fields."""

    kind: ClassVar[str] = "authorize"
    Settings: ClassVar[type[PolicySettings]] = AuthorizeSettings

    def __init__(self, settings: AuthorizeSettings) -> None:
        self._rules = tuple(_Rule(rule) for rule in settings.rules)
        self._open = settings.default == "allow"
        self._known: dict[str, _Decision] = {}

    def fit(self, methods: Sequence[Method], complete: bool) -> list[str]:
        """The rules that name what none of these methods has."""
        self._known.clear()
        if not complete:
            return []
        found: list[str] = []
        for index, rule in enumerate(self._rules):
            written = rule.settings.match.call if rule.settings.match is not None else ()
            its = [method for method in methods if rule.is_for(method)]
            for call in written:
                if call != "*" and not any(names(call, method) for method in its):
                    found.append(f"rules[{index}].match: no method that it is around is {call}{meant(call, methods)}")
            found += [f"rules[{index}].fields: {fault}" for fault in misfits(rule.settings.fields, its)]
        return found

    def withholds(self, method: Method) -> frozenset[str]:
        """The fields of the method's replies that are not for every caller."""
        fields = self._decide(method).fields
        return fields.withheld if fields is not None else frozenset()

    @property
    def of_head(self) -> bool:
        return not any(rule.needs.reads_message or rule.fields for rule in self._rules)

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        method = call.method
        if method is None:
            self._request(call)
            return await forward(call)
        decision = self._known.get(method.full_name)
        if decision is None or decision.method is not method:
            decision = self._decide(method)
        rule = decision.rule
        if rule is None:
            if self._open:
                return await forward(call)
            raise _unmatched(call, method.full_name)
        if rule.needs.reads_message and call.payloads is not None:
            self._each(call, rule, method)
        else:
            if rule.needs.reads_message and call.payload is not None:
                call.payload = call.payload.settled()
            rule.check(call, None, method.full_name)
        fields = decision.fields
        if fields is None:
            return await forward(call)
        fields.take(call)
        return fields.give(call, await forward(call))

    def _decide(self, method: Method) -> _Decision:
        """Find the method's rule once; a schema that changes brings other Method objects, which take their place."""
        rule = next((rule for rule in self._rules if rule.is_for(method)), None)
        fields = MethodFields(method, rule.fields) if rule is not None and rule.fields else None
        decision = self._known[method.full_name] = _Decision(method, rule, fields)
        return decision

    @staticmethod
    def _each(call: Call, rule: _Rule, method: Method) -> None:
        """A condition on messages of which there are many: each must fit. Whom it lets in at all is told at once."""
        assert call.payloads is not None
        if not rule.anonymous and call.identity is None:
            raise Unauthenticated(f"{method.full_name}: nobody vouches for the caller")

        def inspect(payload: Payload) -> Payload:
            payload = payload.settled()
            rule.check(call, payload, method.full_name)
            return payload

        call.payloads = Inspected(call.payloads, inspect)

    def _request(self, call: Call) -> None:
        """Decide on plain HTTP, by the path that routes and that goes on."""
        head = call.head
        assert head is not None
        what = f"{head.method.decode('latin-1')} {head.path.decode('latin-1')}"
        for rule in self._rules:
            if rule.is_for_request(head.method, head.path):
                rule.check(call, None, what)
                return
        if not self._open:
            raise _unmatched(call, what)


def _unmatched(call: Call, what: str) -> GatewayError:
    if call.identity is None:
        return Unauthenticated(f"{what}: nobody vouches for the caller")
    return Forbidden(f"{what}: no rule lets the caller")
