from __future__ import annotations

import pytest

from protogw.errors import Code
from protogw.wire.http_status import HTTP_STATUS, http_status


def test_every_code_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(Code)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.CANCELLED, 499),
        (Code.INVALID_ARGUMENT, 400),
        (Code.FAILED_PRECONDITION, 400),
        (Code.DEADLINE_EXCEEDED, 504),
        (Code.NOT_FOUND, 404),
        (Code.ALREADY_EXISTS, 409),
        (Code.ABORTED, 409),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.UNIMPLEMENTED, 501),
        (Code.UNAUTHENTICATED, 401),
        (17, 500),
        (-1, 500),
        (1 << 40, 500),
    ],
)
def test_codes_map_as_google_rpc_code_documents(code: int, status: int) -> None:
    assert http_status(code) == status
