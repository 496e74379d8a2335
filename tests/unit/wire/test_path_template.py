from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import InvalidRequest
from protogw.routing.matcher import Entry, Match, Matcher
from protogw.wire.path_template import (
    TemplateError,
    Wildcard,
    decode_multi,
    decode_one,
    expand,
    parse,
)


def test_a_template_is_literals_wildcards_variables_and_a_verb() -> None:
    template = parse("/v1/{parent=shelves/*}/books/{book.id}/{rest=**}:move")
    assert template.segments == (
        b"v1",
        b"shelves",
        Wildcard.ONE,
        b"books",
        Wildcard.ONE,
        Wildcard.REST,
    )
    assert template.verb == b"move"
    assert [(one.name, one.start, one.end, one.multi) for one in template.variables] == [
        ("parent", 1, 3, True),
        ("book.id", 4, 5, False),
        ("rest", 5, 6, True),
    ]


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("/", ()),
        ("/v1/", (b"v1", b"")),
        ("/a%20b/c", (b"a b", b"c")),
        ("/v1/a:b/c", (b"v1", b"a:b", b"c")),
        ("/v1/*/x", (b"v1", Wildcard.ONE, b"x")),
        ("/pkg.Service/Method", (b"pkg.Service", b"Method")),
        ("/v1/日本", (b"v1", "日本".encode())),
    ],
)
def test_literals_are_kept_decoded(text: str, segments: tuple[object, ...]) -> None:
    assert parse(text).segments == segments


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, 'starts with "/"'),
        ("v1/x", 1, 'starts with "/"'),
        ("/v1//x", 5, "segment is missing"),
        ("/v1/**/x", 5, "only be the last"),
        ("/v1/{a=**}/x", 8, "only be the last"),
        ("/v1/{a", 7, '"}" is missing'),
        ("/v1/{a=x", 9, '"}" is missing'),
        ("/v1/{}", 6, "field name is missing"),
        ("/v1/{a.}", 8, "field name is missing"),
        ("/v1/{a..b}", 8, "field name is missing"),
        ("/v1/{1a}", 6, "field name is missing"),
        ("/v1/{a={b}}", 8, "cannot be nested"),
        ("/v1/{a={b=*}/c}", 8, "cannot be nested"),
        ("/v1/{a}/{a}", 9, "bound twice"),
        ("/v1/{a=}", 8, "segment is missing"),
        ("/v1/{a}b", 8, "unexpected 'b'"),
        ("/v1/b{a}", 6, "unexpected '{'"),
        ("/v1/a*", 6, "unexpected '*'"),
        ("/v1/***", 7, "unexpected '*'"),
        ("/v1/x:", 6, "empty verb"),
        ("/v1/x:a}", 8, "unexpected '}'"),
        ("/:verb", 2, "a verb needs a segment"),
        ("/v1/..", 5, "no name"),
        ("/v1/%2e%2E/x", 5, "no name"),
        ("/v1/a%2fb", 5, "no name"),
        ("/v1/%zz", 5, "segment is missing"),
        ("/v1/a b", 6, "unexpected ' '"),
        ("/v1/a?b", 6, "unexpected '?'"),
        ("/v1/x\n", 6, "unexpected"),
    ],
)
def test_a_fault_is_named_with_its_column(text: str, column: int, words: str) -> None:
    with pytest.raises(TemplateError, match=words) as raised:
        parse(text)
    assert raised.value.column == column
    assert str(raised.value).endswith(f"at column {column}")


@given(st.text(st.sampled_from("/{}*=.:ab%2f1 \n"), max_size=30))
def test_any_text_is_a_template_or_a_template_error(text: str) -> None:
    try:
        template = parse(text)
    except TemplateError as error:
        column = error.column
    else:
        assert parse(template.text) == template
        return
    assert 1 <= column <= len(text) + 1


def test_a_very_long_template_is_parsed_in_linear_time() -> None:
    assert len(parse("/" + "/".join(["a"] * 20_000)).segments) == 20_000
    with pytest.raises(TemplateError):
        parse("/" + "{a=" * 20_000)


def test_one_segment_is_decoded_whole() -> None:
    assert decode_one(b"a%2Fb%3a%20%C3%A9") == "a/b: é".encode()


def test_several_segments_keep_what_is_reserved() -> None:
    assert decode_multi(b"a%2Fb/c%20d%3a%25%E2%82%ac") == b"a%2Fb/c d%3a%" + "€".encode()


@pytest.mark.parametrize(
    ("template", "values", "path"),
    [
        ("/v1/things/{id}", {"id": "12"}, "/v1/things/12"),
        ("/v1/things/{id}", {"id": "a/b c:d"}, "/v1/things/a%2Fb%20c%3Ad"),
        ("/v1/{name=shelves/*}:go", {"name": "shelves/ä"}, "/v1/shelves/%C3%A4:go"),
        ("/v1/{name=**}", {"name": "a/b%2Fc"}, "/v1/a/b%2Fc"),
        ("/v1/{name=**}", {"name": "100%"}, "/v1/100%25"),
        ("/v1/{name=**}", {"name": ""}, "/v1"),
        ("/v1/{a.b=x/**}/", None, None),
        ("/a b".replace(" ", "%20"), {}, "/a%20b"),
    ],
)
def test_values_expand_to_a_path(template: str, values: dict[str, str] | None, path: str | None) -> None:
    if values is None:
        with pytest.raises(TemplateError):
            parse(template)
    else:
        assert expand(parse(template), values) == path


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("/v1/things/{id}", {}),
        ("/v1/things/{id}", {"id": ""}),
        ("/v1/things/{id}", {"id": ".."}),
        ("/v1/things/{id}", {"id": "."}),
        ("/v1/{name=shelves/*}", {"name": "shelves"}),
        ("/v1/{name=shelves/*}", {"name": "books/1"}),
        ("/v1/{name=shelves/*}", {"name": "shelves/1/2"}),
        ("/v1/{name=shelves/*}", {"name": "shelves/"}),
        ("/v1/{name=shelves/*}", {"name": "shelves/.."}),
        ("/v1/{name=shelves/**}", {"name": "shelves/a/../../admin"}),
        ("/v1/{name=shelves/**}", {"name": "shelves//admin"}),
        ("/v1/{name=shelves/**}", {"name": "other/x"}),
        ("/v1/{name=shelves/**}", {"name": ""}),
        ("/v1/*", {}),
    ],
)
def test_values_that_do_not_fit_are_refused(template: str, values: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        expand(parse(template), values)


_single = st.text(min_size=1, max_size=12).filter(lambda text: text not in (".", "..") and _encodable(text))
_segment = st.text(min_size=1, max_size=8).filter(
    lambda text: text not in (".", "..") and _encodable(text) and not set(text) & set("/?#[]%")
)


def _encodable(text: str) -> bool:
    return not any(0xD800 <= ord(one) <= 0xDFFF for one in text)


@given(_single, st.lists(_segment, min_size=1, max_size=4))
def test_what_is_expanded_matches_and_gives_the_values_back(one: str, several: list[str]) -> None:
    template = parse("/v1/{one}/{name=kinds/*}/x/{rest=**}:go")
    values = {"one": one, "name": f"kinds/{several[0]}", "rest": "/".join(several)}
    path = expand(template, values)
    matcher = Matcher.build([Entry(b"GET", template, "found")])
    found = matcher.match(b"GET", path.encode())
    assert isinstance(found, Match)
    assert [value.decode() for value in found.values] == [values["one"], values["name"], values["rest"]]


@given(st.lists(st.sampled_from(["a", "%2F", "%3A", ":", "%20", "b", "@", "%25"]), min_size=1, max_size=6))
def test_a_value_over_several_segments_expands_to_an_equal_path(parts: list[str]) -> None:
    template = parse("/v1/{rest=**}")
    value = decode_multi("".join(parts).encode())
    assert decode_multi(expand(template, {"rest": value.decode()}).encode()) == b"/v1/" + value
