"""Words in messages about a config: suggestions are whole, what was written may be cut."""

from __future__ import annotations

import pytest

from protogw.words import hint, quoted, unsecret

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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("redis://user:canary@cache:6379/0", "redis://***@cache:6379/0"),
        ("https://a.test/verify?key=canary&page=2", "https://a.test/verify?key=***&page=2"),
        ("https://a.test/x?page=2&access_token=canary#top", "https://a.test/x?page=2&access_token=***#top"),
        ("consul://127.0.0.1:8500/stock?tag=blue&X-Sig=canary", "consul://127.0.0.1:8500/stock?tag=blue&X-Sig=***"),
        ("no address?key=value", "no address?key=value"),
    ],
)
def test_secrets_of_addresses_are_not_told(text: str, told: str) -> None:
    assert unsecret(text) == told
    assert "canary" not in quoted(text)
