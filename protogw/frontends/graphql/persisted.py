"""Documents that are known beforehand, read once when the gateway starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_DOCUMENTS = 100_000
MAX_BYTES = 64 << 20


class PersistedError(Exception):
    """The documents cannot be read; the text says why, as what follows the path."""


def read(path: Path) -> dict[str, str]:
    """The documents by id: by file name and by hash for a folder, as written (and by hash) for a manifest.

    A manifest maps ids to documents, or is Apollo's (`operations`, each with `id` and `body`). Raises PersistedError.
    """
    try:
        if path.is_dir():
            found = {file.stem: file.read_text() for file in sorted(path.glob("*.graphql"))}
        else:
            if path.stat().st_size > MAX_BYTES:
                raise PersistedError(f"is larger than {MAX_BYTES} bytes")
            found = _manifest(json.loads(path.read_bytes()))
    except OSError as error:
        raise PersistedError(f"cannot be read: {(error.strerror or 'error').lower()}") from error
    except ValueError as error:
        raise PersistedError(f"is no manifest of documents: {error}") from error
    if len(found) > MAX_DOCUMENTS or sum(map(len, found.values())) > MAX_BYTES:
        raise PersistedError(f"has more than {MAX_DOCUMENTS} documents or {MAX_BYTES} bytes")
    for text in tuple(found.values()):
        found.setdefault(hashlib.sha256(text.encode()).hexdigest(), text)
    return found


def _manifest(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping) and isinstance(value.get("operations"), list):
        value = {one.get("id"): one.get("body") for one in value["operations"] if isinstance(one, Mapping)}
    if not isinstance(value, Mapping) or not value:
        raise PersistedError("is no manifest of documents: it is not a JSON object of ids and documents")
    found: dict[str, str] = {}
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise PersistedError(f"is no manifest of documents: {name} is not one")
        found[name.removeprefix("sha256:")] = text
    return found
