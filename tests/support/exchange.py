"""The service that exchange.asyncapi.yaml describes: its schema, and calls of its methods."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson

from protogw.call import NO_METADATA, Call, Encoding, Payload
from protogw.descriptors.from_asyncapi import load
from protogw.descriptors.model import Method, Schema
from protogw.descriptors.numbers import Numbers
from protogw.wire.http import Peer
from tests.support import feed

DOCUMENT = Path(__file__).with_name("exchange.asyncapi.yaml")
SERVICE = "exchange.Exchange"


@cache
def schema() -> Schema:
    return load([DOCUMENT], upstream="exchange", numbers=Numbers())


def method(name: str) -> Method:
    return schema().services[SERVICE].methods[name]


def call(name: str, *messages: Any, proto: bool = True) -> Call:
    """A call of a method with these messages, in ProtoJSON, as a gRPC client sends them."""
    called = method(name)
    codec = called.input.codec.canonical if proto else called.input.codec
    payloads = []
    for message in messages:
        data = orjson.dumps(message)
        made = codec.from_json(data) if proto else data
        payloads.append(Payload(made, Encoding.PROTO if proto else Encoding.JSON, called.input.codec))
    made_call = Call(called, NO_METADATA, front_end="test", peer=Peer("192.0.2.1", 5), started=0.0)
    if called.client_streaming:
        made_call.payloads = feed.stream(payloads)
    else:
        (made_call.payload,) = payloads
    return made_call


def tree(method_name: str, payload: Payload | None) -> Any:
    """What a reply says, in ProtoJSON."""
    assert payload is not None
    return orjson.loads(method(method_name).output.codec.canonical.to_json(payload.proto()))
