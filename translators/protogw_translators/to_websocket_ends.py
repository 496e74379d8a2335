"""How a service that speaks the gateway's own subprotocols ends a call: an empty text message, and then a record of the
call's status and metadata (the WebSocket front end writes it). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from protogw.call import NO_METADATA, Metadata
from protogw.descriptors.model import Type
from protogw.errors import OK, BadUpstream, Status
from protogw.wire.http import Header
from protogw.wire.metadata import forwardable
from protogw_translators.error_records import parsed_object, status_of_record
from protogw_translators.to_websocket_members import Json

TELLING = frozenset(("protogw.json", "protogw.proto"))
"""The subprotocols under which calls end so, and clients tell the end of their messages by an empty text message."""

HALF_CLOSE = ""

_NAME = re.compile(r"[0-9a-z_.-]{1,256}")
_FIELDS = 200


class End(NamedTuple):
    """What is told of a call at its end."""

    status: Status
    metadata: Metadata
    trailers: Metadata


def end_of(record: bytes, types: Mapping[str, Type]) -> End:
    """What a record says; raises BadUpstream for one that is none."""
    tree = parsed_object(record)
    code = tree.get("code") if tree is not None else None
    if tree is None or code.__class__ is not int:
        raise BadUpstream("the upstream's message after the end is no record of the call's status")
    status = OK if code == 0 else status_of_record(record, types)
    return End(status, _fields(tree.get("metadata")), _fields(tree.get("trailers")))


def _fields(tree: Json) -> Metadata:
    pairs: list[Header] = []
    if tree.__class__ is dict:
        for name, values in tree.items():
            for value in values if values.__class__ is list else ():
                if value.__class__ is str and value.isascii() and _NAME.fullmatch(name) and len(pairs) < _FIELDS:
                    pairs.append((name.encode(), value.encode()))
    found = forwardable(pairs)
    return Metadata(found) if found else NO_METADATA
