"""Why a GraphQL request, or a field of it, is answered with an error; written as the specification's `errors` entries.

`extensions.code` is one of this module's words for what GraphQL itself refuses, and a status's name for what a call
was answered with; then `extensions.status` holds its number and details.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import orjson
from graphql import GraphQLError

from protogw.descriptors.model import Type
from protogw.errors import Code, GatewayError, Source, Status
from protogw.wire.protojson_details import detail_to_json

PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
BAD_USER_INPUT = "BAD_USER_INPUT"
BAD_REQUEST = "BAD_REQUEST"
NO_OPERATION = "OPERATION_RESOLUTION_FAILURE"
NOT_PERSISTED = "PERSISTED_QUERY_NOT_FOUND"
INTERNAL = "INTERNAL_SERVER_ERROR"

Path: TypeAlias = "tuple[str | int, ...]"
Location: TypeAlias = "tuple[int, int]"
Types: TypeAlias = "Callable[[str], Type | None]"

_OWN_AFFAIRS = "the service could not be reached"


class Refused(Exception):
    """A request that is not executed; `errors` are its entries. `http` is the status where HTTP tells more than 400."""

    def __init__(self, *errors: dict[str, Any], http: int = 400, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(errors)
        self.errors = errors
        self.http = http
        self.headers = headers


class RefusedRequest(GatewayError):
    """The same as it is told to those who watch requests: with a Code and its reason, though HTTP may say 200."""

    source = Source.CLIENT

    def __init__(self, refusal: Refused) -> None:
        first = refusal.errors[0]
        said = first["extensions"]
        name = said["code"]
        known = said.get("status", {}).get("code", Code.NOT_FOUND if name == NOT_PERSISTED else Code.INVALID_ARGUMENT)
        super().__init__(f"{name}: {first['message']}", code=Code(known))
        self.refusal = refusal


def refused(code: str, message: str, *, http: int = 400, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Refused:
    """A refusal with one entry."""
    return Refused({"message": message, "extensions": {"code": code}}, http=http, headers=headers)


def not_offered(message: str) -> Refused:
    """The refusal of what no front end of this kind can carry."""
    code = Code.UNIMPLEMENTED
    return Refused({"message": message, "extensions": {"code": code.name, "status": {"code": int(code)}}})


def of_graphql(code: str, errors: Sequence[GraphQLError]) -> Refused:
    """What graphql-core found wrong with a document."""
    return Refused(*(_of_graphql(code, error) for error in errors))


def _of_graphql(code: str, error: GraphQLError) -> dict[str, Any]:
    entry: dict[str, Any] = {"message": error.message}
    if error.locations:
        entry["locations"] = [{"line": one.line, "column": one.column} for one in error.locations]
    entry["extensions"] = {"code": code}
    return entry


def unsaid(message: str, path: Path, location: Location | None) -> dict[str, Any]:
    """The entry for a value that the service gave and GraphQL cannot say."""
    return _entry(message, path, location, {"code": INTERNAL})


def withheld(status: Status, path: Path, location: Location | None) -> dict[str, Any]:
    """The entry for a field that this caller may not see."""
    return of_status(status, path, location, _no_types)


def withheld_too(status: Status) -> dict[str, Any]:
    """The last entry, where there are more such fields than are told one by one."""
    return {"message": "more fields are withheld in the same way", "extensions": {"code": _name(status.code)}}


def of_status(
    status: Status, path: Path, location: Location | None, types: Types, *, masked: bool = False
) -> dict[str, Any]:
    """The entry for a call that ended with another status than OK; `masked` keeps what the service said to itself."""
    name = _name(status.code)
    shown: dict[str, Any] = {"code": int(status.code)}
    if status.details and not masked:
        shown["details"] = [orjson.Fragment(detail_to_json(detail, types)) for detail in status.details]
    message = status.message.encode("utf-8", "replace").decode() if not masked else ""
    return _entry(message or name, path, location, {"code": name, "status": shown})


def of_error(
    error: GatewayError, path: Path, location: Location | None, types: Types, *, masked: bool
) -> dict[str, Any]:
    """The entry for a call that failed on its way. What is wrong between gateway and service is not the client's."""
    status = error.status
    if error.source is Source.UPSTREAM:
        status = Status(status.code, _OWN_AFFAIRS)
    return of_status(status, path, location, types, masked=masked and error.source is not Source.CLIENT)


def of_whole(error: GatewayError) -> dict[str, Any]:
    """The entry for a request that failed before it became calls."""
    name = BAD_REQUEST if error.status.code is Code.INVALID_ARGUMENT else _name(error.status.code)
    message = error.status.message.encode("utf-8", "replace").decode()
    return {"message": message or name, "extensions": {"code": name, "status": {"code": int(error.status.code)}}}


def _entry(message: str, path: Path, location: Location | None, extensions: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"message": message}
    if location is not None:
        entry["locations"] = [{"line": location[0], "column": location[1]}]
    entry["path"] = path
    entry["extensions"] = extensions
    return entry


def _no_types(name: str) -> None:
    """A refusal of the gateway's own has no details."""


def _name(code: int) -> str:
    return code.name if isinstance(code, Code) else "UNKNOWN"
