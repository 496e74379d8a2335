"""Entries as bytes: what comes back is what was written, and nothing else is an entry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.stores.entries import Entry, dumped, loaded

PAGE = Entry(name="/page", body=b"x\n", encoding="raw", status=200, fields=((b"a", b"\xe9"),), made_s=1.0, fresh_s=60.0)
MESSAGE = Entry(name="a.B/C", body=b"\n\x01x", encoding="proto", trailers=((b"t", b"1"),), made_s=1.0, fresh_s=60.0)
LACK = Entry(name="a.B/C", body=b"", encoding="", code=5, message="none such", details=((b"t/x.Y", b"\r\n\0"),))


@pytest.mark.parametrize("entry", [PAGE, MESSAGE, LACK], ids=["a page", "a message", "what is not there"])
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert loaded(dumped(entry)) == entry


@pytest.mark.parametrize(
    ("entry", "changes"),
    [
        (PAGE, {"encoding": "proto"}),
        (PAGE, {"status": 99}),
        (PAGE, {"status": 101}),
        (PAGE, {"status": 1000}),
        (PAGE, {"code": 5}),
        (PAGE, {"fields": ((b"a", b"b\r\nset-cookie: c"),)}),
        (PAGE, {"fields": ((b"a\n", b"b"),)}),
        (PAGE, {"etag": b'"a"\r\n'}),
        (PAGE, {"fresh_s": -1.0}),
        (MESSAGE, {"encoding": "raw"}),
        (MESSAGE, {"encoding": ""}),
        (MESSAGE, {"encoding": "yaml"}),
        (MESSAGE, {"code": 17}),
        (MESSAGE, {"code": -1}),
        (MESSAGE, {"trailers": ((b"t", b"\0"),)}),
    ],
)
def test_what_no_gateway_wrote_is_no_entry(entry: Entry, changes: dict[str, Any]) -> None:
    assert loaded(dumped(replace(entry, **changes))) is None


def test_no_entry_is_fresh_for_ever() -> None:
    assert loaded(dumped(PAGE).replace(b"60.0", b'"inf"')) is None


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 60))
def test_whatever_stands_there_is_an_entry_or_none(rubbish: bytes, at: int, gone: int) -> None:
    for data in (rubbish, rubbish + b"\n", dumped(PAGE)[:at] + rubbish + dumped(PAGE)[at + gone :]):
        assert loaded(data) is None or isinstance(loaded(data), Entry)
