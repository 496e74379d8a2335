"""What a listener's `rest` section may say."""

from __future__ import annotations

from typing import Literal

from protogw.frontends.base import FrontEndSettings
from protogw.values import Bytes, Seconds


class RestSettings(FrontEndSettings):
    """How requests are read and answered as REST."""

    errors: Literal["google", "aip193", "problem"] = "google"
    """The style of error bodies: google.rpc.Status, Google's public form, or RFC 9457."""
    unknown_query: Literal["error", "ignore"] = "error"
    """What a query parameter that names no field gets."""
    empty_status: Literal[200, 204] = 200
    """Of a google.protobuf.Empty reply: 200 with `{}`, or 204 without a body."""
    compression: bool = True
    """Compress bodies for clients that accept it."""
    compression_min_bytes: Bytes = 1024
    """Bodies below this are not worth compressing."""
    heartbeat: Seconds = 15.0
    """Between comments on an event stream, which keep it open through proxies; 0 for none."""
    method_override: bool = False
    """Obey a POST's X-HTTP-Method-Override, which hides the real verb from whatever stands in front of the gateway."""
