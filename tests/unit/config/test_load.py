"""Reading a good config: what comes out, typed."""

from __future__ import annotations

import datetime
import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protogw.config import REFLECTION, Address, Config, ConfigError, SourceKind, inspect, load
from protogw.config.redact import redacted
from protogw.descriptors.model import HttpRule
from tests.support.config_kinds import KINDS, CorsSettings, RestSettings, ToRestSettings

SMALLEST = """
listeners:
  public: { address: 0.0.0.0:8080 }            # every protocol on one port
upstreams:
  library: { grpc: [127.0.0.1:50051] }         # schema: reflection is the default for grpc
"""


def read(folder: Path, text: str, environment: Mapping[str, str] | None = None, name: str = "gateway.yaml") -> Config:
    (folder / name).write_text(text)
    return load(folder / name, KINDS, environment or {})


def faults(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(folder, text, environment)
    return [f"{fault.line}:{fault.column}: {fault.path}: {fault.message}" for fault in raised.value.faults]


def test_the_smallest_useful_file(tmp_path: Path) -> None:
    config = read(tmp_path, SMALLEST)
    public, library = config.listeners["public"], config.upstreams["library"]
    assert public.address == Address("0.0.0.0", 8080)
    assert public.offered == ("rest", "grpc")
    assert public.settings["rest"] == RestSettings()
    assert public.limits.net.idle_s == 300
    assert public.limits.bounds.body == 64 << 20
    assert library.kind == "grpc"
    assert library.schemas == (REFLECTION,)
    assert library.balance == "round_robin"
    assert library.secure is None
    assert config.admin == Address("127.0.0.1", 9901)
    assert config.drain == 30
    assert config.access_log.format == "auto"


def test_the_whole_shape(tmp_path: Path) -> None:
    (tmp_path / "protos").mkdir()
    (tmp_path / "protos" / "library.proto").touch()
    (tmp_path / "users.pb").touch()
    config = read(
        tmp_path,
        """
listeners:
  public:
    address: 0.0.0.0:8443
    offer: [grpc, rest]
    rest: { errors: problem }
    limits: { header_bytes: 32KiB, body: 1MiB, concurrent_streams: 256, connections: 5, idle: 5m }
upstreams:
  library:
    grpc: [10.0.0.1:50051, { address: 10.0.0.2:50051, weight: 2 }]
    schema: protos/library.proto
    include: protos
    tls: true
    balance: least_request
    json: { unknown_fields: ignore, emit_defaults: true, enums: number, names: proto }
    connect_timeout: 250ms
    authority: library.internal
  users: { rest: [https://users], schema: [users.pb, protos] }
  legacy: { http: http://legacy:8000 }
policies:
  browsers: { cors: { origins: [https://a.example] } }
use: browsers
routes:
  - match: { call: "/library.v1.Library/*", host: "*.Example.com" }
    use: []
    timeout: 2s
    max_timeout: 1m
  - match: { call: library.v1.Library/CreateBook }
    rest:
      - { post: "/v1/{shelf}/books", body: book, success: 201, replace: true }
      - { custom: { kind: lock, path: /v1/lock }, response_body: token }
  - match: { path: "/legacy/**", method: [get, POST], headers: { X-Beta: 1 } }
    to: legacy
    rewrite: { path: "/{**}", host: legacy.internal }
  - match: { path: /one }
    to: { legacy: 100 }
access_log: { format: json, path: access.log }
admin: off
drain: 1m
""",
    )
    public = config.listeners["public"]
    assert list(public.settings) == ["grpc", "rest"]
    assert public.settings["rest"] == RestSettings(errors="problem")
    assert public.limits.net.header_bytes == 32768
    library = config.upstreams["library"]
    assert [(str(endpoint.address), endpoint.weight) for endpoint in library.endpoints] == [
        ("10.0.0.1:50051", 1),
        ("10.0.0.2:50051", 2),
    ]
    assert [source.kind for source in library.schemas] == [SourceKind.PROTO]
    assert library.schemas[0].path == tmp_path / "protos" / "library.proto"
    assert library.include == (tmp_path / "protos",)
    assert library.secure is not None
    assert library.secure.verify
    assert library.json_options.names == "proto"
    assert library.connect_timeout == 0.25
    users = config.upstreams["users"]
    assert users.secure is not None
    assert [source.kind for source in users.schemas] == [SourceKind.DESCRIPTOR_SET, SourceKind.FOLDER]
    assert config.upstreams["legacy"].schemas == ()
    assert config.policies["browsers"].kind == "cors"
    assert config.policies["browsers"].settings == CorsSettings(origins=("https://a.example",))
    assert config.use == ("browsers",)
    first, second, third, fourth = config.routes
    assert (first.match.call, first.match.host, first.use) == ("library.v1.Library/*", "*.example.com", ())
    assert (first.timeout, first.max_timeout) == (2, 60)
    assert second.use is None
    assert [binding.rule for binding in second.rest] == [
        HttpRule(verb="POST", template="/v1/{shelf}/books", body="book", success=201),
        HttpRule(verb="LOCK", template="/v1/lock", response_body="token"),
    ]
    assert second.rest[0].replace
    assert third.match.method == ("GET", "POST")
    assert third.match.headers == {"x-beta": "1"}
    assert third.upstream == fourth.upstream == "legacy"
    assert config.access_log.path == str(tmp_path / "access.log")
    assert config.admin is None


def test_the_environment_is_read_after_parsing(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        'listeners: { public: { address: "${HOST:-127.0.0.1}:${PORT}" } }\n'
        "upstreams:\n  library:\n    grpc: ${LIBRARY}\n    json:\n      emit_defaults: ${EMIT}\n"
        'drain: "${UNSET:-5}s"\n',
        {"PORT": "8080", "LIBRARY": "a:1", "EMIT": "true"},
    )
    assert config.listeners["public"].address == Address("127.0.0.1", 8080)
    assert config.upstreams["library"].json_options.emit_defaults is True
    assert config.drain == 5


def test_a_variable_can_add_no_keys(tmp_path: Path) -> None:
    told = faults(tmp_path, SMALLEST + 'drain: "${EVIL}"\n', {"EVIL": "5s\nadmin: 0.0.0.0:1"})
    assert told == ['6:8: drain: "${EVIL}" is not a duration: write 250ms, 2s, 5m or 1h30m']


def test_a_doubled_dollar_is_a_dollar(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        SMALLEST + "routes:\n  - { match: { path: /x, headers: { x: '$${HOME} $$ $x' } }, to: library }\n",
    )
    assert config.routes[0].match.headers == {"x": "${HOME} $$ $x"}


def test_a_secret_file_is_read_relative_to_the_config(tmp_path: Path) -> None:
    (tmp_path / "address").write_text("127.0.0.1:8080\n")
    config = read(tmp_path, SMALLEST.replace("0.0.0.0:8080", "file:address"))
    assert config.listeners["public"].address == Address("127.0.0.1", 8080)


def test_yaml_words_mean_what_they_say(tmp_path: Path) -> None:
    """YAML 1.1 would read `on`, `no` and `1:30` as true, false and ninety."""
    text = SMALLEST + "routes:\n  - { match: { path: /x, headers: { on: no, y: 1:30, 'n': '5' } }, to: library }\n"
    assert read(tmp_path, text).routes[0].match.headers == {"on": "no", "y": "1:30", "n": "5"}


def test_anchors_and_merge_keys_are_understood(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
listeners:
  a: &base { address: 127.0.0.1:1, limits: { body: 1KiB } }
  b: { <<: *base, address: 127.0.0.1:2 }
upstreams: { library: { grpc: [127.0.0.1:50051] } }
""",
    )
    assert config.listeners["b"].address.port == 2
    assert config.listeners["b"].limits.body == 1024


def test_included_files_add_their_entries_and_routes(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.proto").touch()
    (tmp_path / "more" / "b.yaml").write_text(
        "upstreams: { other: { grpc: [b:1], schema: x.proto } }\n"
        "routes:\n  - { match: { path: /b }, to: other }\nadmin: off\n"
    )
    config = read(tmp_path, "include: more/b.yaml\n" + SMALLEST + "routes:\n  - { match: { path: /a }, to: library }\n")
    assert list(config.upstreams) == ["library", "other"]
    assert config.upstreams["other"].schemas[0].path == tmp_path / "more" / "x.proto"
    assert [route.match.path for route in config.routes] == ["/a", "/b"]
    assert config.admin is None


def test_sections_whose_entries_are_commented_out_are_empty(tmp_path: Path) -> None:
    assert read(tmp_path, SMALLEST + "routes:\n#  - match: {}\npolicies:\n").routes == ()


def test_a_bom_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert load(tmp_path / "gateway.yaml", KINDS).listeners["public"].address.port == 8080


def test_a_file_that_is_not_there_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nosuch.yaml: cannot be read: No such file or directory") as raised:
        load(tmp_path / "nosuch.yaml", KINDS)
    assert len(raised.value.faults) == 1


def test_bytes_that_are_not_utf8_are_one_fault(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_bytes(b"listeners: \xff\xfe\n")
    with pytest.raises(ConfigError, match="not YAML") as raised:
        load(tmp_path / "gateway.yaml", KINDS)
    assert len(raised.value.faults) == 1


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    assert any("nested deeper" in fault for fault in faults(tmp_path, SMALLEST + f"x: {'[' * 200}{']' * 200}\n"))
    assert any("nesting depth" in fault for fault in faults(tmp_path, SMALLEST + f"x: {'[' * 99999}\n"))
    assert any("nesting depth" in fault for fault in faults(tmp_path, SMALLEST + f"x:\n {'- ' * 30000}1\n"))


def test_merge_keys_cannot_explode(tmp_path: Path) -> None:
    levels = "\n".join(
        f"l{level}: &l{level} {{ <<: [{', '.join([f'*l{level - 1}'] * 10)}] }}" for level in range(1, 12)
    )
    assert any("aliases expand" in fault for fault in faults(tmp_path, f"l0: &l0 {{ x: 1 }}\n{levels}\n"))


def test_ten_thousand_routes_are_read_in_reasonable_time(tmp_path: Path) -> None:
    routes = "".join(f"  - {{ match: {{ path: /r{index} }}, to: library }}\n" for index in range(10_000))
    assert len(read(tmp_path, SMALLEST + "routes:\n" + routes).routes) == 10_000


def certificate(folder: Path, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    for suffix, encryption in (
        ("key", serialization.NoEncryption()),
        ("locked", serialization.BestAvailableEncryption(b"x")),
    ):
        (folder / f"{name}.{suffix}").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                encryption,
            )
        )


def test_certificates_are_read_and_must_fit_their_keys(tmp_path: Path) -> None:
    certificate(tmp_path, "a")
    certificate(tmp_path, "b")
    good = SMALLEST.replace(
        "address: 0.0.0.0:8080", "address: 0.0.0.0:8080, tls: { cert: a.pem, key: a.key, client_ca: b.pem }"
    )
    tls = read(tmp_path, good).listeners["public"].tls
    assert tls is not None
    assert (tls.cert, tls.min_version) == (tmp_path / "a.pem", "1.2")
    assert faults(tmp_path, good.replace("a.key", "b.key")) == [
        "3:41: listeners.public.tls: cert and key do not belong together"
    ]
    assert faults(tmp_path, good.replace("client_ca: b.pem", "client_cert: optional")) == [
        "3:41: listeners.public.tls: client_cert means nothing without client_ca"
    ]
    assert faults(tmp_path, good.replace("a.key", "a.locked")) == [
        "3:41: listeners.public.tls: the key has a pass phrase: write it without one"
    ]


def test_a_shown_config_has_no_secret_in_it(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("127.0.0.1:8080")
    path = tmp_path / "gateway.yaml"
    path.write_text(
        'listeners: { public: { address: file:port } }\nupstreams: { a: { grpc: ["${WHERE}"] } }\n'
        "policies: { p: { cors: { api_key: s3cret, client-secret: [s3cret], url: 'redis://u:s3cret@x?key=s3cret&tag=a',"
        " set: { x-api-key: s3cret, x-passphrase: s3cret, x-user: sub }, headers: { x-user: sub } } } }\n"
        "metrics: { otlp: http://c:4318, headers: { x-team: s3cret } }\n"
        'tracing: { otlp: http://c:4318, headers: { x-team: s3cret, x-env: "${WHERE}" } }\n'
    )
    _, _, document = inspect(path, KINDS, {"WHERE": "s3cret:1"})
    shown = redacted(document)
    assert "s3cret" not in str(shown)
    assert shown["listeners"]["public"]["address"] == "file:port"
    assert shown["upstreams"]["a"]["grpc"] == ["${WHERE}"]
    assert shown["policies"]["p"]["cors"]["url"] == "redis://***@x?key=***&tag=a"
    assert (
        shown["policies"]["p"]["cors"]["set"]["x-user"] == shown["policies"]["p"]["cors"]["headers"]["x-user"] == "sub"
    )
    assert shown["tracing"]["headers"] == {"x-team": "***", "x-env": "${WHERE}"}


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
WORDS = [
    *("listeners", "upstreams", "policies", "use", "routes", "access_log", "admin", "drain", "include", "address"),
    *("offer", "tls", "limits", "rest", "grpc", "http", "schema", "balance", "json", "match", "call", "path", "to"),
    *("a", "127.0.0.1:80", "x.y.Z/W", "/v1/{a}", "5s", "${A}", "file:x", "&a", "*a", "<<", "cors", "cert"),
]
near_configs = st.recursive(
    st.one_of(st.sampled_from(WORDS), st.integers(-1, 70000), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, min_size=1, max_size=5)
    ),
    max_leaves=25,
)


def tried(folder: Path, text: str) -> None:
    path = folder / "fuzzed.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    _, told, _ = inspect(path, KINDS, {"A": "x"})
    for fault in told:
        assert fault.message
        assert str(fault).isprintable()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.one_of(json_values, near_configs))
def test_any_data_is_a_config_or_faults(tmp_path: Path, value: Any) -> None:
    tried(tmp_path, json.dumps(value))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from("ab:-{}[],&*!|>'\"%@`#\n\t \\?<~${}1.\0\x85é"), max_size=60))
def test_any_text_is_a_config_or_faults(tmp_path: Path, text: str) -> None:
    tried(tmp_path, text)


def test_addresses_of_a_kind_that_takes_one_have_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.proto").write_text('syntax = "proto3";')
    text = SMALLEST + "  users: { rest: [http://a/api/v1, https://b], schema: a.proto }"
    assert [line for line in faults(tmp_path, text) if "path" in line] == [
        "6:36: upstreams.users.rest[1]: has another path than the addresses before it"
    ]
    config = read(tmp_path, SMALLEST + "  users: { rest: [http://a/api/v1, http://b/api/v1], schema: a.proto }")
    assert config.upstreams["users"].path == "/api/v1"
    assert config.upstreams["library"].path == ""


def test_a_kind_of_upstream_has_its_own_settings(tmp_path: Path) -> None:
    (tmp_path / "a.proto").write_text('syntax = "proto3";')
    users = "  users: { rest: [http://a], schema: a.proto, rest_options: { names: proto } }\n"
    config = read(tmp_path, SMALLEST + users + "  more: { rest: [http://a], schema: a.proto }")
    assert config.upstreams["users"].options == ToRestSettings(names="proto")
    assert config.upstreams["more"].options == ToRestSettings()
    assert config.upstreams["library"].options is None
    text = SMALLEST.rstrip().replace("[127.0.0.1:50051] }", "[127.0.0.1:50051], rest_options: { nams: json } }")
    assert faults(tmp_path, text.partition("    # schema")[0]) == [
        "5:39: upstreams.library.rest_options: is for an upstream that speaks rest, and this one speaks grpc",
        '5:55: upstreams.library.rest_options.nams: unknown key; did you mean "names"?',
    ]


def test_a_fault_does_not_tell_who_logs_in_at_an_address(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, SMALLEST.replace("127.0.0.1:50051", "ftp://ann:hush@host"))
    assert "hush" not in fault
    assert "***" in fault
