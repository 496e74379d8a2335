"""Methods that settings name: what a pattern means, and what was probably meant by one that fits nothing."""

from __future__ import annotations

import pytest

from protogw.policies.called import meant, names
from tests.support import rpc

METHODS = list(rpc.CATALOG.methods.values())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("kit.v1.Echo/unary", '; did you mean "kit.v1.Echo/Unary"?'),
        ("kit.v1.Echo/Unarry", '; did you mean "kit.v1.Echo/Unary"?'),
        ("kit.v1.Ecco/Unarry", '; did you mean "kit.v1.Echo/Unary"?'),
        ("kit.v1.Ecco/*", '; did you mean "kit.v1.Echo/*"?'),
        ("kit.v1.Ecco/SomethingElse", '; did you mean "kit.v1.Echo/*"?'),
        ("kit.v1.Echo/SomethingElse", "; there are Absent, Chat, Down, Look, Unary, Up"),
        ("kit.v2.*", '; did you mean "kit.v1.*"?'),
        ("orders.v1.Orders/Get", ""),
        ("orders.*", ""),
    ],
)
def test_what_was_probably_meant(written: str, said: str) -> None:
    assert meant(written, METHODS) == said


def test_nothing_is_near_where_there_is_nothing() -> None:
    for written in ("kit.v1.Echo/Unary", "kit.v1.Echo/*", "kit.*"):
        assert meant(written, ()) == ""


def test_a_pattern_means_one_method_or_all_of_a_service() -> None:
    assert names("kit.v1.Echo/Look", rpc.LOOK)
    assert names("kit.v1.Echo/*", rpc.LOOK)
    assert not names("kit.v1.Echo/Loo", rpc.LOOK)
    assert not names("kit.v1.Ech/*", rpc.LOOK)
