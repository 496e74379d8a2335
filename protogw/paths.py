"""Paths in settings, relative to the folder of the file that they are written in.."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from protogw.values import refuse


class Written(str):
    """Text of the document that knows the folder of the file it stands in, for paths are relative to that."""

    __slots__ = ("folder",)
    folder: Path

    def __new__(cls, text: str, folder: Path) -> Written:
        self = super().__new__(cls, text)
        self.folder = folder
        return self

    def __reduce__(self) -> tuple[type[Written], tuple[str, Path]]:
        return Written, (str(self), self.folder)


def _folder(value: str) -> Path:
    return value.folder if isinstance(value, Written) else Path()


def parse_path(value: object) -> Path:
    """A path, relative to the folder of the file it is written in."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        refuse("is not a path")
    return _folder(value) / os.path.expanduser(value)


def parse_file(value: object) -> Path:
    """A file that can be read now."""
    path = parse_path(value)
    try:
        if path.is_dir():
            refuse("is a folder: a file is expected")
        with path.open("rb"):
            pass
    except OSError as error:
        refuse(f"cannot be read: {(error.strerror or 'error').lower()}")
    return path


def parse_folder(value: object) -> Path:
    path = parse_path(value)
    if not path.is_dir():
        refuse("is not a folder" if path.exists() else "cannot be read: no such file or directory")
    return path


ReadableFile = Annotated[Path, PlainValidator(parse_file), WithJsonSchema({"type": "string"})]
Folder = Annotated[Path, PlainValidator(parse_folder), WithJsonSchema({"type": "string"})]
PlainPath = Annotated[Path, PlainValidator(parse_path), WithJsonSchema({"type": "string"})]
"""A path at which nothing need be yet."""
