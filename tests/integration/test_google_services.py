"""Google's own annotated services, as its client packages ship them: each loads, and every binding can be served."""

from __future__ import annotations

from pathlib import Path

import pytest

from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import load
from protogw.frontends.base import Bounds
from protogw.frontends.rest import Rest, RestSettings
from tests.support.processes import NODE, missing

FETCHED = NODE / "node_modules" / ".documents"

SERVICES = {
    "google-kms": ("google/cloud/kms", "google.cloud.kms.v1.KeyManagementService", 25),
    "google-pubsub": ("google/pubsub", "google.pubsub.v1.Publisher", 9),
    "google-secret-manager": ("google/cloud/secretmanager", "google.cloud.secretmanager.v1.SecretManagerService", 14),
    "google-tasks": ("google/cloud/tasks", "google.cloud.tasks.v2.CloudTasks", 15),
}
"""By package: where its protos are, a service, and how many methods that has at least."""


def protos(package: str) -> Path:
    folder = FETCHED / package / "build" / "protos"
    if not folder.is_dir():
        missing("the documents are not there (sh tests/integration/node/documents.sh)")
    return folder


@pytest.mark.parametrize("package", SERVICES)
def test_a_google_service_loads_and_every_binding_is_served(package: str) -> None:
    where, name, least = SERVICES[package]
    own = protos(package)
    schema = load([own / where], includes=[protos("google-gax"), own])
    methods = schema.services[name].methods
    assert len(methods) >= least
    assert all(method.http for method in methods.values() if method.unary)
    front = Rest(RestSettings(), Bounds())
    front.offer(Catalog.merge([schema]))
    # Versions of one API in one folder may share a path; nothing else may be wrong with a rule.
    assert [fault for fault in front.faults if "never matches" not in fault] == []
