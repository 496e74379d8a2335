"""Policies of the user's own: found, given their settings, and harmless to all calls but the one they fail."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from protogw.assembly import KINDS, AssemblyError
from protogw.call import Call, Encoding, Payload, Reply
from protogw.config import ConfigError, load
from protogw.errors import Code
from protogw.policies.blame import culprit
from protogw.policies.python import Python, PythonSettings
from protogw.policies.rate_limit import RateLimit
from protogw.testing import Playing, call_of
from tests.support.tenants import Working

SHOP = """
from protogw.policy import Policy, Positive, Settings

class ShopSettings(Settings):
    most: int
    wait: Positive = 1.0

class Shop(Policy[ShopSettings]):
    pass

text = "no class"
"""


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Path]:
    """A folder with a config and modules beside it."""
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def read(folder: Path, **policies: Any) -> Any:
    path = folder / "gateway.yaml"
    listeners = {"public": {"address": "127.0.0.1:0"}}
    config = {"listeners": listeners, "upstreams": {"u": {"http": "127.0.0.1:1"}}, "policies": policies}
    path.write_text(json.dumps(config, indent=1))
    return load(path, KINDS)


def faults(folder: Path, python: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(folder, mine={"python": python})
    return [f"{fault.path}: {fault.message}" for fault in raised.value.faults]


def test_a_class_beside_the_config_is_found_and_its_settings_are_typed(beside: Path) -> None:
    (beside / "shop_one.py").write_text(SHOP)
    config = read(beside, mine={"python": {"class": "shop_one:Shop", "settings": {"most": 3, "wait": "2s"}}})
    settings = config.policies["mine"].settings.settings
    assert (settings.most, settings.wait) == (3, 2.0)


def test_faults_of_its_settings_are_told_with_their_places(beside: Path) -> None:
    (beside / "shop_two.py").write_text(SHOP)
    assert faults(beside, {"class": "shop_two:Shop", "settings": {"most": "x", "wait": 5, "more": 1}}) == [
        'policies.mine.python.settings.most: expected a whole number, got "x"',
        "policies.mine.python.settings.wait: 5 has no unit: write 5s or 5ms",
        "policies.mine.python.settings.more: unknown key",
    ]
    assert faults(beside, "shop_two:Shop") == ["policies.mine.python.settings.most: is missing"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("shop", '"shop" is not a class: write package.module:Class'),
        ("../shop:Shop", '"../shop:Shop" is not a class: write package.module:Class'),
        ("os.system", '"os.system" is not a class: write package.module:Class'),
        ("shop_three:Nothing", '"shop_three:Nothing" is not there: shop_three has no class Nothing'),
        ("shop_three:text", '"shop_three:text" is not there: shop_three has no class text'),
        ("shop_three:Positive", '"shop_three:Positive" is not there: shop_three has no class Positive'),
        ("shop_three:Settings", '"shop_three:Settings" is no policy: subclass protogw.policy.Policy'),
        (
            "no_such_module:X",
            "cannot be imported: no_such_module: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("broken:X", '"broken:X" cannot be imported: broken: ZeroDivisionError: division by zero'),
        ("unclosed:X", "unclosed: SyntaxError: '(' was never closed (unclosed.py, line 1)"),
        (7, "expected a mapping, got 7"),
    ],
)
def test_a_class_that_cannot_be_had_is_a_fault_of_the_config(beside: Path, written: Any, said: str) -> None:
    (beside / "shop_three.py").write_text(SHOP)
    (beside / "broken.py").write_text("1 / 0\n")
    (beside / "unclosed.py").write_text("(\n")
    (found,) = faults(beside, written)
    assert found.endswith(said)


def test_a_file_beside_the_config_stands_in_for_nobody_elses_module(beside: Path) -> None:
    (beside / "argparse.py").write_text("raise SystemExit('mine')\n")
    (found,) = faults(beside, "argparse:Mine")
    assert "argparse has no class Mine" in found


def playing(kind: str, **settings: Any) -> Playing:
    python = {"class": f"tests.support.tenants:{kind}", "settings": settings}
    return Playing({"policies": {"mine": {"python": python}}, "use": ["mine"]})


async def test_it_refuses_and_lets_through() -> None:
    async with playing("Tenant") as running:
        refused = await running.call("testing.v1.Echo/Unary")
        assert (refused.code, refused.text) == (Code.PERMISSION_DENIED, "whose call is this?")
        passed = await running.call("testing.v1.Echo/Unary", {"text": "x"}, headers={"x-tenant": "a"})
        assert (passed.code, passed.message) == (Code.OK, {"text": "x"})
        assert passed.header("x-tenant-seen") == "a"
        assert [call.header("x-seen-by") for call in running.service().calls] == ["mine"]


async def test_it_reads_and_writes_messages() -> None:
    async with playing("Shouting") as running:
        answer = await running.call("testing.v1.Echo/Unary", {"text": "hello", "number": "5"})
        assert answer.message == {"text": "HELLO", "number": "5", "tags": ["shouted"]}


@pytest.mark.parametrize("name", ["Raising", "Leaving", "Panicking", "Abandoned"])
async def test_one_that_raises_fails_that_call_closed_and_is_named_in_the_log(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with playing(name) as running:
        answer = await running.call("testing.v1.Echo/Unary")
        assert (answer.code, answer.text) == (Code.INTERNAL, "internal error")
        assert running.service().calls == []
    assert any("policies.mine: a fault" in record.message for record in caplog.records)


async def test_one_that_raises_in_a_stream_is_named_too() -> None:
    policy = Python(PythonSettings.model_validate("tests.support.tenants:Breaking"))

    async def messages() -> AsyncIterator[Payload]:
        for _ in range(3):
            yield Payload(b"{}", Encoding.JSON)

    async def forward(call: Call) -> Reply:
        return Reply(payloads=messages())

    reply = await policy(call_of("Down"), forward)
    assert reply.payloads is not None
    with pytest.raises(KeyError) as caught:
        async for _ in reply.payloads:
            pass
    assert culprit(caught.value, {"fair": RateLimit, "mine": policy}) == "mine"
    assert culprit(caught.value, {"fair": RateLimit}) == ""


async def test_one_that_answers_nonsense_fails_that_call_closed_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with playing("Nonsense") as running:
        assert (await running.call("testing.v1.Echo/Unary")).code is Code.INTERNAL
    assert any("policies.mine: answered" in record.message for record in caplog.records)


async def test_one_that_hangs_ends_at_the_calls_deadline() -> None:
    async with playing("Hanging") as running:
        assert (await running.call("testing.v1.Echo/Unary", timeout=0.01)).code is Code.DEADLINE_EXCEEDED
        assert running.service().calls == []


async def test_one_that_does_not_like_its_settings_is_a_fault_of_the_config() -> None:
    with pytest.raises(AssemblyError, match=r"policies.mine: the moon is not full"):
        async with playing("Fussy"):
            pass


async def test_its_work_in_the_background_is_begun(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    policy = Python(PythonSettings.model_validate("tests.support.tenants:Working"))
    await policy.run()
    assert isinstance(policy._policy, Working)
    assert policy._policy.worked.is_set()
    async with playing("Working") as running:
        assert (await running.call("testing.v1.Echo/Unary")).code is Code.OK
    assert caplog.records == []


async def test_it_may_be_called_by_itself() -> None:
    async def forward(call: Any) -> Reply:
        return Reply(payload=call.payload)

    policy = Python(PythonSettings.model_validate("tests.support.tenants:Shouting"))
    reply = await policy(call_of("Unary", {"text": "a"}), forward)
    assert reply.payload is not None
    assert b"A" in reply.payload.proto()
