"""A config as it may be shown: as it was written, without the secrets that stand in it."""

from __future__ import annotations

import re
from typing import Any

from protogw.config.document import NOTHING, Document
from protogw.config.faults import Place
from protogw.words import HIDDEN, unsecret

_SECRET_KEY = re.compile(
    r"secret|passw(?:or)?d|passphrase|token|(?:api|access|private|signing)[_-]?key|credential|authorization|hash$",
    re.IGNORECASE,
)

_SENT = frozenset((("metrics", "headers"), ("tracing", "headers"), ("websocket_options", "headers")))
"""Where fields stand that the gateway sends for itself: what they are called says nothing of what is a token."""


def redacted(document: Document) -> Any:
    """The document's data with variables and `file:` unexpanded, secret keys' values and URLs' secrets hidden."""
    return _shown(document, (), document.data, hidden=False)


def _shown(document: Document, place: Place, value: Any, *, hidden: bool) -> Any:
    if isinstance(value, dict):
        hidden = hidden or place[-2:] in _SENT
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
        return unsecret(written)
    if hidden:
        return HIDDEN
    return unsecret(value) if isinstance(value, str) else value
