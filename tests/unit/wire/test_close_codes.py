"""What a socket's close code says of the call that ended with it, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import (
    BodyTooLarge,
    Code,
    Forbidden,
    GatewayError,
    InternalError,
    InvalidRequest,
    LimitReached,
    Overloaded,
    Status,
    Unauthenticated,
    UnsupportedMedia,
)
from protogw.wire.close_codes import (
    APPLICATION,
    CLOSE_OF_CODE,
    CODE_OF_CLOSE,
    MAX_REASON,
    SocketPolicy,
    close_of_error,
    close_of_status,
    code_of_close,
    reason,
)


@pytest.mark.parametrize("code", list(Code))
def test_every_code_is_read_back_from_the_close_code_that_tells_it(code: Code) -> None:
    assert code_of_close(close_of_status(Status(code))) is code


def test_no_two_codes_are_told_alike() -> None:
    assert len(set(CLOSE_OF_CODE.values())) == len(Code)


@pytest.mark.parametrize("code", list(Code))
def test_of_a_service_4000_and_the_code_is_that_code(code: Code) -> None:
    assert code_of_close(APPLICATION + code) is code


@pytest.mark.parametrize(
    ("code", "close"),
    [
        (Code.OK, 1000),
        (Code.UNAUTHENTICATED, 4401),
        (Code.PERMISSION_DENIED, 4403),
        (Code.RESOURCE_EXHAUSTED, 4008),
        (Code.NOT_FOUND, 4005),
        (Code.UNAVAILABLE, 4014),
    ],
)
def test_a_status_is_4000_and_its_code_but_for_who_calls_and_what_it_may(code: Code, close: int) -> None:
    assert close_of_status(Status(code)) == close


@pytest.mark.parametrize(
    ("error", "close"),
    [
        (Unauthenticated("who?"), 4401),
        (Forbidden("no"), 4403),
        (LimitReached("slowly", 1.0), 4008),
        (SocketPolicy("late"), 1008),
        (UnsupportedMedia("text"), 1003),
        (BodyTooLarge("big"), 1009),
        (InvalidRequest("no JSON"), 1007),
        (Overloaded("full"), 1013),
        (InternalError(), 1011),
        (GatewayError("gone", code=Code.ABORTED), 4010),
    ],
)
def test_an_error_of_the_gateway_has_its_close_code(error: GatewayError, close: int) -> None:
    assert close_of_error(error) == close


@pytest.mark.parametrize("close", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014])
def test_every_close_code_of_the_registry_is_known(close: int) -> None:
    assert close in CODE_OF_CLOSE


@pytest.mark.parametrize(
    ("close", "code"),
    [
        (1000, Code.OK),
        (1005, Code.OK),
        (1001, Code.UNAVAILABLE),
        (1006, Code.UNAVAILABLE),
        (1008, Code.PERMISSION_DENIED),
        (1009, Code.RESOURCE_EXHAUSTED),
        (1011, Code.INTERNAL),
        (1013, Code.UNAVAILABLE),
        (4401, Code.UNAUTHENTICATED),
        (4016, Code.UNAUTHENTICATED),
        (4403, Code.PERMISSION_DENIED),
        (4007, Code.PERMISSION_DENIED),
        (4429, Code.RESOURCE_EXHAUSTED),
        (4008, Code.RESOURCE_EXHAUSTED),
    ],
)
def test_how_a_service_closes_says_how_the_call_ended(close: int, code: Code) -> None:
    assert code_of_close(close) is code


@pytest.mark.parametrize("close", [0, 999, 1004, 1016, 2999, 3001, 4017, 4300, 4999, 5000, 65535])
def test_a_close_code_without_a_meaning_is_unknown(close: int) -> None:
    assert code_of_close(close) is Code.UNKNOWN


@given(st.text(st.characters(exclude_categories=())))
def test_a_reason_always_has_room_and_is_utf8(text: str) -> None:
    data = reason(text).encode()
    assert len(data) <= MAX_REASON
