"""What tests of a policy need: a gateway without a network, calls to send through it, and a service that answers.

In the `conftest.py` at the root of your tests:

    pytest_plugins = ["protogw.testing"]

and in a test:

    def test_calls_without_a_tenant_are_refused(gateway):
        running = gateway({"policies": {"tenant": {"python": "tenants:Tenant"}}, "use": ["tenant"]})
        assert running.call("testing.v1.Echo/Unary", {"text": "x"}).code is Code.PERMISSION_DENIED
        assert running.service().calls == []

Everything is as it is in the running program (config, chain, deadline, pool), but for listeners and connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from protogw.errors import Code, GatewayError, Status
from protogw.testing.calls import Answer, Forwarded, call_of
from protogw.testing.running import Playing, RunningGateway
from protogw.testing.service import PlayedService, Seen

__all__ = [
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


@pytest.fixture
def gateway() -> Iterator[Callable[..., RunningGateway]]:
    """Makes gateways: `gateway(config, schema=…, environment=…)`, see RunningGateway; they end with the test."""
    made: list[RunningGateway] = []

    def make(*arguments: object, **settings: object) -> RunningGateway:
        running = RunningGateway(*arguments, **settings)  # type: ignore[arg-type]
        made.append(running)
        return running

    yield make
    for running in made:
        running.close()


@pytest.fixture
def call_factory() -> Callable[..., object]:
    """Makes calls for a policy that is called by itself, see `call_of`."""
    return call_of
