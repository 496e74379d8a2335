"""The policy's own tests: no network, no service; `pytest` in this folder runs them."""

from pathlib import Path

import pytest

from protogw.testing import Code

CONFIG = Path(__file__).with_name("gateway.yaml")
LIST = "items.v1.Items/List"


@pytest.fixture
def running(gateway):
    made = gateway(CONFIG)
    made.service().answers(LIST, {"items": ["apple"]})
    return made


def test_a_tenant_is_kept_to_its_own_items(running):
    answer = running.call(LIST, headers={"x-tenant": "red"})
    assert answer.message == {"items": ["apple"]}
    assert answer.header("x-served-for") == "red"
    assert running.service().calls[0].messages == ({"parent": "tenants/red"},)


def test_nobody_reads_anothers_items(running):
    for parent in ("tenants/blue", "tenants/redder", "tenants", "items"):
        answer = running.call(LIST, {"parent": parent}, headers={"x-tenant": "red"})
        assert answer.code is Code.PERMISSION_DENIED
    assert running.service().calls == []


def test_who_does_not_say_is_not_let_in(running):
    assert running.call(LIST).code is Code.UNAUTHENTICATED
    assert running.call(LIST, headers={"x-tenant": "green"}).code is Code.PERMISSION_DENIED
