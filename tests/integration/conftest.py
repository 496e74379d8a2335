"""A gateway on a thread before the kit service and the sample library, shared by the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from protogw.demo import service as library
from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.gateway import Running, config_of, gateway


@pytest.fixture(scope="session")
def shared_backend() -> Iterator[Backend]:
    with backend() as made:
        yield made


@pytest.fixture
def service(shared_backend: Backend) -> Backend:
    """The kit service behind the gateway; its counts are zero and nothing is open."""
    shared_backend.counts.wait(lambda counts: counts.open == 0)
    shared_backend.counts.__init__()
    return shared_backend


@pytest.fixture(scope="session")
def running(shared_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The gateway, which learnt both services by reflection."""
    server, port = library.start()
    upstreams = {
        "kit": {"grpc": [f"127.0.0.1:{shared_backend.port}"]},
        "library": {"grpc": [f"127.0.0.1:{port}"]},
    }
    with gateway(config_of(upstreams), tmp_path_factory.mktemp("gateway")) as made:
        made.wait_for(kit.SERVICE)
        made.wait_for(library.SERVICE)
        yield made
    server.stop(None).wait()


@pytest.fixture(scope="session")
def port(running: Running) -> int:
    return running.port
