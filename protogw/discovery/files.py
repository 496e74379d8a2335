"""Addresses out of a file that somebody else writes, read again when it changes.

A YAML or JSON list: each item an address as text, or a mapping of `address`, `weight`, `priority` and `zone`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from protogw.discovery.base import Address, DiscoveryError
from protogw.discovery.settings import DiscoverySettings
from protogw.paths import Written, parse_file, parse_path
from protogw.values import refuse
from protogw.watching import Stamp, stamp_of

WATCH_S = 0.5
"""How often the file is looked at."""
MAX_FILE = 4 << 20
SUFFIXES = (".yaml", ".yml", ".json")


class _Entry(BaseModel):
    """One address of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[str, Field(min_length=3, max_length=300)]
    weight: Annotated[int, Field(ge=1, le=10_000)] = 1
    priority: Annotated[int, Field(ge=0, le=100)] = 0
    zone: Annotated[str, Field(max_length=100)] = ""


def _entry(value: Any) -> Any:
    return {"address": value} if isinstance(value, str) else value


_ENTRIES = TypeAdapter(tuple[Annotated[_Entry, BeforeValidator(_entry)], ...])


@dataclass(frozen=True, slots=True)
class File:
    """`file:ENDPOINTS.yaml`: a list of addresses in a file that may change."""

    kind: ClassVar[str] = "file"
    trusted: ClassVar[bool] = True

    path: Path

    @classmethod
    def parse(cls, written: str) -> Self:
        name = written.removeprefix("file:")
        if not name.endswith(SUFFIXES):
            refuse("is not a file of addresses: its name ends in .yaml, .yml or .json")
        path = parse_path(Written(name, written.folder) if isinstance(written, Written) else name)
        parse_file(path)
        try:
            read(path)
        except DiscoveryError as error:
            refuse(f"cannot be used: {error}")
        return cls(path)

    @property
    def authority(self) -> str:
        return self.server_name

    @property
    def server_name(self) -> str:
        return self.path.stem

    def open(self, settings: DiscoverySettings) -> FileSource:
        return FileSource(self.path)


class FileSource:
    """Reads the file, and again once it has changed: its time, its size, or what its name leads to (Kubernetes swaps a
    link)."""

    def __init__(self, path: Path, *, every_s: float = WATCH_S) -> None:
        self._path = path
        self._every_s = every_s
        self._seen: Stamp | None = None

    async def next(self) -> Sequence[Address]:
        while True:
            stamp = await asyncio.to_thread(stamp_of, self._path)
            if stamp != self._seen and stamp is not None:
                self._seen = stamp
                return await asyncio.to_thread(read, self._path)
            if self._seen is None:
                raise DiscoveryError(f"{self._path} cannot be read")
            await asyncio.sleep(self._every_s)

    async def close(self) -> None:
        """Nothing is held."""


def read(path: Path) -> list[Address]:
    """The addresses of a file; raises DiscoveryError with the first fault."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE + 1)
        if len(text) > MAX_FILE:
            raise DiscoveryError(f"it is larger than {MAX_FILE >> 20} MiB")
        found: Any = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise DiscoveryError(f"{path} cannot be read: {(error.strerror or 'error').lower()}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise DiscoveryError(f"it is not YAML{where}") from None
    if not isinstance(found, list):
        raise DiscoveryError("it is not a list of addresses")
    try:
        entries = _ENTRIES.validate_python(found)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise DiscoveryError(f"[{place}]: {first['msg'].lower()}") from None
    addresses: list[Address] = []
    for index, entry in enumerate(entries):
        host, colon, port = entry.address.rpartition(":")
        if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
            raise DiscoveryError(f"[{index}]: {entry.address!r} is not host:port")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        addresses.append(
            Address(host=host, port=int(port), weight=entry.weight, priority=entry.priority, zone=entry.zone)
        )
    return addresses
