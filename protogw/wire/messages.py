"""Protobuf messages whose fields are read or set one by one, where converting the whole to JSON would be waste."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


class Messages:
    """The message classes of one descriptor set, in a pool of their own; made on first use.

    A class's constructor takes fields by their proto names; it, `FromString` and `SerializeToString` raise what
    `FAILURES` lists.
    """

    def __init__(self, descriptor_set: bytes) -> None:
        self._descriptor_set = descriptor_set
        self._pool: descriptor_pool.DescriptorPool | None = None
        self._classes: dict[str, Any] = {}

    def of(self, name: str) -> Any:
        """The class of the message type of this full name; KeyError when there is none."""
        found = self._classes.get(name)
        if found is None:
            if self._pool is None:
                self._pool = descriptor_pool.DescriptorPool()
                for file in descriptor_pb2.FileDescriptorSet.FromString(self._descriptor_set).file:
                    self._pool.AddSerializedFile(file.SerializeToString())
            type_ = self._pool.FindMessageTypeByName(name)
            try:
                found = message_factory.GetMessageClass(type_)
            except RecursionError:
                # It goes down through all types that are held, though each of their classes is made once it is met.
                found = message_factory.GetMessageClass(type_)
            self._classes[name] = found
        return found
