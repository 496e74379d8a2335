"""JSON-RPC 2.0's objects: what is a request, and which number an error has. Source: jsonrpc.org/specification."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

from protogw.errors import Code

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
MAX_BATCH = 50
_CODES = frozenset(map(int, Code))
MAX_NAME = 512

ERROR_CODE = MappingProxyType(
    {
        Code.OK: 0,
        Code.INVALID_ARGUMENT: INVALID_PARAMS,
        Code.UNIMPLEMENTED: METHOD_NOT_FOUND,
        Code.INTERNAL: INTERNAL_ERROR,
        **{
            code: -32000 - code
            for code in Code
            if code not in (Code.OK, Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED, Code.INTERNAL)
        },
    }
)
"""What the specification has a number for has it; other codes are in the range that it leaves to servers."""


class Malformed(ValueError):
    """What is no request; `id` is its id where that can be told."""

    def __init__(self, message: str, id: int | str | float | None = None) -> None:
        super().__init__(message)
        self.id = id


class Request(NamedTuple):
    """One request; `wants` an answer unless it is a notification."""

    method: str
    params: Any
    id: int | str | float | None
    wants: bool


def error_code(code: int) -> int:
    """The number of a status; one that is no Code is an internal error."""
    return ERROR_CODE[Code(code)] if code in _CODES else INTERNAL_ERROR


def read_request(found: object) -> Request:
    """The request that a JSON value is; raises Malformed."""
    if not isinstance(found, dict):
        raise Malformed("a request is an object")
    id = found.get("id")
    if isinstance(id, bool) or not isinstance(id, (str, int, float, type(None))):
        raise Malformed("id: neither text nor a number")
    if isinstance(id, str) and len(id) > MAX_NAME:
        raise Malformed("id: too long")
    method = found.get("method")
    if found.get("jsonrpc") != "2.0":
        raise Malformed('jsonrpc: must be "2.0"', id)
    if not isinstance(method, str) or not 0 < len(method) <= MAX_NAME:
        raise Malformed("method: not a name", id)
    params = found.get("params")
    if isinstance(params, list):
        raise Malformed("params: must be an object, the request message", id)
    return Request(method, params, id, "id" in found)
