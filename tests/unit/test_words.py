"""Words in messages about a config: suggestions are whole, what was written may be cut."""

from __future__ import annotations

from protogw.words import hint, quoted

LONG = "google.cloud.bigquery.storage.v1.BigQueryRead/CreateReadSession"


def test_a_long_name_is_suggested_whole() -> None:
    assert hint(LONG.replace("Create", "Creat"), [LONG, "other"]) == f'; did you mean "{LONG}"?'


def test_what_was_written_is_cut_when_long() -> None:
    assert quoted("x" * 100) == '"' + "x" * 59 + '…"'


def test_the_words_are_told_where_they_are_few_and_none_is_near() -> None:
    assert hint("zzz", ["a"]) == "; there is a"
    assert hint("zzz", ["b", "a"]) == "; there are a, b"
    assert hint("zzz", [f"word{number}" for number in range(9)]) == ""
    assert hint("zzz", []) == ""
