"""Patterns of ECMA-262 in RE2's words: what they find stays the same, and what RE2 cannot say is told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.descriptors.patterns import MAX_LENGTH, Unsayable, re2


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"^[a-z]+$", r"^[a-z]+$"),
        (r"^\d{3}-\w$", r"^[0-9]{3}-[0-9A-Za-z_]$"),
        (r"\D\W", r"[^0-9][^0-9A-Za-z_]"),
        (r"a.b", r"a[^\n\r\x{2028}\x{2029}]b"),
        (r"^(?<year>\d{4})$", r"^(?:[0-9]{4})$"),
        (r"a+?b{2,}?c??", r"a+b{2,}c?"),
        (r"\/\@\-\_", r"/@-_"),
        (r"a{,3}]}", r"a\{,3\}\]\}"),
        (r"[a&&b~~c[-]", r"[a\&\&b\~\~c\[\-]"),
        (r"[\w.-]", r"[0-9A-Za-z_.\-]"),
        (r"[^]", r"[\x{0}-\x{10ffff}]"),
        (r"[\b]\cA\0\x41\u0042\u{1F600}\uD83D\uDE00", "[\\x08]\\x{1}\\x{0}AB\U0001f600\U0001f600"),
        (r"^\p{Lu}\P{L}\p{Script=Greek}$", r"^\p{Lu}\P{L}\p{Greek}$"),
        (r"|a", r"|a"),
        ("é", "é"),
    ],
)
def test_a_pattern_is_said_in_words_that_every_engine_reads_alike(pattern: str, said: str) -> None:
    assert re2(pattern) == said


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"^(?!x)", "looks ahead"),
        (r"(?=a)", "looks ahead"),
        (r"(?<=a)b", "looks ahead or behind"),
        (r"(?<!a)b", "looks ahead or behind"),
        (r"(a)\1", "refers back"),
        (r"(?<n>a)\k<n>", "refers back"),
        (r"\bword", "the edge of a word"),
        (r"(?i)a", "a group that ECMA-262 does not know"),
        (r"\A", "ECMA-262 does not know"),
        (r"\p{Emoji}", "the property Emoji"),
        (r"[\D]", "within a set"),
        (r"[]", "a set of nothing"),
        (r"[b-a]", "ends before it begins"),
        (r"[\d-x]", "a range to or from a class"),
        (r"[a", "lacks a ]"),
        (r"(a", "lacks a )"),
        (r"a)", "a ) too many"),
        (r"*a", "nothing to repeat"),
        (r"a**", "repeats a repetition"),
        (r"^*", "repeats an assertion"),
        (r"a{3,2}", "from more to less"),
        (r"a{1001}", "more than 1000 times"),
        (r"(a{40}){40}", "more than 1000 times"),
        (r"(a{900}|b{900}){1}" * 5, "too large"),
        (r"\p{L}{900}", "too large"),
        ("(" * 60 + ")" * 60, "nested too deeply"),
        ("a\\", "ends in a backslash"),
        (r"\ud800", "half a surrogate pair"),
        ("a" * (MAX_LENGTH + 1), "is longer than"),
    ],
)
def test_what_cannot_be_said_is_told(pattern: str, reason: str) -> None:
    with pytest.raises(Unsayable, match=re.escape(reason)):
        re2(pattern)


PARTS = st.recursive(
    st.sampled_from(("a", "b", "-", r"\d", r"\w", r"[a-c]", r"[^b\d]", r"\.", r"[.+*-]", r"\x61", r"\-")),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(("*", "+", "?", "{1,2}", "{2}", "{2,}", "+?"))).map("(?:{0[0]}){0[1]}".format),
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
    ),
    max_leaves=8,
)


@given(st.sampled_from(("", "^")), PARTS, st.sampled_from(("", "$")), st.lists(st.text("ab1.-+*_", max_size=6)))
def test_what_is_found_stays_the_same(start: str, part: str, end: str, texts: list[str]) -> None:
    pattern = start + part + end
    said = re2(pattern)
    for text in texts:
        assert bool(re.search(pattern, text)) == bool(re.search(said, text))


@given(st.text(r"ab[]()\^$*+?{}|.-:=!<>&~dDwWsSbBpPuxck01,é", max_size=20))
def test_no_pattern_does_harm(pattern: str) -> None:
    try:
        said = re2(pattern)
    except Unsayable:
        return
    assert "(?=" not in said
    assert "\\b" not in said
