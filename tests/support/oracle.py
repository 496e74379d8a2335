"""Google's own protobuf, given the same descriptors as a Schema: what a codec's bytes and JSON are compared with."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from protogw.descriptors.from_proto import load
from protogw.descriptors.model import Schema
from protogw.wire.protojson import DEFAULT, JsonOptions


@cache
def compiled(text: str, options: JsonOptions = DEFAULT) -> Schema:
    """The schema of one .proto file's text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test.proto")
        path.write_text(text)
        return load([path], options=options)


class Oracle:
    """Message classes and JSON by google.protobuf."""

    def __init__(self, descriptor_set: bytes) -> None:
        self.pool = DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file:
            self.pool.AddSerializedFile(file.SerializeToString())

    def type(self, name: str) -> Any:
        return GetMessageClass(self.pool.FindMessageTypeByName(name))

    def parse(self, name: str, text: str, **options: Any) -> Any:
        """The message of this JSON; raises json_format.ParseError."""
        return json_format.Parse(text, self.type(name)(), descriptor_pool=self.pool, **options)

    def print(self, message: Message, **options: Any) -> str:
        return json_format.MessageToJson(message, descriptor_pool=self.pool, ensure_ascii=False, indent=None, **options)
