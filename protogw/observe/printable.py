"""What clients and services send, as logs may write it: no line can be forged by it, and no terminal steered."""

from __future__ import annotations

from functools import lru_cache
from typing import Final


def text(value: bytes, limit: int) -> str:
    """Bytes as printable ASCII: everything else is escaped, so that no line can be forged or terminal steered."""
    cut = value if len(value) <= limit else value[:limit]
    if cut.isascii():
        plain = cut.decode("ascii")
        if plain.isprintable() and "\\" not in plain:
            return plain if len(value) <= limit else plain + "…"
    escaped = "".join(chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}" for byte in cut)
    return escaped if len(value) <= limit else escaped + "…"


def words(value: str, limit: int) -> str:
    """The same of text, which may have come from a client or a service."""
    return text(value.encode("utf-8", "surrogatepass"), limit)


def recurring(value: bytes, limit: int) -> str:
    """The same of what many requests have in common."""
    return _kept(value, limit) if len(value) <= _SHORT else text(value, limit)


_SHORT: Final = 256
_kept = lru_cache(maxsize=1024)(text)
