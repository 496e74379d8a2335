"""Words in messages to those who write configs: as they were written, and the nearest that would be right. Imports
nothing of ours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_SHOWN, _LONGEST = 60, 400

HIDDEN = "***"
"""What stands for a secret."""
_USER_INFO = re.compile(r"://[^/@\s]*@")
_SECRET_QUERY = re.compile(
    r"([?&][^=&#\s]*(?:key|token|secret|passw|pwd|sig|auth|cred)[^=&#\s]*=)[^&#\s\"]+", re.IGNORECASE
)


def unsecret(text: str) -> str:
    """The text, with addresses in it that tell neither who logs in nor what in their query is a secret."""
    if "://" not in text:
        return text
    return _SECRET_QUERY.sub(rf"\1{HIDDEN}", _USER_INFO.sub(f"://{HIDDEN}@", text))


def quoted(text: str, most: int = _SHOWN) -> str:
    """The text between quotes on one line, cut when long; control characters are escaped, so a terminal is safe;
    secrets of addresses are not told."""
    text = unsecret(text)
    cut = text if len(text) <= most else text[: most - 1] + "…"
    body = "".join(
        "\\" + char if char in '"\\' else char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in cut
    )
    return f'"{body}"'


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant, or None when none is near."""
    candidates = sorted(set(words))
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in candidates}
    wanted = word.lower().replace("-", "_")
    if wanted in folded:
        return folded[wanted]
    found = difflib.get_close_matches(wanted, list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def suggested(word: str) -> str:
    """`; did you mean "balance"?`"""
    return f"; did you mean {quoted(word, _LONGEST)}?"


def hint(word: str, words: Iterable[str]) -> str:
    """`; did you mean "balance"?`, or the words there are when none is near and they are few, or nothing."""
    candidates = sorted(set(words))
    found = nearest(word, candidates)
    if found is not None:
        return suggested(found)
    if candidates and len(candidates) <= 8:
        return f"; there {'is' if len(candidates) == 1 else 'are'} {', '.join(candidates)}"
    return ""
