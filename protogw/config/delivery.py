"""What a route says of how its calls are shared between upstreams, and what is compared."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from protogw.config.strict import Strict
from protogw.values import refuse

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_METHOD = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*/(?:\*|[A-Za-z_]\w*)\Z", re.ASCII)


def _token(value: str) -> str:
    if not _TOKEN.match(value):
        refuse("is not a name of a header or cookie")
    return value


def _method(value: str) -> str:
    if not _METHOD.match(value):
        refuse("is not a call: write package.Service/Method or package.Service/*")
    return value


Token = Annotated[str, AfterValidator(_token)]
MethodName = Annotated[str, AfterValidator(_method)]


class Override(Strict):
    """Where a caller may name the upstream that it wants; other values than the route's upstreams mean nothing."""

    header: Token | None = None
    """The header."""
    cookie: Token | None = None
    """The cookie, where there is no such header."""

    @model_validator(mode="after")
    def _one(self) -> Override:
        if self.header is None and self.cookie is None:
            raise PydanticCustomError("override", "{reason}", {"reason": "needs a header or a cookie"})
        return self
