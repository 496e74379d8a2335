"""What a caller must have to do something: the settings for it, and whether a call's caller has it.

For policies that decide what a known caller may do; who the caller is, others have found out.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from protogw.call import Call, Payload
from protogw.errors import Forbidden, GatewayError, Unauthenticated
from protogw.expressions import ExpressionError, ExpressionText
from protogw.values import LISTED

Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,255}$")]
"""A scope-token of RFC 6749 section 3.3, which may stand in a challenge as it is."""
Label = Annotated[str, StringConstraints(min_length=1, max_length=255)]

MOST: Final = 256
"""Entries of one list."""


class Rights(BaseModel):
    """What a caller must have: all of what is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    scopes: Annotated[tuple[Scope, ...], LISTED, Field(max_length=MOST)] = ()
    """Scopes that the caller must have, every one."""
    any_scope: Annotated[tuple[Scope, ...], LISTED, Field(max_length=MOST)] = ()
    """Scopes of which the caller must have one at least."""
    groups: Annotated[tuple[Label, ...], LISTED, Field(max_length=MOST)] = ()
    """Groups (roles) of which the caller must be in one at least."""
    consumers: Annotated[tuple[Label, ...], LISTED, Field(max_length=MOST)] = ()
    """The consumers that may."""
    when: ExpressionText | None = None
    """A condition over the call that must be true. One that has no value (a claim that is not there) is not."""

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.scopes or self.any_scope or self.groups or self.consumers or self.when)


class Requirement:
    """Rights, made ready."""

    __slots__ = ("_any_scope", "_challenge", "_consumers", "_groups", "_lacking", "_scopes", "_when", "reads_message")

    def __init__(self, rights: Rights) -> None:
        self._scopes = frozenset(rights.scopes)
        self._any_scope = frozenset(rights.any_scope)
        self._groups = frozenset(rights.groups)
        self._consumers = frozenset(rights.consumers)
        self._when = rights.when
        self.reads_message = rights.when is not None and rights.when.reads_message
        wanted = " ".join((*rights.scopes, *rights.any_scope))
        # RFC 6750 section 3.1
        self._challenge = b'Bearer error="insufficient_scope", scope="%s"' % wanted.encode()
        self._lacking = " and ".join(
            text
            for text in (
                "scope " + " ".join(rights.scopes) if rights.scopes else "",
                "one of the scopes " + " ".join(rights.any_scope) if rights.any_scope else "",
            )
            if text
        )

    def met(self, call: Call, payload: Payload | None = None) -> bool:
        """Whether the call's caller has all of it; the condition reads `payload` where one is given.

        Raises InvalidRequest when the condition reads a message that is none.
        """
        who = call.identity
        return (
            who is not None
            and self._scopes <= who.scopes
            and (not self._any_scope or not self._any_scope.isdisjoint(who.scopes))
            and (not self._groups or not self._groups.isdisjoint(who.groups))
            and (not self._consumers or who.consumer in self._consumers)
            and (self._when is None or self.fits(call, payload))
        )

    def lacking(self, call: Call, what: str) -> GatewayError:
        """How a caller who does not meet it is refused to do `what`."""
        who = call.identity
        if who is None:
            return Unauthenticated(f"{what}: nobody vouches for the caller")
        if not (self._scopes <= who.scopes and (not self._any_scope or not self._any_scope.isdisjoint(who.scopes))):
            return Forbidden(f"{what}: needs {self._lacking}", headers=((b"www-authenticate", self._challenge),))
        return Forbidden(f"{what}: the caller may not")

    def fits(self, call: Call, payload: Payload | None = None) -> bool:
        """Whether the condition alone is true."""
        when = self._when
        if when is None:
            return True
        try:
            return when.holds(call, payload)
        except ExpressionError:
            return False
