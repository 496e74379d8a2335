"""Whether a failure is one that the client itself brought about: it speaks against no endpoint and no version then, or
one client could have a service taken from all others.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from protogw.call import PATIENCE_S, Call, Encoding
from protogw.errors import Code, Status

MOST_READ: Final = 4 << 20
"""Messages up to this size are looked at: gRPC's own bound of what a service takes."""


def excused(call: Call, status: Status, seconds: float, patience: float = PATIENCE_S) -> bool:
    """Whether a deadline of the client's own passed that left the service less than `patience`, or the request is bytes
    that are no message, which nobody reads on the way where both sides write it alike."""
    if status.code is Code.DEADLINE_EXCEEDED:
        return call.hurried(seconds, patience)
    method, payload = call.method, call.payload
    if status.code not in (Code.INTERNAL, Code.UNKNOWN) or method is None or payload is None:
        return False
    if payload.encoding is not Encoding.PROTO or len(payload.data) > MOST_READ:
        return False
    try:
        method.input.message.FromString(payload.data)
    except DecodeError:
        return True
    return False
