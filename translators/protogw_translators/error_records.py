"""Errors as services write them into JSON: a status by meaning, whoever carries it.

An error that is google.rpc.Status (plain, or in `error` as Google's public APIs have it, AIP-193), a Connect error, or
a problem (RFC 9457) says more than a number of the protocol that carries it, and wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from protogw.descriptors.model import Type
from protogw.errors import Code, Detail, InvalidRequest, Status
from protogw.wire.http_status import code_of_status
from protogw.wire.protojson_details import detail_from_json

MESSAGE_CHARACTERS = 2048
DETAILS = 32


def code_of(status: int, verb: bytes) -> Code:
    """What an HTTP error status means as a Code."""
    if status == 409 and verb == b"POST":
        return Code.ALREADY_EXISTS
    return code_of_status(status)


def status_of_record(record: bytes, types: Mapping[str, Type]) -> Status:
    """The Status of a stream's terminal error record."""
    details: list[Detail] = []
    said = parsed_object(record)
    code, message = Code.UNKNOWN, ""
    if said is not None:
        code, message, _ = read_error(said, code, b"", details, types)
    return Status(code, message or bounded(record.decode("utf-8", "replace")), tuple(details))


def parsed_object(body: bytes) -> dict[str, Any] | None:
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return tree if isinstance(tree, dict) else None


def read_error(
    said: dict[str, Any], code: Code, verb: bytes, details: list[Detail], types: Mapping[str, Type]
) -> tuple[Code, str, bool]:
    """Code and message that an error body says, and whether it says more than was understood."""
    error = said.get("error")
    inside = said
    if isinstance(error, dict):
        inside = error
    found = _code(inside, verb)
    message = _text(inside, "message", "detail", "title", "error_description", "error", "reason")
    given = inside.get("details")
    lost = found is None
    if isinstance(given, list):
        for one in given[:DETAILS]:
            try:
                details.append(detail_from_json(orjson.dumps(one), types.get))
            except InvalidRequest:
                lost = True
        lost = lost or len(given) > DETAILS
    elif given is not None:
        lost = True
    return found or code, message, lost


def _code(said: dict[str, Any], verb: bytes) -> Code | None:
    """google.rpc.Status has a number, AIP-193 a name beside the HTTP status, Connect a name in lower case."""
    name = said.get("status")
    if isinstance(name, str) and name in Code.__members__:
        return Code[name] or None
    number = said.get("code")
    if isinstance(number, str):
        name = "CANCELLED" if number == "canceled" else number.upper()
        return (Code[name] or None) if name in Code.__members__ else None
    if not isinstance(number, int) or isinstance(number, bool):
        return None
    if 0 < number < len(Code):
        return Code(number)
    return code_of(number, verb) if 400 <= number < 600 else None


def _text(said: dict[str, Any], *names: str) -> str:
    for name in names:
        value = said.get(name)
        if isinstance(value, str) and value:
            return bounded(value)
    return ""


def bounded(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + "…"
