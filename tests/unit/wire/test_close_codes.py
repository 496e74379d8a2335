"""Close codes and what they mean as a Code."""

from __future__ import annotations

import pytest

from protogw.errors import Code
from protogw.wire.close_codes import APPLICATION, CODE_OF_CLOSE, code_of_close


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_a_close_code_of_its_own(code: Code) -> None:
    assert code_of_close(APPLICATION + code) is code


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
        (4403, Code.PERMISSION_DENIED),
    ],
)
def test_how_a_service_closes_says_how_the_call_ended(close: int, code: Code) -> None:
    assert code_of_close(close) is code


@pytest.mark.parametrize("close", [0, 999, 1004, 1016, 2999, 3001, 4017, 4300, 4999, 5000, 65535])
def test_a_close_code_without_a_meaning_is_unknown(close: int) -> None:
    assert code_of_close(close) is Code.UNKNOWN
