"""One of several ways to say who calls: the first that vouches for the caller admits the call.

A credential that does not hold is never overlooked: the call goes on only if another one of it does, so nobody becomes
anonymous by showing a false name.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from protogw.call import Call, Reply
from protogw.counting import Count
from protogw.errors import GatewayError, Unauthenticated
from protogw.identity import Identity
from protogw.policies.authentication import Authentication, PlacedAuthentication, Vouching, failures
from protogw.policies.base import Handler, OfHead, PolicySettings, Tools


class AnyOfSettings(PolicySettings):
    """The policies that are asked, written as the list of them or under `policies`."""

    policies: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]
    """The names of policies that find out who calls, in the order in which they are asked."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {"policies": value} if isinstance(value, (list, tuple)) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [written["properties"]["policies"], written]}


class AnyOf:
    """Asks other policies, one after the other, who calls; the first that can say admits the call."""

    kind: ClassVar[str] = "any_of"
    Settings: ClassVar[type[PolicySettings]] = AnyOfSettings
    names_policies: ClassVar[str] = "policies"
    """The setting that holds names of other policies, for checks of the config."""

    def __init__(self, settings: AnyOfSettings) -> None:
        self.names = settings.policies
        self._members: tuple[Vouching, ...] = ()
        self._placed: tuple[PlacedAuthentication, ...] = ()
        self._none_shown, self._not_taken = Count(), Count()

    def equip(self, tools: Tools) -> None:
        self._none_shown, self._not_taken = failures(tools)
        self._members = tuple(_members(self, tools, (tools.name,)))
        self._placed = tuple(member for member in self._members if isinstance(member, PlacedAuthentication))
        for member in self._members[:-1]:
            if not member.needs_credential:
                raise ValueError("lists a policy that vouches for anybody before others, which are then never asked")

    @property
    def of_head(self) -> bool:
        return all(isinstance(member, OfHead) and member.of_head for member in self._members)

    @property
    def namespaces(self) -> frozenset[tuple[str, str]]:
        return frozenset(
            one for member in self._members if isinstance(member, Authentication) for one in member.namespaces
        )

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        member, identity = await self._vouched(call)
        # Before the identity's fields are written, of which one may have a credential's name.
        for other in self._placed:
            if other is not member:
                other.withhold(call)
        member.admit(call, identity)
        return await forward(call)

    async def _vouched(self, call: Call) -> tuple[Vouching, Identity]:
        """Who calls, and which policy says so; raises Unauthenticated, or what keeps a policy from telling."""
        refused: dict[int, Unauthenticated] = {}
        unable: GatewayError | None = None
        for index, member in enumerate(self._members):
            if not member.needs_credential and (refused or unable is not None):
                continue
            try:
                identity = await member.authenticate(call)
            except Unauthenticated as error:
                refused[index] = error
            except GatewayError as error:
                unable = unable or error
            else:
                if identity is not None:
                    return member, identity
        if unable is not None:
            raise unable
        errors = [refused.get(index) or member.wanted() for index, member in enumerate(self._members)]
        (self._not_taken if refused else self._none_shown).value += 1
        said = next(reversed(refused.values())) if refused else errors[0]
        challenges = dict.fromkeys(
            value.decode() for error in errors for name, value in error.headers if name == b"www-authenticate"
        )
        raise Unauthenticated(said.message, *challenges)


def _members(policy: AnyOf, tools: Tools, path: tuple[str, ...]) -> list[Vouching]:
    """The policies that it names, those of others of its kind among them; raises ValueError."""
    found: list[Vouching] = []
    for name in policy.names:
        member = tools.policy(name)
        if name in path:
            raise ValueError(f"names itself, by {' → '.join((*path, name))}")
        if isinstance(member, AnyOf):
            found += _members(member, tools, (*path, name))
        elif isinstance(member, Vouching):
            found.append(member)
        else:
            raise ValueError(f"{name} is {getattr(member, 'kind', 'a policy')}, which does not find out who calls")
    return found
