"""What a GraphQL result says: data, or errors by meaning, or both.

A result whose root field is null because of errors is an error. One that has data all the same is a reply, and its
errors travel as metadata (`graphql-errors`): a caller sees that something is missing, and what there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from protogw.call import NO_METADATA, Encoding, Metadata, Payload
from protogw.descriptors.model import Type
from protogw.errors import BadUpstream, Code, Detail, Status
from protogw.wire.protowire import delimited
from protogw_translators.error_records import bounded, code_of, read_error
from protogw_translators.to_graphql_check import Misfit
from protogw_translators.to_graphql_document import Document

ERRORS_BYTES = 4096
"""How much of the errors is passed on: all of a status must fit into a client's header limits."""

ERRORS_FIELD = b"graphql-errors"

CODES: Mapping[str, Code] = MappingProxyType(
    {
        "UNAUTHENTICATED": Code.UNAUTHENTICATED,
        "UNAUTHORIZED": Code.UNAUTHENTICATED,
        "FORBIDDEN": Code.PERMISSION_DENIED,
        "ACCESS_DENIED": Code.PERMISSION_DENIED,
        "BAD_USER_INPUT": Code.INVALID_ARGUMENT,
        "BAD_REQUEST": Code.INVALID_ARGUMENT,
        "VALIDATION_ERROR": Code.INVALID_ARGUMENT,
        "NOT_FOUND": Code.NOT_FOUND,
        "CONFLICT": Code.ABORTED,
        "TOO_MANY_REQUESTS": Code.RESOURCE_EXHAUSTED,
        "RATE_LIMITED": Code.RESOURCE_EXHAUSTED,
        "THROTTLED": Code.RESOURCE_EXHAUSTED,
        "TIMEOUT": Code.DEADLINE_EXCEEDED,
        "GATEWAY_TIMEOUT": Code.DEADLINE_EXCEEDED,
        "SERVICE_UNAVAILABLE": Code.UNAVAILABLE,
        "NOT_IMPLEMENTED": Code.UNIMPLEMENTED,
        "INTERNAL_SERVER_ERROR": Code.INTERNAL,
        # The document is the gateway's own: the service is not, or no longer, what its schema said.
        "GRAPHQL_PARSE_FAILED": Code.INTERNAL,
        "GRAPHQL_VALIDATION_FAILED": Code.UNIMPLEMENTED,
        "OPERATION_RESOLUTION_FAILURE": Code.UNIMPLEMENTED,
        "PERSISTED_QUERY_NOT_SUPPORTED": Code.INTERNAL,
        "PERSISTED_QUERY_NOT_FOUND": Code.INTERNAL,
        **{code.name: code for code in Code if code is not Code.OK},
    }
)
"""What `extensions.code` means: the names that Apollo's, Yoga's and other servers use, and those of google.rpc.Code."""

_ERROR_INFO_URL = "type.googleapis.com/google.rpc.ErrorInfo"
_HTTP_BODY_URL = "type.googleapis.com/google.api.HttpBody"


class Outcome(NamedTuple):
    """A result: its payload, or the status in its place; `partial` is metadata that tells of errors beside data."""

    payload: Payload | None
    status: Status
    partial: Metadata = NO_METADATA


def outcome(body: bytes, document: Document, output: Type, http_status: int = 200) -> Outcome:
    """What a whole result says. Raises BadUpstream for what is no result, or not what was asked."""
    return outcome_of(parsed(body), body, document, output, http_status)


def parsed(body: bytes) -> dict[str, Any]:
    """The body as a JSON object; raises BadUpstream."""
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadUpstream("the upstream's reply is not JSON") from error
    if not isinstance(tree, dict):
        raise BadUpstream("the upstream's reply is no GraphQL result: it is not an object")
    return tree


def outcome_of(tree: dict[str, Any], body: bytes, document: Document, output: Type, http_status: int = 200) -> Outcome:
    """The same for a result that is parsed already; `body` are its bytes, or b"" when it was part of something."""
    errors = errors_of(tree)
    data = tree.get("data")
    field = document.field
    if errors and (not isinstance(data, dict) or data.get(field) is None):
        return Outcome(None, error_status(errors, http_status, output.types))
    if not isinstance(data, dict):
        raise BadUpstream("the upstream's reply is no GraphQL result: it has neither data nor errors")
    try:
        document.check(data)
    except Misfit as misfit:
        raise misfit.error("data") from misfit
    if document.bare and data[field] is None:
        return Outcome(None, Status(Code.NOT_FOUND, f"{field} is null"))
    payload = Payload(_data(tree, data, body, document), Encoding.JSON, output.codec.lenient)
    return Outcome(payload, Status(), _partial(errors) if errors else NO_METADATA)


def errors_of(tree: Mapping[str, Any]) -> list[Any]:
    """The errors of a result; raises BadUpstream when they are no list."""
    errors = tree.get("errors")
    if errors is None:
        return []
    if not isinstance(errors, list):
        raise BadUpstream("the upstream's reply is no GraphQL result: its errors are no list")
    return errors


_START = b'{"data":'


def _data(tree: dict[str, Any], data: dict[str, Any], body: bytes, document: Document) -> bytes:
    """The JSON of the reply: the upstream's own bytes where they can be had without looking for them."""
    if not document.aliased and len(tree) == 1 and body.startswith(_START):
        end = body.rindex(b"}")
        if not document.bare:
            return body[len(_START) : end].rstrip()
        start = b'{"data":{"%b":' % document.field.encode()
        if len(data) == 1 and body.startswith(start):
            return body[len(start) : body.rindex(b"}", 0, end)].rstrip()
    return orjson.dumps(data[document.field] if document.bare else data)


def error_status(errors: list[Any], http_status: int, types: Mapping[str, Type]) -> Status:
    """The Status that errors mean: by the first that has a code, else by the HTTP status. Never raises.

    An error that holds a whole status (`extensions.status`, as this gateway's own GraphQL has it) is that status.
    """
    whole = _whole_status(errors, types)
    if whole is not None:
        return whole
    code: Code | None = None
    reason, path = "", ""
    for one in errors:
        reason = reason_of(one)
        if reason:
            path = path_of(one)
            break
    code = CODES.get(reason) or _by_number(errors)
    if code is None:
        code = code_of(http_status, b"GET") if 400 <= http_status < 600 else Code.UNKNOWN
    messages = [text for one in errors[:8] if (text := _message(one))]
    message = "; ".join(dict.fromkeys(messages)) or "the upstream answered with an error that says nothing"
    details = [Detail(_HTTP_BODY_URL, delimited(1, b"application/json") + delimited(2, _written(errors).encode()))]
    if reason:
        info = delimited(1, reason.encode()[:100]) + delimited(2, b"graphql")
        if path:
            info += delimited(3, delimited(1, b"path") + delimited(2, path.encode()[:500]))
        details.insert(0, Detail(_ERROR_INFO_URL, info))
    return Status(code, bounded(message), tuple(details))


def _whole_status(errors: list[Any], types: Mapping[str, Type]) -> Status | None:
    for one in errors[:1]:
        extensions = one.get("extensions") if isinstance(one, dict) else None
        said = extensions.get("status") if isinstance(extensions, dict) else None
        if isinstance(said, dict) and isinstance(said.get("code"), int):
            details: list[Detail] = []
            code, _, lost = read_error({**said, "error": None}, Code.OK, b"", details, types)
            if code is not Code.OK and not lost:
                return Status(code, bounded(_message(one)), tuple(details))
    return None


def reason_of(error: Any) -> str:
    """`extensions.code` of an error, else ""."""
    extensions = error.get("extensions") if isinstance(error, dict) else None
    code = extensions.get("code") if isinstance(extensions, dict) else None
    return code if isinstance(code, str) and code.isascii() and code.isprintable() else ""


def path_of(error: Any) -> str:
    """Where in the result an error belongs, `book.authors[0].name`, else ""."""
    path = error.get("path") if isinstance(error, dict) else None
    if not isinstance(path, list):
        return ""
    text = ""
    for step in path[:50]:
        text += f"[{step}]" if isinstance(step, int) else f".{str(step)[:100]}"
    return text.removeprefix(".").encode("utf-8", "replace").decode()


def _by_number(errors: list[Any]) -> Code | None:
    """An HTTP status that the errors name (`extensions.http.status`, as Yoga and Apollo have it)."""
    for one in errors:
        extensions = one.get("extensions") if isinstance(one, dict) else None
        http = extensions.get("http") if isinstance(extensions, dict) else None
        status = http.get("status") if isinstance(http, dict) else None
        if isinstance(status, int) and 400 <= status < 600:
            return code_of(status, b"GET")
    return None


def _message(error: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else None
    return message.strip() if isinstance(message, str) else ""


def _written(errors: list[Any]) -> str:
    """The errors as JSON in ASCII, as many as fit; one that does not fit is cut down to what it says."""
    kept: list[str] = []
    left = ERRORS_BYTES
    for one in errors:
        text = json.dumps(one, separators=(",", ":"))
        if len(text) >= left:
            text = json.dumps({"message": _message(one)[:200]}, separators=(",", ":"))
        left -= len(text) + 1
        if left < 0:
            break
        kept.append(text)
    return f"[{','.join(kept)}]"


def _partial(errors: list[Any]) -> Metadata:
    return Metadata(((ERRORS_FIELD, _written(errors).encode()),))
