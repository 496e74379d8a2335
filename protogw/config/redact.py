"""A config as it may be shown: as it was written, without the secrets that stand in it."""

from __future__ import annotations

import re
from typing import Any

from protogw.config.document import NOTHING, Document
from protogw.config.faults import Place
from protogw.words import HIDDEN, USER_INFO

_SECRET_KEY = re.compile(r"secret|password|passwd|token|api_?key|credential|authorization|hash$", re.IGNORECASE)


def redacted(document: Document) -> Any:
    """The document's data with variables and `file:` unexpanded, secret keys' values and URLs' user names hidden."""
    return _shown(document, (), document.data, hidden=False)


def _shown(document: Document, place: Place, value: Any, *, hidden: bool) -> Any:
    if isinstance(value, dict):
        return {
            key: _shown(document, (*place, key), inner, hidden=hidden or bool(_SECRET_KEY.search(key)))
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_shown(document, (*place, index), inner, hidden=hidden) for index, inner in enumerate(value)]
    if value is NOTHING:
        return None
    written = document.as_written.get(place)
    if written is not None:
        return USER_INFO.sub(f"://{HIDDEN}@", written)
    if hidden:
        return HIDDEN
    return USER_INFO.sub(f"://{HIDDEN}@", value) if isinstance(value, str) else value
