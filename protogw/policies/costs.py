"""What a call or a message counts for, where an expression says so: for policies that count."""

from __future__ import annotations

import math
from typing import Final

from protogw.call import Call, Payload
from protogw.errors import InvalidRequest
from protogw.expressions import Expression, ExpressionError

MOST_COST: Final = 1_000_000


def cost_of(written: Expression, call: Call, payload: Payload | None = None) -> int:
    """The expression's value rounded up, at least 1; raises InvalidRequest when it says nothing of use."""
    try:
        value = written.value(call, payload)
    except ExpressionError as error:
        raise InvalidRequest(f"the cost of this call cannot be told: {error}") from error
    if isinstance(value, str) and value.isdecimal() and len(value) <= 20:
        value = int(value)  # as ProtoJSON writes 64-bit integers
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value <= MOST_COST:
        raise InvalidRequest(f"the cost of this call cannot be told: {written.text} is no number up to {MOST_COST}")
    return max(1, math.ceil(value))
