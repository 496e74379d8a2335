"""What is offered follows from the schemas and the config: owners, bindings, routes, and what does not fit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from textwrap import dedent

import pytest

from protogw.assembly import KINDS, AssemblyError, build, load_schema
from protogw.call import NO_METADATA, Call, Reply
from protogw.config import ConfigError, load
from protogw.descriptors.model import Method
from protogw.descriptors.numbers import Numbers
from protogw.errors import Unreachable
from protogw.gateway import Gateway
from protogw.wire.http import Peer, RequestHead

PROTO = """
syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
message Item { string id = 1; }
service Catalog {
  rpc Get(Item) returns (Item) { option (google.api.http) = { get: "/v1/items/{id}" }; }
  rpc List(Item) returns (stream Item);
}
"""


def gateway(folder: Path, config: str, proto: str = PROTO) -> Gateway:
    (folder / "shop.proto").write_text(proto)
    path = folder / "gateway.yaml"
    path.write_text(dedent(config))
    return build(load(path, KINDS))


def method(made: Gateway, name: str) -> Method:
    return made.catalog.methods[f"/shop.v1.Catalog/{name}".encode()]


def call(made: Gateway, name: str, *headers: tuple[bytes, bytes]) -> Call:
    head = RequestHead(b"POST", b"/shop.v1.Catalog/Get", b"", b"gw.test", headers, 20)
    return Call(method(made, name), NO_METADATA, front_end="grpc", peer=Peer("::1", 1), started=0.0, head=head)


BASE = """
    listeners: { public: { address: "127.0.0.1:0" } }
    admin: off
    upstreams:
      shop: { grpc: ["127.0.0.1:1"], schema: shop.proto }
      beta: { grpc: ["127.0.0.1:2"], schema: shop.proto }
"""


async def test_a_service_goes_to_the_first_upstream_that_describes_it(tmp_path: Path) -> None:
    made = gateway(tmp_path, BASE)
    assert made.router.match(call(made, "Get")).target is made.pools["shop"]
    assert made.offering is not None
    assert any("shop.v1.Catalog is described by shop too" in fault for fault in made.offering.compose()[2])
    made.stop()


async def test_the_gateways_own_services_are_offered_beside_the_upstreams(tmp_path: Path) -> None:
    made = gateway(tmp_path, BASE)
    assert {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= set(made.catalog.services)
    made.stop()


async def test_a_route_sends_the_calls_it_matches_elsewhere(tmp_path: Path) -> None:
    made = gateway(
        tmp_path,
        BASE
        + """
    routes:
      - match: { call: shop.v1.Catalog/Get, headers: { x-beta: "1" } }
        to: beta
        timeout: 2s
    """,
    )
    beta = made.router.match(call(made, "Get", (b"x-beta", b"1")))
    assert beta.target is made.pools["beta"]
    assert beta.unary_timeout == 2.0
    assert made.router.match(call(made, "Get")).target is made.pools["shop"]
    assert made.router.match(call(made, "List", (b"x-beta", b"1"))).target is made.pools["shop"]
    made.stop()


async def test_a_binding_is_added_to_the_annotation_or_put_in_its_place(tmp_path: Path) -> None:
    rest = """
    routes:
      - match: { call: shop.v1.Catalog/Get }
        rest: { get: "/v2/items/{id}"%s }
    """
    added = gateway(tmp_path, BASE + rest % "")
    assert [rule.template for rule in method(added, "Get").http] == ["/v1/items/{id}", "/v2/items/{id}"]
    replaced = gateway(tmp_path, BASE + rest % ", replace: true")
    assert [rule.template for rule in method(replaced, "Get").http] == ["/v2/items/{id}"]
    added.stop()
    replaced.stop()


async def test_a_route_for_a_method_that_does_not_exist_is_told(tmp_path: Path) -> None:
    made = gateway(
        tmp_path,
        BASE
        + """
    routes:
      - { match: { call: shop.v1.Catalog/Gte }, timeout: 2s }
      - { match: { call: shop.v2.Catalog/* }, timeout: 2s }
    """,
    )
    assert made.offering is not None
    faults = made.offering.compose()[2]
    assert 'routes[0].match.call: shop.v1.Catalog has no method Gte; did you mean "Get"?' in faults
    near = '; did you mean "shop.v1.Catalog"?'
    assert f"routes[1].match.call: no upstream describes a service shop.v2.Catalog{near}" in faults
    made.stop()


async def test_a_listeners_policy_in_one_routes_use_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match=r"routes\[0\].use: web is cors, which concerns whole listeners"):
        gateway(
            tmp_path,
            BASE
            + """
    policies: { web: { cors: { origins: ["*"] } } }
    routes:
      - { match: { call: shop.v1.Catalog/Get }, use: [web] }
    """,
        )


async def test_a_service_that_is_down_at_first_is_asked_until_it_answers(tmp_path: Path) -> None:
    made = gateway(
        tmp_path,
        """
    listeners: { public: { address: "127.0.0.1:0" } }
    admin: off
    upstreams: { shop: { grpc: ["127.0.0.1:1"] } }
    """,
    )
    offering = made.offering
    assert offering is not None
    assert offering.awaited == {"shop"}
    path = tmp_path / "files.yaml"
    path.write_text(dedent(BASE))
    schema = load_schema("shop", load(path, KINDS).upstreams["shop"], Numbers())
    assert schema is not None
    asked = 0
    answered = asyncio.Event()

    async def fetch(send: object, *, known: object) -> object:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise Unreachable("127.0.0.1:1: refused")
        answered.set()
        return schema

    async def send(call: Call) -> Reply:
        raise AssertionError

    reconnected = asyncio.Event()
    installed = asyncio.Event()
    made.watchers.append(lambda catalog: installed.set())
    keeping = asyncio.ensure_future(offering.keep("shop", fetch, send, reconnected))  # type: ignore[arg-type]
    while not answered.is_set():
        reconnected.set()
        await asyncio.sleep(0)
    await installed.wait()
    assert not offering.awaited
    assert "shop.v1.Catalog" in made.catalog.services
    assert asked == 3
    keeping.cancel()
    made.stop()


async def test_a_binding_in_the_config_changes_what_is_offered_and_not_how_a_rest_service_is_asked(
    tmp_path: Path,
) -> None:
    made = gateway(
        tmp_path,
        """
    listeners: { public: { address: "127.0.0.1:0" } }
    admin: off
    upstreams:
      shop: { rest: ["127.0.0.1:1"], schema: shop.proto }
    routes:
      - match: { call: shop.v1.Catalog/Get }
        rest: { get: "/v2/items/{id}", replace: true }
    """,
    )
    offered = method(made, "Get")
    assert [rule.template for rule in offered.http] == ["/v2/items/{id}"]
    assert [rule.template for rule in offered.annotated] == ["/v1/items/{id}"]
    made.stop()


async def test_settings_that_do_not_fit_an_upstreams_schema_are_told(tmp_path: Path) -> None:
    made = gateway(
        tmp_path,
        """
        listeners: { public: { address: "127.0.0.1:0" } }
        admin: off
        upstreams:
          shop:
            websocket: ["127.0.0.1:1"]
            schema: shop.proto
            websocket_options: { methods: { shop.v1.Catalog/Nosuch: { half_close: close } } }
        """,
    )
    assert made.offering is not None
    _, _, faults = made.offering.compose()
    assert "upstreams.shop: websocket_options.methods: there is no method shop.v1.Catalog/Nosuch" in faults


SPLIT = """
    routes:
      - { match: { call: "shop.v1.Catalog/*" }, to: { %s } }
    """


async def test_of_upstreams_that_share_calls_the_first_named_is_offered(tmp_path: Path) -> None:
    made = gateway(tmp_path, BASE + SPLIT % "beta: 95, shop: 5")
    assert made.offering is not None
    # What stands beside another is not the one whose schema is offered.
    assert made.offering.owners["shop.v1.Catalog"] == "beta"
    assert made.offering.compose()[2] == []
    found = made.router.match(call(made, "Get")).target
    assert repr(found) == "<Split beta 95 + shop 5>"
    assert found.name == "beta"
    made.stop()


async def test_weights_outlive_a_schema_that_comes_again(tmp_path: Path) -> None:
    made = gateway(tmp_path, BASE + SPLIT % "shop: 95, beta: 5")
    assert made.offering is not None
    made.offering.deliveries[0].steer({"beta": 50})
    made.offering.install()
    assert repr(made.router.match(call(made, "Get")).target) == "<Split shop 95 + beta 50>"
    made.stop()


async def test_a_method_that_one_upstream_lacks_goes_to_the_others_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "beta.proto").write_text(PROTO.replace("rpc List(Item) returns (stream Item);", ""))
    config = BASE.replace('["127.0.0.1:2"], schema: shop.proto', '["127.0.0.1:2"], schema: beta.proto')
    made = gateway(tmp_path, config + SPLIT % "shop: 95, beta: 5")
    assert made.offering is not None
    assert made.offering.compose()[2] == [
        "routes[0].to.beta: has no shop.v1.Catalog/List of its shape: those calls go to shop alone"
    ]
    assert repr(made.router.match(call(made, "List")).target) == "<Split shop 95>"
    made.stop()


async def test_a_route_name_is_one_routes_alone(tmp_path: Path) -> None:
    routes = """
    routes:
      - { match: { call: "shop.v1.Catalog/Get" }, name: one, timeout: 2s }
      - { match: { call: "shop.v1.Catalog/List" }, name: one, timeout: 2s }
    """
    with pytest.raises(ConfigError, match=r"routes\[1\].name: \"one\" is the name of another route"):
        gateway(tmp_path, BASE + routes)


async def test_a_shadow_and_a_mirror_are_beside_the_owners_calls(tmp_path: Path) -> None:
    routes = """
    routes:
      - match: { call: "shop.v1.Catalog/*" }
        shadow: { to: shop }
        mirror: { to: shop }
    """
    made = gateway(tmp_path, BASE + routes)
    assert made.offering is not None
    assert made.offering.owners["shop.v1.Catalog"] == "beta"
    assert made.offering.compose()[2] == []
    unary, stream = (made.router.match(call(made, name)).target for name in ("Get", "List"))
    assert (type(unary).__name__, type(unary._target).__name__) == ("Mirror", "Shadow")  # type: ignore[attr-defined]
    names = (type(stream).__name__, type(stream._target).__name__)  # type: ignore[attr-defined]
    assert names == ("Mirror", "StreamShadow")
    made.stop()


async def test_a_shadow_without_the_method_is_told(tmp_path: Path) -> None:
    (tmp_path / "beta.proto").write_text(PROTO.replace("shop.v1", "shop.v2"))
    config = BASE.replace('["127.0.0.1:2"], schema: shop.proto', '["127.0.0.1:2"], schema: beta.proto')
    routes = """
    routes:
      - match: { call: "shop.v1.Catalog/*" }
        shadow: { to: beta }
        methods: { %s }
    """
    made = gateway(tmp_path, config + routes % "")
    assert made.offering is not None
    assert made.offering.compose()[2] == [
        f"routes[0].shadow.to: beta has no shop.v1.Catalog/{name} of its shape" for name in ("Get", "List")
    ]
    made.stop()
    mapped = gateway(tmp_path, config + routes % "shop.v1.Catalog/*: shop.v2.Catalog/*")
    assert mapped.offering is not None
    assert mapped.offering.compose()[2] == []
    mapped.stop()


async def test_an_operator_who_sets_weights_stops_the_canary(tmp_path: Path) -> None:
    routes = """
    routes:
      - { match: { call: "shop.v1.Catalog/*" }, to: { shop: 95, beta: 5 }, canary: true }
      - { match: { call: "shop.v1.Catalog/Get" }, mirror: { to: beta } }
    """
    made = gateway(tmp_path, BASE + routes)
    assert made.offering is not None
    split, mirrored = made.offering.deliveries
    split.steer({"beta": 50})
    assert split.shown()["canary"]["state"] == "stopped by hand"
    assert split.shown()["upstreams"]["beta"]["weight"] == 50
    assert mirrored.shown()["mirror"]["to"] == "beta"
    with pytest.raises(ValueError, match="one upstream"):
        mirrored.steer({"beta": 1})
    made.stop()


async def test_what_a_route_counts_is_among_the_metrics(tmp_path: Path) -> None:
    routes = """
    routes:
      - match: { call: "shop.v1.Catalog/*" }
        name: catalog
        to: { shop: 95, beta: 5 }
        shadow: { to: beta }
        mirror: { to: beta }
    """
    made = gateway(tmp_path, BASE + routes)
    assert made.offering is not None
    (delivery,) = made.offering.deliveries
    delivery.weights.sides["shop"].calls = 7
    assert delivery.differences is not None
    delivery.differences.different = 3
    families = {family.name: family for family in made.counts}
    assert families["route_weight"].gauges["catalog", "beta"]() == 5
    assert families["route_calls"].totals["catalog", "shop"]() == 7
    assert families["route_fallbacks"].totals["catalog", "shop"]() == 0
    assert families["copies"].totals["catalog", "mirror", "dropped"]() == 0
    assert families["shadow_answers"].totals["catalog", "different"]() == 3
    made.stop()


async def test_a_service_is_well_while_one_of_those_that_share_its_calls_is(tmp_path: Path) -> None:
    shared = gateway(tmp_path, BASE + SPLIT % "shop: 95, beta: 5")
    alone = gateway(tmp_path, BASE)
    for made, well in ((shared, True), (alone, False)):
        assert made.offering is not None
        assert made.offering.healthy("shop.v1.Catalog")
        made.pools["shop"]._up = 0
        assert made.offering.healthy("shop.v1.Catalog") is well
        made.stop()


@pytest.mark.parametrize(
    ("override", "refused"), [("query: v", True), ("media_type: version", True), ("header: x-version", False)]
)
@pytest.mark.parametrize("use", ["use: kept", "use: [kept]"])
async def test_a_version_that_is_in_no_key_is_not_chosen_behind_a_cache(
    tmp_path: Path, override: str, refused: bool, use: str
) -> None:
    config = f"""
    policies: {{ kept: {{ cache: {{ ttl: 1m }} }} }}
    {use}
    routes:
      - {{ match: {{ call: "shop.v1.Catalog/*" }}, to: {{ shop: 1, beta: 1 }}, override: {{ {override} }} }}
    """
    if refused:
        with pytest.raises(ConfigError, match=r"is in no key of policies\.kept, which would give one version"):
            gateway(tmp_path, BASE + config)
    else:
        gateway(tmp_path, BASE + config).stop()


@pytest.mark.parametrize(
    ("vary", "refused"), [("[x-tenant]", True), ("x-tenant", True), ("[x-tenant, X-Version]", False)]
)
async def test_a_header_that_a_cache_leaves_out_names_no_version(tmp_path: Path, vary: str, refused: bool) -> None:
    config = f"""
    policies: {{ kept: {{ cache: {{ ttl: 1m, vary: {vary} }} }} }}
    use: kept
    routes:
      - {{ match: {{ call: "shop.v1.Catalog/*" }}, to: {{ shop: 1, beta: 1 }}, override: {{ header: x-Version }} }}
    """
    if refused:
        with pytest.raises(ConfigError, match=r"override\.header: is not in vary of policies\.kept"):
            gateway(tmp_path, BASE + config)
    else:
        gateway(tmp_path, BASE + config).stop()


async def test_a_field_that_an_expression_names_and_nothing_has_is_told(tmp_path: Path) -> None:
    config = """
    policies: { few: { rate_limit: { rate: 5/s, by: message.nope } }, fine: { rate_limit: { rate: 5/s, by: path } } }
    use: [few, fine]
    """
    made = gateway(tmp_path, BASE + config)
    assert made.offering is not None
    (fault,) = [fault for fault in made.offering.compose()[2] if "nope" in fault]
    assert fault.startswith("policies.few.rate_limit.by: message.nope: ")


async def test_what_a_route_does_with_its_calls_is_told_in_a_few_lines(tmp_path: Path) -> None:
    routes = """
    routes:
      - match: { call: "shop.v1.Catalog/*" }
        to: { shop: 95, beta: 5 }
        sticky_by: identity.subject
        canary: { steps: [5, 50], every: 10s }
        mirror: { to: beta, share: 12.5% }
        shadow: { to: beta }
      - { match: { call: "shop.v1.Catalog/Get" }, mirror: { to: beta } }
    """
    made = gateway(tmp_path, BASE + routes)
    assert made.offering is not None
    shared, mirrored = made.offering.deliveries
    assert shared.told() == [
        "shares: shop 95, beta 5, by identity.subject",
        "canary: beta gets 5, 50 %, each for 10s at the least",
        "mirror: 12.5 % are copied at beta",
        "shadow: 100 % are asked and compared at beta",
    ]
    assert mirrored.told() == ["mirror: 100 % are copied at beta"]
    made.stop()


async def test_what_is_not_offered_is_reached_by_routes_alone(tmp_path: Path) -> None:
    (tmp_path / "beta.proto").write_text(PROTO.replace("shop.v1", "shop.v2"))
    config = BASE.replace('["127.0.0.1:2"], schema: shop.proto', '["127.0.0.1:2"], schema: beta.proto, offer: false')
    routes = """
    routes:
      - match: { call: "shop.v1.Catalog/*" }
        to: { shop: 95, beta: 5 }
        methods: { shop.v1.Catalog/*: shop.v2.Catalog/* }
    """
    made = gateway(tmp_path, config + routes)
    assert made.offering is not None
    assert made.offering.compose()[2] == []
    assert "shop.v2.Catalog" not in made.catalog.services
    assert repr(made.router.match(call(made, "Get")).target) == "<Split shop 95 + beta 5>"
    made.stop()


async def test_routes_of_plain_http_have_the_path_that_is_written_and_those_of_methods_none(tmp_path: Path) -> None:
    routes = """
      old: { http: ["127.0.0.1:3"] }
    routes:
      - { match: { path: "/old/{id}" }, to: old }
      - { match: { host: old.test }, to: old }
      - { match: { call: "shop.v1.Catalog/Get", headers: { x-beta: "1" } }, to: beta }
    """
    made = gateway(tmp_path, BASE + routes.lstrip("\n"))
    assert [one.route.path for one in made.router.http] == ["/old/{id}", "/**"]
    assert made.router.match(call(made, "Get", (b"x-beta", b"1"))).path == ""
    made.stop()
