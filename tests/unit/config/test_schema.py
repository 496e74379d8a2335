"""The JSON Schema and the reference page follow the models and the tables."""

from __future__ import annotations

from protogw.assembly import KINDS as BUILT_IN
from protogw.config.kinds import settings_of
from protogw.config.load import keys_of
from protogw.config.schema import json_schema, json_schema_text, reference
from protogw.resources import schemas
from tests.support.config_kinds import KINDS


def test_the_committed_schema_is_what_the_models_say() -> None:
    assert (schemas() / "config.schema.json").read_text() == json_schema_text(BUILT_IN)


def test_kinds_are_keys() -> None:
    definitions = json_schema(KINDS)["$defs"]
    assert definitions["Listener"]["properties"]["rest"]["$ref"] == "#/$defs/RestSettings"
    assert definitions["Policy"]["properties"].keys() == {"cors"}
    assert {"grpc", "rest", "http"} <= definitions["Upstream"]["properties"].keys()
    assert definitions["Upstream"]["properties"]["balance"]["enum"] == list(KINDS.balancers)
    assert definitions["Listener"]["additionalProperties"] is False


def test_defaults_are_written_as_a_user_writes_them() -> None:
    limits = json_schema(KINDS)["$defs"]["ListenerLimits"]["properties"]
    assert (limits["idle"]["default"], limits["body"]["default"]) == ("5m", "64MiB")


def test_nothing_may_be_null() -> None:
    assert '"null"' not in json_schema_text(BUILT_IN)


def test_the_reference_names_every_key_and_kind() -> None:
    page = reference(BUILT_IN)
    for table in (BUILT_IN.front_ends, BUILT_IN.translators, BUILT_IN.policies, BUILT_IN.balancers):
        for kind, part in table.items():
            assert f"| `{kind}` |" in page
            for name in keys_of(settings_of(part)):
                assert f"| `{name}` |" in page


def test_every_key_of_ours_is_described() -> None:
    for name, definition in json_schema(KINDS)["$defs"].items():
        if name.endswith("Settings"):
            continue
        for key, value in definition.get("properties", {}).items():
            assert value.get("description"), f"{name}.{key}"
