"""Lists in YAML files: what is read, and the line that tells what is wrong with a file and nothing of what is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from protogw.entry_files import FileFault, read_entries


class Entry(BaseModel):
    secret: int


ENTRIES = TypeAdapter(tuple[Entry, ...])


def read(path: Path, data: bytes, most: int = 4096) -> tuple[Entry, ...]:
    path.write_bytes(data)
    return read_entries(path, ENTRIES, most, ())


def test_entries_are_read_and_an_empty_file_has_none(tmp_path: Path) -> None:
    assert read(tmp_path / "list", b"- secret: 1\n- secret: 2\n") == (Entry(secret=1), Entry(secret=2))
    assert read(tmp_path / "list", b"# nothing yet\n") == ()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"- secret: 1\n- [", "list:3: not YAML"),
        (b"[" * 4000, "list:1: not YAML"),
        (b"!!python/object/apply:os.system [true]", "list:1: not YAML"),
        (b"- secret: hush", "list: 0.secret: Input should be a valid integer"),
        (b"a" * 5000, "list: larger than 4096 bytes"),
    ],
    ids=["cut", "deep", "code", "wrong", "large"],
)
def test_a_fault_is_one_line_that_tells_nothing_of_the_entries(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(FileFault) as raised:
        read(tmp_path / "list", data)
    text = raised.value.within(Path("list"))
    assert text.startswith(said)
    assert "hush" not in text
    assert "\n" not in text


def test_what_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="cannot be read: no such file"):
        read_entries(tmp_path / "none", ENTRIES, 4096, ())


@given(data=st.binary(max_size=200))
def test_any_bytes_are_entries_or_a_fault(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    found: object
    try:
        found = read(path, data)
    except FileFault as fault:
        found = str(fault).splitlines()
    assert isinstance(found, tuple) or (isinstance(found, list) and len(found) == 1)
