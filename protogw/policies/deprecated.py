"""Says of an API, with every answer, that it is deprecated and when it ends (RFC 9745, RFC 8594), and ends it then."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from email.utils import format_datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from protogw.call import Call, Reply
from protogw.errors import Code, NotOffered
from protogw.policies.base import Handler, PolicySettings
from protogw.values import refuse
from protogw.wire.http import Header


def _moment(value: object) -> datetime.datetime:
    """A day, at whose beginning by UTC it is, or a moment of RFC 3339."""
    if isinstance(value, datetime.datetime):
        found = value
    elif isinstance(value, datetime.date):
        found = datetime.datetime(value.year, value.month, value.day)
    else:
        try:
            found = datetime.datetime.fromisoformat(value if isinstance(value, str) else "")
        except ValueError:
            refuse("is not a date: write 2027-01-31 or 2027-01-31T12:00:00Z")
    return found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)


def _url(value: str) -> str:
    if any(char <= " " or char in '<>"\x7f' or ord(char) > 126 for char in value):
        refuse("is not a URL: <, >, quotes, white space and letters beyond ASCII do not belong in one")
    return value


Moment = Annotated[
    datetime.datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "examples": ["2027-01-31", "2027-01-31T12:00:00Z"]}),
]
Url = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_url)]


class DeprecatedSettings(PolicySettings):
    """Since when, until when, and where to read about it."""

    since: Moment
    """From when on it is deprecated; may lie ahead."""
    sunset: Moment | None = None
    """When it is expected to end."""
    link: Url | None = None
    """A page about this deprecation."""
    sunset_link: Url | None = None
    """A page about the end."""
    successor: Url | None = None
    """What to use instead."""
    refuse: bool = False
    """After `sunset`, answer no calls any more."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.sunset is None and (self.refuse or self.sunset_link is not None):
            key = "refuse" if self.refuse else "sunset_link"
            raise PydanticCustomError("sunset", "{reason}", {"reason": f"{key} needs a sunset"})
        if self.sunset is not None and self.sunset < self.since:
            raise PydanticCustomError("sunset", "{reason}", {"reason": "sunset lies before since (RFC 9745 section 4)"})
        return self


class Deprecated:
    """Marks answers with Deprecation, Sunset and Link, and ends an API at its sunset if so wished."""

    kind: ClassVar[str] = "deprecated"
    Settings: ClassVar[type[PolicySettings]] = DeprecatedSettings
    of_head: ClassVar[bool] = True

    def __init__(self, settings: DeprecatedSettings, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._fields = _fields(settings)
        self._ends = settings.sunset.timestamp() if settings.sunset is not None and settings.refuse else None
        self._instead = f"; use {settings.successor}" if settings.successor is not None else ""

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        if self._ends is not None and self._clock() >= self._ends:
            message = f"this version has come to its end{self._instead}"
            raise NotOffered(message, code=Code.UNIMPLEMENTED, http_status=410, headers=self._fields)
        reply = await forward(call)
        reply.metadata = reply.metadata.adding(*self._fields)
        return reply


def _fields(settings: DeprecatedSettings) -> tuple[Header, ...]:
    # A Structured Field Date: the seconds of Unix time after an @ (RFC 9745 section 2.1).
    fields: list[Header] = [(b"deprecation", b"@%d" % int(settings.since.timestamp()))]
    if settings.sunset is not None:
        at: Any = settings.sunset.astimezone(datetime.UTC)
        fields.append((b"sunset", format_datetime(at, usegmt=True).encode()))
    written = (
        (settings.link, "deprecation"),
        (settings.sunset_link, "sunset"),
        (settings.successor, "successor-version"),
    )
    links = [f'<{url}>; rel="{relation}"' for url, relation in written if url is not None]
    if links:
        fields.append((b"link", ", ".join(links).encode()))
    return tuple(fields)
