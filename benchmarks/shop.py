"""The messages that are sent and answered, in every form that a row needs."""

from __future__ import annotations

import base64
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_tools import protoc

PROTO = Path(__file__).with_name("shop.proto")
API_KEY = "a-key-that-only-the-benchmarks-use"
STREAMED = 10_000
"""Messages in one answer of the stream."""


def _compile() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "shop.pb"
        includes = (PROTO.parent, files("grpc_tools") / "_proto", Path(annotations_pb2.__file__).parents[2])
        if protoc.main(["protoc", *(f"-I{one}" for one in includes), "--include_imports", f"-o{out}", PROTO.name]):
            raise RuntimeError(f"{PROTO} does not compile")
        return out.read_bytes()


DESCRIPTOR_SET = _compile()
_POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR_SET).file:
    _POOL.Add(_file)


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"shop.v1.{name}"))


Item, Page, GetItemRequest = _class("Item"), _class("Page"), _class("GetItemRequest")


def item(number: int = 1) -> Any:
    """An item of about 140 bytes."""
    made = Item(
        name=f"items/{number}",
        title="A kettle for two cups, enamelled",
        stock=9_007_199_254_740_993 + number,
        price=34.5,
        tags=["kitchen", "gift", "enamel"],
        condition=1,
        labels={"colour": "blue"},
        digest=bytes(range(16)),
    )
    made.updated.FromJsonString("2026-03-14T15:09:26.535Z")
    return made


ITEM = item()
PAGE = Page(items=[item(number) for number in range(1, 15)], next="15")
REQUEST = GetItemRequest(name="items/1")


def framed(message: Any) -> bytes:
    """The message behind gRPC's five bytes."""
    data: bytes = message.SerializeToString(deterministic=True)
    return b"\0" + len(data).to_bytes(4, "big") + data


def text(message: Any) -> bytes:
    """The message as JSON."""
    return json_format.MessageToJson(message, indent=None).encode()


def connect_get(message: Any) -> str:
    """The query of a Connect GET."""
    data = base64.urlsafe_b64encode(message.SerializeToString()).rstrip(b"=").decode()
    return f"?connect=v1&encoding=proto&base64=1&message={data}"
