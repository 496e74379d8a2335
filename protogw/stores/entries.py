"""What a cache keeps: one answer with what is said of it, as a value and as bytes. Knows no call and no protocol."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol, TypeAlias

import orjson

Pairs: TypeAlias = tuple[tuple[bytes, bytes], ...]

Clock: TypeAlias = Callable[[], float]
"""Unix seconds: entries may outlive a process, and be read on another machine."""
wall: Clock = time.time

OVERHEAD: Final = 900
"""What an entry takes beside its bytes."""


ASKED_S: Final = 3600.0
"""How long what is no longer fresh is of use to ask the service whether it still holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answer. `body` is in `encoding`; `status` is an HTTP status where the answer is opaque, else 0, and `code`,
    `message` and `details` say how it ended. `name` and `tags` are what it may be purged by."""

    name: str
    body: bytes
    encoding: str
    fields: Pairs = ()
    trailers: Pairs = ()
    status: int = 0
    code: int = 0
    message: str = ""
    details: Pairs = ()
    tags: tuple[str, ...] = ()
    etag: bytes = b""
    """Made of the body, where the service gave none."""
    made_s: float = 0.0
    """When the answer was made, Unix seconds: its age counts from then."""
    fresh_s: float = 0.0
    """The age up to which it is fresh."""
    stale_s: float = 0.0
    """How long after that it may be given while it is asked for anew."""
    error_s: float = 0.0
    """How long after that it may be given when the service fails."""
    asks_first: bool = False
    """It may only be given once the service has said that it still holds."""

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        pairs = (*self.fields, *self.trailers, *self.details)
        return OVERHEAD + len(self.body) + sum([len(name) + len(value) + 120 for name, value in pairs])

    @property
    def keep_s(self) -> float:
        """The age from which on it is of no use."""
        held = any(name in (b"etag", b"last-modified") for name, _ in self.fields)
        return self.fresh_s + max(self.stale_s, self.error_s, ASKED_S if held else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries are meant: by their name, in which `*` stands for anything, and by a tag; all by default."""

    name: str = ""
    tag: str = ""

    def takes(self, entry: Entry) -> bool:
        return (not self.name or fnmatchcase(entry.name, self.name)) and (not self.tag or self.tag in entry.tags)


class CacheStore(Protocol):
    """Keeps entries by key until they are of no use or there is no room. May lose any at any time."""

    async def get(self, key: bytes) -> Entry | None:
        """The entry; raises StoreError when that cannot be told."""
        ...

    async def put(self, key: bytes, entry: Entry) -> None:
        """Keep it; raises StoreError when that cannot be told. What is too large is left out."""
        ...

    async def remove(self, key: bytes) -> None:
        """Forget one; raises StoreError."""
        ...

    async def purge(self, wanted: Wanted) -> int:
        """Remove those that are meant, and say how many they were; raises StoreError."""
        ...

    async def close(self) -> None: ...


def dumped(entry: Entry) -> bytes:
    """An entry as bytes: a line of JSON, then the body."""
    head: dict[str, Any] = {
        "v": 1,
        "name": entry.name,
        "tags": entry.tags,
        "encoding": entry.encoding,
        "status": entry.status,
        "code": entry.code,
        "message": entry.message,
        "fields": _texts(entry.fields),
        "trailers": _texts(entry.trailers),
        "details": _texts(entry.details),
        "times": (entry.made_s, entry.fresh_s, entry.stale_s, entry.error_s),
        "asks_first": entry.asks_first,
        "etag": entry.etag.decode(),
    }
    return orjson.dumps(head) + b"\n" + entry.body


def loaded(data: bytes) -> Entry | None:
    """The entry that these bytes are, None when they are none that `dumped` wrote: whoever writes to the store may
    write anything."""
    line, newline, body = data.partition(b"\n")
    if not newline:
        return None
    try:
        head = orjson.loads(line)
        if head["v"] != 1:
            return None
        made, fresh, stale, error = (float(one) for one in head["times"])
        entry = Entry(
            name=str(head["name"]),
            body=body,
            encoding=str(head["encoding"]),
            fields=_pairs(head["fields"]),
            trailers=_pairs(head["trailers"]),
            status=int(head["status"]),
            code=int(head["code"]),
            message=str(head["message"]),
            details=_pairs(head["details"]),
            tags=tuple(str(tag) for tag in head["tags"]),
            made_s=made,
            fresh_s=fresh,
            stale_s=stale,
            error_s=error,
            asks_first=bool(head["asks_first"]),
            etag=str(head.get("etag", "")).encode(),
        )
        return entry if _is_answer(entry) else None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _is_answer(entry: Entry) -> bool:
    """Whether it is one that can be given: opaque with an HTTP status, or a method's with a Code and, if that is OK, a
    message."""
    times = (entry.made_s, entry.fresh_s, entry.stale_s, entry.error_s)
    if not all(map(math.isfinite, times)) or min(times) < 0:
        return False
    if entry.status:
        sort = 200 <= entry.status <= 599 and entry.encoding == "raw" and not entry.code
    else:
        sort = 0 <= entry.code <= 16 and (
            entry.encoding in ("proto", "json") or (entry.encoding == "" and entry.code > 0)
        )
    pairs = (*entry.fields, *entry.trailers, (b"etag", entry.etag))
    return sort and not any(one in name or one in value for name, value in pairs for one in _SPLITTING)


_SPLITTING = (b"\r", b"\n", b"\0")


def _texts(pairs: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]


def _pairs(texts: Any) -> Pairs:
    return tuple([(name.encode("latin-1"), value.encode("latin-1")) for name, value in texts])
