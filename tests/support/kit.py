"""The kit service's schema and message classes, compiled when first imported; kept out of the default pool."""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

PROTO = Path(__file__).with_name("kit.proto")
SERVICE = "kit.v1.Echo"


def _compile() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kit.pb"
        includes = (PROTO.parent, files("grpc_tools") / "_proto", Path(annotations_pb2.__file__).parents[2])
        arguments = [*(f"-I{include}" for include in includes), "--include_imports", f"-o{out}", PROTO.name]
        if protoc.main(["protoc", *arguments]):
            raise RuntimeError(f"{PROTO} does not compile")
        return out.read_bytes()


DESCRIPTOR_SET = _compile()
"""A serialized FileDescriptorSet with everything that kit.proto imports."""

POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR_SET).file:
    POOL.Add(_file)

Message: Any = message_factory.GetMessageClass(POOL.FindMessageTypeByName("kit.v1.Message"))
Plan: Any = message_factory.GetMessageClass(POOL.FindMessageTypeByName("kit.v1.Plan"))
METHODS = {method.name: method for method in POOL.FindServiceByName(SERVICE).methods}


def message(text: str = "", **fields: Any) -> Any:
    """A kit.v1.Message; the fields of its plan may be given beside its own."""
    plan = {name: fields.pop(name) for name in list(fields) if name in Plan.DESCRIPTOR.fields_by_name}
    made = Message(text=text, **fields)
    if plan:
        made.plan.CopyFrom(Plan(**plan))
    return made
