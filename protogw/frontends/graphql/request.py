"""GraphQL over HTTP: what a request's head and body say (graphql.github.io/graphql-over-http)."""

from __future__ import annotations

import math
import re
from typing import Any
from urllib.parse import parse_qsl

import orjson

from protogw.call import Metadata
from protogw.frontends.graphql.refusals import BAD_REQUEST, Refused, refused
from protogw.wire.content import choose_coding, media_type, preferences, quality_of
from protogw.wire.http import RequestHead
from protogw.wire.metadata import forwardable

RESPONSE_JSON = b"application/graphql-response+json"
JSON = b"application/json"
EVENTS = b"text/event-stream"
MULTIPART = b"multipart/mixed"
HTML = b"text/html"

TOKEN = b"x-graphql-event-stream-token"
"""Names the event stream that a client has reserved (graphql-sse, single connection mode)."""

_SECONDS = re.compile(rb"[0-9]{1,10}(?:\.[0-9]{0,9})?\Z")
_PARAMETERS = 16


class Params:
    """One GraphQL request: its document or what names it, and what goes with it."""

    __slots__ = ("document_id", "extensions", "operation", "query", "variables")

    def __init__(
        self,
        query: str | None,
        variables: dict[str, Any] | None,
        operation: str | None,
        extensions: dict[str, Any] | None,
        document_id: str | None = None,
    ) -> None:
        self.query = query
        self.variables = variables
        self.operation = operation
        self.extensions = extensions
        self.document_id = document_id

    @property
    def digest(self) -> str | None:
        """The hash that names the document, of Automatic Persisted Queries; raises Refused."""
        if self.extensions is None or (written := self.extensions.get("persistedQuery")) is None:
            return None
        digest = written.get("sha256Hash") if isinstance(written, dict) and written.get("version") == 1 else None
        if not isinstance(digest, str):
            raise refused(BAD_REQUEST, "extensions.persistedQuery: needs version 1 and a sha256Hash")
        return digest


def params_of(value: Any) -> Params:
    """A request out of its JSON; raises Refused."""
    if not isinstance(value, dict):
        raise refused(BAD_REQUEST, "the request is not a JSON object")
    query = value.get("query")
    variables = value.get("variables")
    operation = value.get("operationName")
    extensions = value.get("extensions")
    document = value.get("documentId")
    if query is not None and not isinstance(query, str):
        raise refused(BAD_REQUEST, "query: not a string")
    if operation is not None and not isinstance(operation, str):
        raise refused(BAD_REQUEST, "operationName: not a string")
    if variables is not None and not isinstance(variables, dict):
        raise refused(BAD_REQUEST, "variables: not a map")
    if extensions is not None and not isinstance(extensions, dict):
        raise refused(BAD_REQUEST, "extensions: not a map")
    if document is not None and not isinstance(document, str):
        raise refused(BAD_REQUEST, "documentId: not a string")
    return Params(query, variables, operation, extensions, document)


def posted(body: bytes, content_type: bytes, batch: int) -> Params | list[Params]:
    """The request, or at most `batch` of them, of a POST's body; raises Refused.

    Only JSON is taken: what a page of another site can send without asking (forms, plain text) is not.
    """
    if content_type != JSON:
        kind = media_type(content_type)
        if kind.type != JSON:
            raise refused(BAD_REQUEST, "content-type: only application/json is taken", http=415)
        if kind.charset not in (b"", b"utf-8", b"utf8"):
            raise refused(BAD_REQUEST, "content-type: only UTF-8 is taken", http=415)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refused(BAD_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(value, list):
        return params_of(value)
    if not 0 < len(value) <= batch:
        allowed = f"at most {batch} requests" if batch else "no list of requests"
        raise refused(BAD_REQUEST, f"{allowed} may be sent at once")
    return [params_of(one) for one in value]


def queried(query: bytes) -> Params:
    """The request of a GET's query; raises Refused."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=_PARAMETERS, encoding="utf-8", errors="strict"
        )
    except ValueError as error:
        raise refused(BAD_REQUEST, "the query is not URL-encoded UTF-8 of a few parameters") from error
    value: dict[str, Any] = {}
    for name, text in pairs:
        if name in value:
            raise refused(BAD_REQUEST, f"{name}: given twice")
        value[name] = text
    for name in ("variables", "extensions"):
        if name in value:
            value[name] = _json(name, value[name])
    if not value.get("operationName"):
        value.pop("operationName", None)
    return params_of(value)


def _json(name: str, text: str) -> Any:
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise refused(BAD_REQUEST, f"{name}: not JSON: {error}") from error


class Facts:
    """The meaning of one set of header fields; immutable, so equal requests share it."""

    __slots__ = ("coding", "content_encoding", "fault", "json", "metadata", "stream", "timeout", "token", "wants_page")

    def __init__(self, head: RequestHead) -> None:
        accept: list[bytes] = []
        self.timeout: float | None = None
        self.coding = b""
        self.content_encoding = b""
        self.fault: Refused | None = None
        self.token: str | None = None
        for name, value in head.headers:
            if name == b"accept":
                accept.append(value)
            elif name == b"accept-encoding":
                self.coding = choose_coding(value)
            elif name == b"content-encoding":
                self.content_encoding = value
            elif name == TOKEN:
                self.token = value.decode("latin-1")
            elif name == b"x-server-timeout":
                if _SECONDS.match(value) is None:
                    self.fault = refused(BAD_REQUEST, "x-server-timeout: not a number of seconds")
                elif math.isfinite(seconds := float(value)):
                    self.timeout = seconds
        self.json, self.stream, self.wants_page = _negotiate(b",".join(accept))
        self.metadata = Metadata(forwardable(pair for pair in head.headers if pair[0] != TOKEN))


def _negotiate(accept: bytes) -> tuple[bytes | None, bytes | None, bool]:
    """The media type of a single response, of a streamed one, and whether it is a page that is wanted most."""
    if not accept.strip() or accept == b"*/*" or accept == JSON:
        return JSON, None, False
    wanted = preferences(accept)
    plain = quality_of(JSON, wanted)
    modern = quality_of(RESPONSE_JSON, wanted)
    # Of equals JSON wins only by */*, which old clients send that know nothing else.
    named = any(one.range == RESPONSE_JSON for one in wanted)
    single = None
    if max(plain, modern) > 0:
        single = RESPONSE_JSON if named and modern >= plain else JSON
        if not named and plain == 0:
            single = RESPONSE_JSON
    asked = {one.range for one in wanted}
    stream = next((one for one in (EVENTS, MULTIPART) if one in asked and quality_of(one, wanted) > 0), None)
    page = HTML in asked and quality_of(HTML, wanted) > max(
        (one.quality for one in wanted if one.range in (JSON, RESPONSE_JSON)), default=0.0
    )
    return single, stream, page
