from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.routing.matcher import Allowed, Entry, Match, Matcher
from protogw.wire.path_template import Template, Wildcard, parse


def build(*lines: str) -> Matcher[str]:
    """A matcher of "VERB template" lines; each finds its own line."""
    entries = []
    for line in lines:
        verb, _, template = line.partition(" ")
        entries.append(Entry(verb.encode(), parse(template), line))
    return Matcher.build(entries)


def match(matcher: Matcher[str], line: str) -> object:
    verb, _, path = line.partition(" ")
    found = matcher.match(verb.encode(), path.encode())
    if isinstance(found, Match):
        return (found.found, *found.values)
    return found


def test_a_literal_comes_before_a_variable_and_that_before_the_rest() -> None:
    matcher = build("GET /v1/{rest=**}", "GET /v1/{id}", "GET /v1/me", "GET /v1/{id}/x", "GET /v1/me/{rest=**}")
    assert match(matcher, "GET /v1/me") == ("GET /v1/me",)
    assert match(matcher, "GET /v1/you") == ("GET /v1/{id}", b"you")
    assert match(matcher, "GET /v1/you/x") == ("GET /v1/{id}/x", b"you")
    assert match(matcher, "GET /v1/you/y") == ("GET /v1/{rest=**}", b"you/y")
    assert match(matcher, "GET /v1/me/y") == ("GET /v1/me/{rest=**}", b"y")
    assert match(matcher, "GET /v1") == ("GET /v1/{rest=**}", b"")


def test_a_literal_path_under_another_verb_does_not_hide_a_wildcard_route() -> None:
    matcher = build("POST /v1/things/special", "GET /v1/things/{id}", "DELETE /v1/{rest=**}")
    assert match(matcher, "GET /v1/things/special") == ("GET /v1/things/{id}", b"special")
    assert match(matcher, "DELETE /v1/things/special") == ("DELETE /v1/{rest=**}", b"things/special")


def test_matching_turns_back_from_a_literal_that_leads_nowhere() -> None:
    matcher = build("GET /a/b/c/d", "GET /a/{x}/c/{y}", "GET /{z}/b/{w=**}")
    assert match(matcher, "GET /a/b/c/e") == ("GET /a/{x}/c/{y}", b"b", b"e")
    assert match(matcher, "GET /a/b/x/e") == ("GET /{z}/b/{w=**}", b"a", b"x/e")


def test_a_known_path_under_another_verb_tells_the_verbs() -> None:
    matcher = build("GET /v1/{id}", "PUT /v1/{id}", "POST /v1/{rest=**}", "POST /v1/me")
    assert match(matcher, "PATCH /v1/me") == Allowed((b"GET", b"HEAD", b"POST", b"PUT"))
    assert match(matcher, "GET /v2/me") is None
    assert match(matcher, "get /v1/me") == Allowed((b"GET", b"HEAD", b"POST", b"PUT"))


def test_the_root_is_not_the_rest() -> None:
    matcher = build("* /", "* /{rest=**}", "* /a/{rest=**}", "* /a")
    assert match(matcher, "GET /") == ("* /",)
    assert match(matcher, "GET /a") == ("* /a",)
    assert match(matcher, "GET /a/") == ("* /a/{rest=**}", b"")
    assert match(matcher, "GET /b/") == ("* /{rest=**}", b"b/")


def test_head_is_taken_where_get_is() -> None:
    matcher = build("GET /a", "GET /b/{id}", "HEAD /b/{id}", "POST /c")
    assert match(matcher, "HEAD /a") == ("GET /a",)
    assert match(matcher, "HEAD /b/1") == ("HEAD /b/{id}", b"1")
    assert match(matcher, "HEAD /c") == Allowed((b"POST",))


def test_the_verb_itself_comes_before_any_verb() -> None:
    matcher = build("* /v1/{id}", "GET /v1/{id}", "* /v1/me")
    assert match(matcher, "GET /v1/x") == ("GET /v1/{id}", b"x")
    assert match(matcher, "PURGE /v1/x") == ("* /v1/{id}", b"x")
    assert match(matcher, "GET /v1/me") == ("* /v1/me",)


def test_a_custom_verb_is_looked_for_before_the_text_is_part_of_a_segment() -> None:
    matcher = build("GET /v1/{id}", "GET /v1/{id}:run", "GET /v1/me:run", "GET /v1/{rest=**}:stop", "POST /v1/x:run")
    assert match(matcher, "GET /v1/a:run") == ("GET /v1/{id}:run", b"a")
    assert match(matcher, "GET /v1/me:run") == ("GET /v1/me:run",)
    assert match(matcher, "GET /v1/x:run") == ("GET /v1/{id}:run", b"x")
    assert match(matcher, "GET /v1/a/b:stop") == ("GET /v1/{rest=**}:stop", b"a/b")
    assert match(matcher, "GET /v1/a:walk") == ("GET /v1/{id}", b"a:walk")
    assert match(matcher, "GET /v1/urn:x:run") == ("GET /v1/{id}:run", b"urn:x")
    assert match(matcher, "GET /v1/a%3Arun") == ("GET /v1/{id}", b"a:run")
    assert match(matcher, "GET /v1/a:") == ("GET /v1/{id}", b"a:")


def test_an_empty_last_segment_is_no_value_but_part_of_the_rest() -> None:
    matcher = build("GET /v1/{id}", "GET /legacy/**", "GET /dir/", "GET /")
    assert match(matcher, "GET /v1/") is None
    assert match(matcher, "GET /v1/a/") is None
    assert match(matcher, "GET /legacy") == ("GET /legacy/**",)
    assert match(matcher, "GET /legacy/") == ("GET /legacy/**",)
    assert match(matcher, "GET /legacy/a/") == ("GET /legacy/**",)
    assert match(matcher, "GET /dir/") == ("GET /dir/",)
    assert match(matcher, "GET /dir") is None
    assert match(matcher, "GET /") == ("GET /",)


def test_literals_are_compared_decoded_and_by_case() -> None:
    matcher = build("GET /v1/admin/{id}", "GET /v1/a%20b")
    assert match(matcher, "GET /v1/%61dmin/x%2Fy") == ("GET /v1/admin/{id}", b"x/y")
    assert match(matcher, "GET /v1/a%20b") == ("GET /v1/a%20b",)
    assert match(matcher, "GET /v1/Admin/x") is None


def test_an_encoded_slash_is_no_separator() -> None:
    matcher = build("GET /v1/{name=shelves/*}", "GET /v1/{id}")
    assert match(matcher, "GET /v1/shelves%2Fa") == ("GET /v1/{id}", b"shelves/a")
    assert match(matcher, "GET /v1/shelves/a%2Fb") == ("GET /v1/{name=shelves/*}", b"shelves/a%2Fb")


def test_an_entry_of_the_same_shape_and_verb_is_reported_as_shadowed() -> None:
    matcher = build("GET /v1/{id}", "GET /v1/{name}", "POST /v1/{id}", "GET /v1/{name=*}", "* /v1/{id}")
    assert [(hidden.found, by.found) for hidden, by in matcher.shadowed] == [
        ("GET /v1/{name}", "GET /v1/{id}"),
        ("GET /v1/{name=*}", "GET /v1/{id}"),
    ]
    assert match(matcher, "GET /v1/x") == ("GET /v1/{id}", b"x")


@pytest.mark.parametrize("path", ["", "*", "//", "/a//b", "/" * 5_000, "/" + ":" * 5_000, "/%", "/a:b:c:", "x" * 100])
def test_any_path_is_answered(path: str) -> None:
    matcher = build("GET /a/{x}", "GET /{x}/{y}:z", "GET /{rest=**}:w")
    assert match(matcher, f"GET {path}") is None or path


def test_a_long_path_through_wildcards_takes_little_time() -> None:
    lines = ["GET /" + "/".join(parts) + "/end" for parts in product(["a", "*"], repeat=8)]
    matcher = build(*lines)
    assert match(matcher, "GET /" + "/".join(["a"] * 8) + "/no") is None
    assert match(matcher, "GET /" + "/".join(["a"] * 5_000)) is None


def test_ten_thousand_routes_are_told_apart() -> None:
    lines = [f"GET /v1/group{number // 10}/thing{number}/{{id}}" for number in range(10_000)]
    random.Random(1).shuffle(lines)
    matcher = build(*lines)
    for number in (0, 17, 9_999):
        line = f"GET /v1/group{number // 10}/thing{number}/{{id}}"
        assert match(matcher, f"GET /v1/group{number // 10}/thing{number}/x") == (line, b"x")


def _rank(template: Template) -> tuple[object, ...]:
    """The documented precedence of templates that match one path, said another way."""
    order = {Wildcard.ONE: 1, Wildcard.REST: 2}
    return tuple(0 if isinstance(one, bytes) else order[one] for one in template.segments)


def _fits(template: Template, segments: list[bytes]) -> bool:
    wanted = list(template.segments)
    if wanted and wanted[-1] is Wildcard.REST:
        wanted.pop()
        if len(segments) < len(wanted):
            return False
        segments = segments[: len(wanted)]
    return len(wanted) == len(segments) and all(
        one is Wildcard.ONE or one == got for one, got in zip(wanted, segments, strict=True)
    )


_parts = st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=4)


@given(
    st.lists(st.tuples(st.sampled_from(["GET", "PUT"]), _parts, st.booleans()), max_size=8),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5),
)
def test_the_matcher_agrees_with_the_written_precedence(
    routes: list[tuple[str, list[str], bool]], path: list[str]
) -> None:
    lines = [f"{verb} /" + "/".join([*parts, "**"] if rest else parts) for verb, parts, rest in routes]
    segments = [one.encode() for one in path]
    fitting = [
        (_rank(parse(line.partition(" ")[2])), place, line)
        for place, line in enumerate(lines)
        if line.startswith("PUT") and _fits(parse(line.partition(" ")[2]), segments)
    ]
    found = match(build(*lines), "PUT /" + "/".join(path))
    if fitting:
        assert found == (min(fitting)[2],)
    else:
        assert not isinstance(found, tuple) or isinstance(found, Allowed)


@given(
    st.lists(st.tuples(st.sampled_from(["GET", "PUT", "*"]), _parts, st.booleans()), max_size=8),
    st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=5),
)
def test_a_path_means_the_same_when_it_is_encoded(routes: list[tuple[str, list[str], bool]], path: list[str]) -> None:
    matcher = build(*(f"{verb} /" + "/".join([*parts, "{r=**}"] if rest else parts) for verb, parts, rest in routes))
    encoded = [f"%{ord(one):x}" if one else "" for one in path]
    found = match(matcher, "PUT /" + "/".join(path))
    again = match(matcher, "PUT /" + "/".join(encoded))
    if isinstance(found, tuple) and not isinstance(found, Allowed):
        assert isinstance(again, tuple)
        found, again = found[0], again[0]
    assert found == again
