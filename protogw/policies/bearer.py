"""What policies share whose credential is a bearer token (RFC 6750): where one may be, and what refusals say."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protogw.errors import Unauthenticated
from protogw.policies.authentication import AuthenticationSettings, PlacedAuthentication
from protogw.policies.credentials import PlaceList, Places


class BearerSettings(AuthenticationSettings):
    """Where a token may be."""

    places: Annotated[PlaceList, Field(alias="in")] = ("header.authorization",)
    """Where a token may be: `header.NAME` (after `Bearer`), `query.NAME`, `cookie.NAME`."""
    hide: bool = True
    """Take the token out of what the service gets."""
    realm: Annotated[str, Field(pattern=r"^[ -!#-\[\]-~]+$", max_length=100)] = "protogw"
    """What refusals call the place that the token is for."""


class Bearer(PlacedAuthentication):
    """Base of those policies."""

    def __init__(self, settings: BearerSettings) -> None:
        super().__init__(settings)
        self._challenge = f'Bearer realm="{settings.realm}"'
        self._places = Places(settings.places, "Bearer", hide=settings.hide, challenge=self._challenge)

    def wanted(self) -> Unauthenticated:
        return Unauthenticated("a token is needed", self._challenge)

    def _refused(self, why: str) -> Unauthenticated:
        """What a call with a token that does not hold is refused with (RFC 6750 section 3.1)."""
        said = why.replace('"', "'").replace("\\", "/").encode("ascii", "replace").decode()
        return Unauthenticated(why, f'{self._challenge}, error="invalid_token", error_description="{said}"')
