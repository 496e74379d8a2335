"""What a route says of how its calls are shared between upstreams, and what is compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.config.strict import LISTED, Strict
from protogw.values import Bytes, Percent, Positive, Seconds, refuse

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_METHOD = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*/(?:\*|[A-Za-z_]\w*)\Z", re.ASCII)

_FIELD = re.compile(r"(?:\*|[^\s.*]{1,200})(?:\.(?:\*|[^\s.*]{1,200})){0,31}\Z")


def _token(value: str) -> str:
    if not _TOKEN.match(value):
        refuse("is not a name of a header or cookie")
    return value


def _method(value: str) -> str:
    if not _METHOD.match(value):
        refuse("is not a call: write package.Service/Method or package.Service/*")
    return value


def _field(value: str) -> str:
    if not _FIELD.match(value):
        refuse("is not a field: write its name, or items.price for one of the messages in it; * stands for any")
    return value


Token = Annotated[str, AfterValidator(_token)]
MethodName = Annotated[str, AfterValidator(_method)]
FieldPath = Annotated[str, AfterValidator(_field)]


class Override(Strict):
    """Where a caller may name the upstream, or version, that it wants, in this order; other words mean nothing."""

    header: Token | None = None
    """A header."""
    query: Token | None = None
    """A parameter of the query, which is then no field of a message."""
    media_type: Token | None = None
    """A parameter of a media type in Accept: `version`, for `application/json; version=2`."""
    cookie: Token | None = None
    """A cookie."""
    names: Mapping[str, str] = {}
    """What callers write, each → the upstream that it stands for. Default: the upstreams' own names."""

    @model_validator(mode="after")
    def _one(self) -> Override:
        if self.header is None and self.query is None and self.media_type is None and self.cookie is None:
            reason = "needs a header, a query, a media_type or a cookie"
            raise PydanticCustomError("override", "{reason}", {"reason": reason})
        return self


class Mirror(Strict):
    """Where copies of the calls go, whose answers are nobody's."""

    to: Annotated[str, Field(min_length=1)]
    """The upstream that gets the copies."""
    share: Percent = 100.0
    """How many of the calls are copied."""
    in_flight: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Copies at once; a call beyond is not copied, and counted."""
    timeout: Positive = 5.0
    """How long a copy may take; of streams that go on for longer it sees the beginning."""
    kept_messages: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Messages of a stream, each way, kept for a copy that is slower; one that falls further behind is ended."""
    kept_bytes: Bytes = 1 << 20
    """Bytes of them."""


class Shadow(Mirror):
    """Where calls are asked too, to compare both answers; those of streams one by one, in their order."""

    ignore: Annotated[tuple[FieldPath, ...], LISTED] = ()
    """Fields that are not compared, `items.etag`; `*` stands for any name, and lists count for nothing in a path."""
    unordered: Annotated[tuple[FieldPath, ...], LISTED] | bool = ()
    """Lists whose order means nothing, or `true` for all of them."""
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.0
    """By how much of the larger one two numbers may differ, 0.001 for a thousandth."""
    moments: Seconds = 0.0
    """By how much two timestamps may differ."""
    samples: Annotated[int, Field(ge=0, le=1000)] = 20
    """How many of the last differences are kept to look at."""
    values: bool = False
    """Keep the values of fields that differ too, not their paths alone: they may be personal."""


class Rollback(Strict):
    """What ends a canary; `null` for what does not."""

    errors: Percent | None = 2.0
    """It fails in so many per cent of its calls more than the others do."""
    latency: Annotated[float, Field(gt=1, le=1000)] | None = None
    """Its 95th percentile is so many times the others'."""
    diff: Percent | None = None
    """So many of the shadow's comparisons find a difference."""
    least: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Calls, or comparisons, that it takes to judge."""


class Canary(Strict):
    """How a new version gets the calls step by step, or none any more."""

    upstream: str | None = None
    """The new version. Default: the last that `to` names."""
    steps: Annotated[tuple[Annotated[float, Field(gt=0, le=100)], ...], LISTED, Field(min_length=1, max_length=100)] = (
        5.0,
        25.0,
        50.0,
        100.0,
    )
    """Its share of the calls in per cent, one after another."""
    every: Positive = 300.0
    """How long each step lasts at the least; it lasts longer while there are too few calls to judge."""
    rollback: Rollback = Rollback()
    """What ends it."""

    @model_validator(mode="after")
    def _rising(self) -> Canary:
        if list(self.steps) != sorted(set(self.steps)):
            raise PydanticCustomError("steps", "{reason}", {"reason": "has steps that do not rise"})
        return self
