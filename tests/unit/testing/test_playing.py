"""What users test their policies with, itself tested: as they run it, and part by part."""

from __future__ import annotations

from typing import Any

import pytest

from protogw.config import ConfigError
from protogw.errors import Code, Status, Unreachable
from protogw.policy import Call, Handler, Identity, Policy, Reply, Settings
from protogw.testing import Forwarded, Playing, Seen, call_of

pytest_plugins = ["pytester"]

CONFTEST = 'pytest_plugins = ["protogw.testing"]\n'
POLICY = """
from protogw.policy import Call, Forbidden, Handler, Policy, Reply, Settings

class TenantSettings(Settings):
    header: str = "x-tenant"

class Tenant(Policy[TenantSettings]):
    async def __call__(self, call: Call, forward: Handler) -> Reply:
        if call.metadata.get(self.settings.header.encode()) is None:
            raise Forbidden("whose call is this?")
        return await forward(call)
"""
TESTS = """
import asyncio

import pytest

from protogw.testing import Code, Forwarded
from tenants_of_mine import Tenant, TenantSettings

CONFIG = {"policies": {"tenant": {"python": "tenants_of_mine:Tenant"}}, "use": ["tenant"]}


def test_calls_without_a_tenant_are_refused(gateway):
    running = gateway(CONFIG)
    assert running.call("testing.v1.Echo/Unary", {"text": "x"}).code is Code.PERMISSION_DENIED
    assert running.service().calls == []


def test_others_reach_the_service(gateway):
    running = gateway(CONFIG)
    assert running.call("testing.v1.Echo/Unary", {"text": "x"}, headers={"x-tenant": "a"}).message == {"text": "x"}
    assert running.service().calls[0].header("x-tenant") == "a"


def test_two_gateways_live_side_by_side(gateway):
    one, other = gateway(CONFIG), gateway({})
    assert one.call("testing.v1.Echo/Unary").code is Code.PERMISSION_DENIED
    assert other.call("testing.v1.Echo/Unary").code is Code.OK


def test_the_policy_by_itself(call_factory):
    forwarded = Forwarded({"text": "behind"})
    asyncio.run(Tenant(TenantSettings())(call_factory(headers={"x-tenant": "a"}), forwarded))
    assert len(forwarded.calls) == 1


def test_a_failure_is_seen(gateway):
    assert gateway(CONFIG).call("testing.v1.Echo/Unary").code is Code.OK
"""


def test_users_tests_run_and_fail_as_they_should(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.processes import SOURCES

    monkeypatch.setenv("PYTHONPATH", SOURCES)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(tenants_of_mine=POLICY, test_tenants=TESTS)
    ended = pytester.runpytest_subprocess("-W", "error", "-p", "no:xdist", "-p", "no:asyncio", "-p", "no:cacheprovider")
    ended.assert_outcomes(passed=4, failed=1)
    ended.stdout.fnmatch_lines(["*Code.PERMISSION_DENIED*Code.OK*"])


ECHO = "testing.v1.Echo"


@pytest.mark.parametrize(
    ("method", "sent", "came"),
    [
        ("Unary", {"text": "a"}, [{"text": "a"}]),
        ("Down", {"text": "a"}, [{"text": "a"}]),
        ("Up", [{"text": "a"}, {"text": "b"}], [{"text": "b"}]),
        ("Chat", [{"text": "a"}, {"text": "b"}], [{"text": "a"}, {"text": "b"}]),
    ],
)
async def test_calls_of_every_shape_come_back(method: str, sent: Any, came: list[Any]) -> None:
    async with Playing({}) as running:
        answer = await running.call(f"{ECHO}/{method}", sent)
        assert (answer.code, list(answer.messages)) == (Code.OK, came)
        (seen,) = running.service().calls
        assert list(seen.messages) == (sent if isinstance(sent, list) else [sent])


async def test_a_service_answers_what_it_is_told_to() -> None:
    async with Playing({}) as running:
        service = running.service("service")
        service.headers = {"X-Lead": "1"}
        service.answers(f"{ECHO}/Unary", {"text": "told"})
        answer = await running.call(f"{ECHO}/Unary")
        assert (answer.message, answer.header("x-lead")) == ({"text": "told"}, "1")
        service.answers(f"{ECHO}/Unary", Status(Code.NOT_FOUND, "no such thing"))
        refused = await running.call(f"{ECHO}/Unary")
        assert (refused.code, refused.text, refused.messages) == (Code.NOT_FOUND, "no such thing", ())
        service.answers(f"{ECHO}/Unary", Unreachable("nobody there"))
        assert (await running.call(f"{ECHO}/Unary")).code is Code.UNAVAILABLE
        service.answers(f"{ECHO}/Down", [{"text": "1"}, {"text": "2"}])
        assert [one["text"] for one in (await running.call(f"{ECHO}/Down")).messages] == ["1", "2"]

        async def made(seen: Seen) -> dict[str, Any]:
            return {"text": f"for {seen.header('x-user')}"}

        service.answers(f"{ECHO}/Unary", made)
        assert (await running.call(f"{ECHO}/Unary", headers={"X-User": "ann"})).message == {"text": "for ann"}


async def test_a_schema_of_the_users_own_and_a_whole_config() -> None:
    messages = "message M { int32 n = 1; } message R { string s = 1; }"
    proto = f'syntax = "proto3"; package a.v1; {messages} service A {{ rpc Do(M) returns (R); }}'
    config = """
      policies: { fair: { rate_limit: { rate: 1/h } } }
      use: fair
    """
    async with Playing(config, schema=proto) as running:
        assert (await running.call("a.v1.A/Do", {"n": 3})).message == {}
        limited = await running.call("a.v1.A/Do")
        assert limited.code is Code.RESOURCE_EXHAUSTED
        assert limited.header("retry-after") is not None
        with pytest.raises(ValueError, match=r"there is no method a.v1.A/Dont; there are a.v1.A/Do"):
            await running.call("a.v1.A/Dont")


async def test_a_bad_config_is_told_as_the_program_tells_it() -> None:
    with pytest.raises(ConfigError, match="no policy has the name"):
        async with Playing({"use": ["nobody"]}):
            pass


async def test_a_policy_by_itself_sees_a_call_as_a_front_end_makes_it() -> None:
    class Named(Policy[Settings]):
        async def __call__(self, call: Call, forward: Handler) -> Reply:
            call.metadata = call.metadata.adding((b"x-who", call.identity.subject.encode()))
            return await forward(call)

    forwarded = Forwarded({"text": "behind"})
    call = call_of(
        "Unary", {"text": "a"}, headers={"X-A": "b"}, identity=Identity(subject="ann", scheme="test"), peer="::1"
    )
    reply = await Named(Settings())(call, forwarded)
    assert reply.payload is not None
    (seen,) = forwarded.calls
    assert seen.metadata.pairs == ((b"x-a", b"b"), (b"x-who", b"ann"))
    assert seen.peer.host == "::1"
    with pytest.raises(Unreachable):
        await Named(Settings())(call, Forwarded(Unreachable("gone")))


def test_settings_are_found_in_the_class_line() -> None:
    class Mine(Settings):
        x: int = 1

    class One(Policy[Mine]):
        pass

    class Two(One):
        pass

    assert One.Settings is Mine
    assert Two.Settings is Mine


def test_what_users_may_count_on_is_pinned() -> None:
    import protogw.policy
    import protogw.testing

    assert sorted(protogw.testing.__all__) == [
        "Answer",
        "Code",
        "Forwarded",
        "GatewayError",
        "PlayedService",
        "Playing",
        "RunningGateway",
        "Seen",
        "Status",
        "call_factory",
        "call_of",
        "gateway",
    ]
    assert " ".join(sorted(protogw.policy.__all__)) == (
        "Bytes Call Code DeadlineExceeded Detail Encoding Expression ExpressionError ExpressionText Forbidden "
        "GatewayError Handler Identity InternalError InvalidRequest LimitReached Metadata NO_METADATA NotOffered OK "
        "Overloaded Payload PayloadStream Policy Positive Reply Seconds Settings Status Target Tools Unauthenticated "
        "UpstreamError read write"
    )
    assert all(hasattr(protogw.policy, name) for name in protogw.policy.__all__)
