"""What a listener's `graphql` section may say, and what a route may say of one method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from protogw.frontends.base import FrontEndSettings
from protogw.frontends.graphql.persisted import PersistedError, read
from protogw.frontends.origins import Origin
from protogw.paths import parse_path
from protogw.values import Bytes, Positive, Seconds, refuse


def _persisted(value: object) -> Path:
    """A folder or a manifest of documents, which can be read now."""
    path = parse_path(value)
    try:
        read(path)
    except PersistedError as error:
        refuse(str(error))
    return path


PersistedDocuments = Annotated[Path, PlainValidator(_persisted), WithJsonSchema({"type": "string"})]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class GraphqlLimits(_Section):
    """What a document may come to; a larger one is refused before any call is made."""

    depth: Annotated[int, Field(ge=1, le=200)] = 6
    """Fields within fields; introspection's are not counted."""
    aliases: Annotated[int, Field(ge=0, le=10_000)] = 15
    """Aliases, fragments expanded."""
    root_fields: Annotated[int, Field(ge=1, le=1000)] = 10
    """Fields at the top, each of which may be a call."""
    directives: Annotated[int, Field(ge=0, le=10_000)] = 50
    """Directives in the whole document."""
    tokens: Annotated[int, Field(ge=10, le=100_000)] = 1000
    """Names, numbers, texts and signs in the whole document."""
    cost: Annotated[int, Field(ge=10, le=1_000_000)] = 5000
    """A leaf costs 1, any other field 2 and one and a half times what is in it."""
    document: Annotated[Bytes, Field(ge=100, le=4 << 20)] = 64 << 10
    """The document's text."""
    batch: Annotated[int, Field(ge=0, le=100)] = 0
    """Requests in one POSTed list; 0 refuses lists."""
    subscriptions: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Operations under way on one WebSocket or event stream."""
    streams: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Event streams that carry many operations, open or about to be opened, at this listener."""


class GraphqlSettings(FrontEndSettings):
    """Where GraphQL is served, how services look in it, and what is refused."""

    path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./-]*$")] = "/graphql"
    """The endpoint. Event streams are served below it as well, at `/stream`."""
    int64: Literal["scalar", "string"] = "scalar"
    """64-bit numbers: scalars of their own, `Int64` and `UInt64`, or `String`. Both are written as text."""
    maps: Literal["entries", "json"] = "entries"
    """Maps: lists of `key` and `value`, or JSON."""
    prefix: Literal["none", "service", "package"] = "none"
    """What every field at the top begins with. By default only fields that would clash get as much as they need."""
    introspection: bool = True
    """Tell clients the schema; without it errors suggest no names either."""
    graphiql: bool = True
    """Serve GraphiQL to browsers."""
    origins: Annotated[tuple[Origin, ...], Field(min_length=1)] = ("same",)
    """Pages that may open a WebSocket: `same` for the gateway's own host, origins such as `https://app.example` or
    `https://*.app.example`, or `*` for every page. Clients that are no pages send no origin and always may, unless they
    send cookies."""
    errors: Literal["status", "code"] = "status"
    """What a client learns of a call that failed: the service's whole status, or its code alone."""
    persisted: PersistedDocuments | None = None
    """Documents known beforehand: a folder of `.graphql` files, or a JSON manifest of ids and documents."""
    only_persisted: bool = False
    """Run no other documents than those."""
    automatic_persisted: bool = True
    """Take documents by their hash once they were sent whole (Automatic Persisted Queries)."""
    limits: GraphqlLimits = GraphqlLimits()
    """What a document may come to."""
    cache: Annotated[Bytes, Field(ge=0, le=64 << 20)] = 512 << 10
    """Text of documents that are kept parsed, validated and planned."""
    init_timeout: Positive = 3.0
    """How long a WebSocket may take to say `connection_init`."""
    heartbeat: Seconds = 12.0
    """Between signs of life on event and multipart streams; 0 for none."""


class GraphqlRoute(_Section):
    """How one method is offered in GraphQL."""

    field: Annotated[str, Field(pattern=r"^_?[A-Za-z][A-Za-z0-9_]*$")] | None = None
    """The name of its field."""
    type: Literal["query", "mutation", "none"] | None = None
    """The root type of its field, where the method alone does not say; `none` for no field at all."""
