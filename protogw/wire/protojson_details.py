"""google.protobuf.Any of a status ⇄ JSON, for error details in REST, Connect and other JSON errors."""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable

import orjson

from protogw.descriptors.model import Codec, Type
from protogw.errors import Detail, InvalidRequest
from protogw.wire.protojson import Codecs, MessageCodec
from protogw.wire.protojson_registry import known
from protogw.wire.protojson_types import WELL_KNOWN

_PREFIX = "type.googleapis.com/"


def detail_to_json(detail: Detail, types: Callable[[str], Type | None]) -> bytes:
    """`{"@type": …, fields}` of a detail whose type `types` or this module knows, else `{"@type": …, "value": base64}`.

    Never raises: bytes that do not parse as their type are shown as of an unknown one.
    """
    name = detail.type_url.rpartition("/")[2]
    head = b'{"@type":' + orjson.dumps(detail.type_url)
    codec = _codec(name, types)
    if codec is not None:
        try:
            printed = codec.to_json(detail.value)
        except InvalidRequest:
            pass
        else:
            if name in WELL_KNOWN:
                return b'%s,"value":%s}' % (head, printed)
            return head + (b"}" if printed == b"{}" else b"," + printed[1:])
    return b'%s,"value":"%s"}' % (head, base64.b64encode(detail.value))


def detail_from_json(data: bytes, types: Callable[[str], Type | None]) -> Detail:
    """The Detail that this JSON stands for; raises InvalidRequest when it cannot be read."""
    try:
        tree = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("details: invalid JSON") from error
    url = tree.pop("@type", None) if isinstance(tree, dict) else None
    if not isinstance(url, str) or not url:
        raise InvalidRequest('details: expected an object with "@type"')
    if "/" not in url:
        url = _PREFIX + url
    name = url.rpartition("/")[2]
    codec = _codec(name, types)
    if codec is not None and name in WELL_KNOWN:
        return Detail(url, codec.from_json(orjson.dumps(tree.get("value"))))
    if codec is not None:
        return Detail(url, codec.from_json(orjson.dumps(tree)))
    value = tree.get("value")
    if tree.keys() != {"value"} or not isinstance(value, str):
        raise InvalidRequest(f"details: unknown type {url}")
    try:
        return Detail(url, base64.b64decode(value + "=" * (-len(value) % 4), validate=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"details: {url}: value is not base64") from error


def _codec(name: str, types: Callable[[str], Type | None]) -> Codec | None:
    found = types(name)
    return found.codec if found is not None else _known_codec(name)


@functools.lru_cache(maxsize=256)
def _known_codec(name: str) -> MessageCodec | None:
    desc = known().message(name)
    return MessageCodec(desc, _known_codecs()) if desc is not None else None


@functools.cache
def _known_codecs() -> Codecs:
    return Codecs(b"")
