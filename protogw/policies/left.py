"""What limits tell the client of what is left, whatever the answer to the call is: the RateLimit fields."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protogw.call import Call, Notes


def left(limit: int, remaining: int, reset_s: float) -> Notes:
    """The three fields (draft-ietf-httpapi-ratelimit-headers-06, section 5)."""
    return (
        (b"ratelimit-limit", limit),
        (b"ratelimit-remaining", remaining),
        (b"ratelimit-reset", math.ceil(reset_s)),
    )


def tell(call: Call, notes: Notes) -> None:
    """Have the client told; of several limits, of the one that leaves the least."""
    if not call.notes or notes[1][1] <= call.notes[1][1]:
        call.notes = notes
