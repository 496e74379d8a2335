"""What a listener's `rest` section may say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protogw.frontends.base import FrontEndSettings


class RestSettings(FrontEndSettings):
    """`errors`: the style of error bodies. `unknown_query`: whether a parameter that is no field is refused.
    `empty_status`: of a google.protobuf.Empty reply, 200 with `{}` or 204 without a body.
    `compression`: whether bodies of at least `compression_min_bytes` are compressed for clients that accept it.
    `heartbeat_s`: between comments on an event stream; 0 for none.
    `method_override`: whether a POST's X-HTTP-Method-Override is obeyed; it hides the real verb from whatever stands
    in front of the gateway.
    """

    errors: Literal["google", "aip193", "problem"] = "google"
    unknown_query: Literal["error", "ignore"] = "error"
    empty_status: Literal[200, 204] = 200
    compression: bool = True
    compression_min_bytes: Annotated[int, Field(ge=0)] = 1024
    heartbeat_s: Annotated[float, Field(ge=0)] = 15.0
    method_override: bool = False
