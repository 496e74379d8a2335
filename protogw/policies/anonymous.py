"""Callers of whom nobody knows anything, given a name: what follows can treat them as one consumer among others."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from protogw.call import Call, Reply
from protogw.errors import Unauthenticated
from protogw.identity import Identity
from protogw.policies.authentication import Authentication, AuthenticationSettings
from protogw.policies.base import Handler, PolicySettings


class AnonymousSettings(AuthenticationSettings):
    """What callers without a name are called."""

    subject: Annotated[str, Field(min_length=1, max_length=255)] = "anonymous"
    """Their subject."""
    consumer: Annotated[str, Field(max_length=255)] = ""
    """The consumer that they are."""
    groups: tuple[str, ...] = ()
    """Groups that they are in."""


class Anonymous(Authentication):
    """Gives callers who show no credential a name. Refuses nothing: it stands alone, or last in `any_of`."""

    kind: ClassVar[str] = "anonymous"
    Settings: ClassVar[type[PolicySettings]] = AnonymousSettings
    needs_credential: ClassVar[bool] = False

    def __init__(self, settings: AnonymousSettings) -> None:
        super().__init__(settings)
        self._identity = Identity(
            subject=settings.subject,
            scheme=self.kind,
            consumer=settings.consumer,
            groups=frozenset(settings.groups),
            anonymous=True,
        )

    @property
    def namespaces(self) -> frozenset[tuple[str, str]]:
        return frozenset()

    def wanted(self) -> Unauthenticated:
        return Unauthenticated("a credential is needed")

    async def authenticate(self, call: Call) -> Identity | None:
        return self._identity

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        if call.identity is None:
            self.admit(call, self._identity)
        return await forward(call)
