"""What limits tell the client of what is left, whatever the answer to the call is: the RateLimit fields."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from protogw.call import NoteNames

if TYPE_CHECKING:
    from protogw.call import Call, Notes


FIELDS: Final = NoteNames((b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset"))
"""The three fields (draft-ietf-httpapi-ratelimit-headers-06, section 5)."""


def left(limit: int, remaining: int, reset_s: float) -> Notes:
    return FIELDS, (limit, remaining, math.ceil(reset_s))


def tell(call: Call, notes: Notes) -> None:
    """Have the client told; of several limits, of the one that leaves the least."""
    if call.notes is None or notes[1][1] <= call.notes[1][1]:
        call.notes = notes
