"""Ways to say who calls, put together: whose word counts, and that a false one is never overlooked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from protogw.assembly import KINDS
from protogw.call import Call, Metadata, Reply
from protogw.config import ConfigError, load
from protogw.errors import Code, GatewayError, Overloaded, Unauthenticated
from protogw.identity import Identity
from protogw.policies.anonymous import Anonymous, AnonymousSettings
from protogw.policies.any_of import AnyOf, AnyOfSettings
from protogw.policies.api_key import ApiKey, ApiKeySettings
from protogw.policies.jwt import Jwt
from protogw.policies.jwt_settings import JwtSettings
from protogw.policies.mtls import Mtls, MtlsSettings
from protogw.policies.rate_limit import RateLimit, RateLimitSettings
from protogw.wire.http import HTTP_1_1, Header, Peer, RequestHead
from tests.support.gateway import config_of, written
from tests.support.tokens import SECRET, secret_of, token, tools

KEY = "a-key-of-some-length"
GOOD_KEY: Header = (b"x-api-key", KEY.encode())
BAD_KEY: Header = (b"x-api-key", b"another key")
GOOD_TOKEN: Header = (b"authorization", b"Bearer " + token(secret_of(SECRET)))
BAD_TOKEN: Header = (b"authorization", b"Bearer nonsense")


def policies() -> dict[str, Any]:
    made: dict[str, Any] = {
        "login": Jwt(JwtSettings.model_validate({"secret": SECRET, "headers": {"x-user": "sub"}})),
        "keys": ApiKey(ApiKeySettings.model_validate({"keys": [{"consumer": "shop", "key": KEY}]})),
        "guest": Anonymous(AnonymousSettings(groups=("guests",), headers={"x-user": "subject"})),
        "certs": Mtls(MtlsSettings(allow=("dns:*.svc", "uri:spiffe://prod/ns/*/sa/web"), consumers={"dns:a.svc": "a"})),
        "fair": RateLimit(RateLimitSettings.model_validate({"rate": "1/s"})),
    }
    for name in ("login", "keys", "guest", "certs"):
        made[name].equip(tools(policies=made, name=name))
    return made


def any_of(*names: str, **more: Any) -> AnyOf:
    made = AnyOf(AnyOfSettings.model_validate(list(names)))
    known = policies() | more | {"any": made}
    made.equip(tools(policies=known, name="any"))
    return made


def call(*headers: Header, certificate: str = "") -> Call:
    peer = Peer("192.0.2.1", 1, bool(certificate), certificate)
    return Call(None, Metadata(headers), front_end="rest", peer=peer, started=0.0)


async def forward(call: Call) -> Reply:
    return Reply()


async def who(policy: Any, made: Call) -> str:
    await policy(made, forward)
    found: Identity = made.identity
    return f"{found.scheme} {found.subject}"


async def test_calls_with_equal_heads_share_what_goes_on() -> None:
    policy, equal = any_of("login", "keys"), Metadata((GOOD_KEY, (b"accept", b"*/*")))
    calls = [call() for _ in range(4)]
    for made in calls:
        made.metadata = equal
        assert await who(policy, made) == "api_key shop"
    assert calls[2].metadata is calls[3].metadata
    assert calls[3].metadata.pairs == ((b"accept", b"*/*"),)


async def test_the_first_that_vouches_admits_the_call() -> None:
    policy = any_of("login", "keys", "guest")
    made = call(GOOD_TOKEN, GOOD_KEY)
    assert await who(policy, made) == "jwt ann"
    assert made.metadata.get(b"x-user") == b"ann"
    assert await who(policy, call(GOOD_KEY)) == "api_key shop"
    assert await who(policy, call()) == "anonymous anonymous"


async def test_credentials_that_were_not_needed_go_no_further_either() -> None:
    policy = any_of("login", "keys", "guest")
    for other in (GOOD_KEY, BAD_KEY):
        made = call(GOOD_TOKEN, other, (b"x-other", b"1"))
        assert await who(policy, made) == "jwt ann"
        assert made.metadata.pairs == ((b"x-other", b"1"), (b"x-user", b"ann"))
    made = call(BAD_TOKEN, GOOD_KEY)
    assert await who(policy, made) == "api_key shop"
    assert not made.metadata.pairs


async def test_several_credentials_of_a_query_are_all_taken_out() -> None:
    shown = Jwt(JwtSettings.model_validate({"secret": SECRET, "in": "query.token"}))
    keys = ApiKey(ApiKeySettings.model_validate({"keys": [{"consumer": "shop", "key": KEY}], "in": "query.key"}))
    for name, one in (("shown", shown), ("asked", keys)):
        one.equip(tools(policies={}, name=name))
    good, bad = token(secret_of(SECRET)), b"nonsense"
    for first, expected in ((good, "jwt ann"), (bad, "api_key shop")):
        made = call()
        query = b"a=1&key=" + KEY.encode() + b"&token=" + first
        made.head = RequestHead(b"GET", b"/x", query, b"gw.test", (), HTTP_1_1)
        assert await who(any_of("shown", "asked", shown=shown, asked=keys), made) == expected
        assert made.attributes == {"query": b"a=1"}


async def test_a_wrong_credential_is_overlooked_for_a_right_one_only() -> None:
    policy = any_of("login", "keys", "guest")
    assert await who(policy, call(BAD_TOKEN, GOOD_KEY)) == "api_key shop"
    for headers in ((BAD_TOKEN,), (BAD_KEY,), (BAD_TOKEN, BAD_KEY)):
        with pytest.raises(Unauthenticated):
            await who(policy, call(*headers))


async def test_a_refusal_says_every_way_in() -> None:
    with pytest.raises(Unauthenticated) as caught:
        await who(any_of("login", "keys"), call())
    assert caught.value.headers == (
        (b"www-authenticate", b'Bearer realm="protogw"'),
        (b"www-authenticate", b"ApiKey"),
    )
    with pytest.raises(Unauthenticated, match="not known") as caught:
        await who(any_of("login", "keys"), call(BAD_KEY))


async def test_who_cannot_tell_makes_nobody_anonymous() -> None:
    class Down(Jwt):
        async def authenticate(self, call: Call) -> Identity | None:
            raise Overloaded("cannot tell")

    down = Down(JwtSettings(secret=SECRET))
    policy = any_of("down", "keys", "guest", down=down)
    assert await who(policy, call(GOOD_KEY)) == "api_key shop"
    with pytest.raises(GatewayError) as caught:
        await who(policy, call())
    assert caught.value.status.code is Code.UNAVAILABLE


async def test_lists_may_name_lists() -> None:
    inner = AnyOf(AnyOfSettings.model_validate(["keys", "certs"]))
    policy = any_of("login", "inner", "guest", inner=inner)
    assert await who(policy, call(certificate="dns:a.svc")) == "mtls dns:a.svc"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nobody"], "there is no policy nobody"),
        (["keys", "fair"], "fair is rate_limit, which does not find out who calls"),
        (["guest", "keys"], "vouches for anybody"),
        (["any"], "names itself, by any → any"),
        (["inner"], "names itself, by any → inner → any"),
    ],
)
def test_lists_that_mean_nothing_are_refused(names: list[str], said: str) -> None:
    inner = AnyOf(AnyOfSettings.model_validate(["any"]))
    with pytest.raises(ValueError, match=said):
        any_of(*names, inner=inner)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ValidationError):
        AnyOfSettings.model_validate([])


def test_names_of_no_policy_are_found_where_they_are_written(tmp_path: Path) -> None:
    config = config_of({"x": {"http": ["127.0.0.1:1"]}}, policies={"who": {"any_of": ["whoo", "who", "who"]}})
    with pytest.raises(ConfigError) as caught:
        load(written(config, tmp_path), KINDS)
    told = [(fault.path, fault.message) for fault in caught.value.faults]
    assert told == [
        ("policies.who.any_of[0]", 'no policy has the name "whoo"; did you mean "who"?'),
        ("policies.who.any_of[2]", '"who" is named twice'),
    ]


async def test_who_has_a_name_already_is_not_renamed() -> None:
    made = call()
    made.identity = Identity(subject="ann", scheme="jwt")
    assert await who(policies()["guest"], made) == "jwt ann"


@pytest.mark.parametrize("name", ["dns:a.svc", "dns:A.SVC", "uri:spiffe://prod/ns/any/sa/web"])
async def test_a_certificate_says_who_calls(name: str) -> None:
    made = call(certificate=name)
    assert await who(policies()["certs"], made) == f"mtls {name}"
    assert made.identity.consumer == ("a" if name == "dns:a.svc" else "")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "dns:a.svc.evil",
        "dns:svc",
        "uri:dns:a.svc",
        "uri:spiffe://prod/ns/a/b/sa/web",
        "uri:spiffe://prod/ns/a/sa/web2",
        "uri:SPIFFE://prod/ns/a/sa/web",
        "CN=dns:a.svc",
        "email:a.svc",
    ],
)
async def test_other_certificates_are_refused(name: str) -> None:
    with pytest.raises(Unauthenticated):
        await who(policies()["certs"], call((b"x-forwarded-client-cert", b"dns:a.svc"), certificate=name))


async def test_every_verified_certificate_is_taken_by_default() -> None:
    assert await who(Mtls(MtlsSettings()), call(certificate="CN=web,O=Acme")) == "mtls CN=web,O=Acme"
