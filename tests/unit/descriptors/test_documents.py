"""Documents in JSON and YAML: what is in them, where it stands, and where references may lead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protogw.descriptors import documents as reading
from protogw.descriptors.documents import Documents, parse
from protogw.descriptors.model import SchemaError

YAML = b"""\
a:
  b:
  - 1
  - no
  - c: 5
200: x
when: 2020-01-01
m: &m {a: 1, b: 2}
n: {<<: *m, b: 3}
text: "5"
long: |
  one
  two
end: ~
"""


def made(folder: Path, **files: str) -> Documents:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Documents(folder / next(iter(files)).replace("__", "/").replace("_", "."))


def fault(data: bytes, name: str = "x.yaml") -> str:
    with pytest.raises(SchemaError) as raised:
        parse(data, Path(name))
    return raised.value.faults[0]


def test_yaml_has_the_scalars_of_version_1_2_and_keys_that_are_text() -> None:
    assert parse(YAML, Path("x.yaml")).tree == {
        "a": {"b": [1, "no", {"c": 5}]},
        "200": "x",
        "when": "2020-01-01",
        "m": {"a": 1, "b": 2},
        "n": {"a": 1, "b": 3},
        "text": "5",
        "long": "one\ntwo\n",
        "end": None,
    }


@pytest.mark.parametrize(
    ("steps", "line"),
    [((), 1), (("a",), 1), (("a", "b"), 2), (("a", "b", 1), 4), (("a", "b", 2, "c"), 5), (("a", "nosuch"), 1)],
)
def test_the_line_of_a_yaml_value_is_known(steps: reading.Steps, line: int) -> None:
    assert parse(YAML, Path("x.yaml")).line(steps) == line


@pytest.mark.parametrize(
    ("steps", "line"),
    [((), 1), (("a",), 2), (("a", "b"), 3), (("a", "b", 1), 4), (("a", "b", 2, "c"), 5), (("z",), 7), (("q",), 1)],
)
def test_the_line_of_a_json_value_is_known(steps: reading.Steps, line: int) -> None:
    text = b'{\n "a": {\n  "b": [1,\n   "\\"}",\n   {"c": 5}\n  ]},\n "z": true}'
    assert parse(text, Path("x.json")).line(steps) == line


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: [", "x.yaml:2: is not YAML"),
        (b"a: *x", "x.yaml:1: is not YAML: found undefined alias"),
        (b"&a [*a]", "x.yaml:1: is not YAML that is read here: an alias within what it stands for"),
        (b"\n? [a]\n: b", "x.yaml:2: is not YAML that is read here: a key that is no text"),
        (b"<<: 5", "x.yaml:1: is not YAML that is read here: only mappings can be merged"),
        (b"a: 1\n\xff", "x.yaml:2: is not UTF-8 text"),
        (b"a: \x00", "x.yaml: is not YAML: unacceptable character"),
        (b"a: 1\n---\nb: 2", "x.yaml:2: is not YAML"),
        (b"[" * 100_000, "nest"),
    ],
)
def test_what_is_no_document_is_told_with_its_line(data: bytes, said: str) -> None:
    assert said in fault(data)


def test_json_is_held_to_be_json_where_it_is_called_so() -> None:
    assert fault(b'{\n"a": }', "x.json").startswith("x.json:2: is not JSON: ")
    assert parse(b"{a: 1}", Path("x.yaml")).tree == {"a": 1}


def test_aliases_do_not_make_more_of_a_document_than_may_be_walked_through() -> None:
    lines = [b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [b"a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 30)]
    assert "its aliases make more than" in fault(b"\n".join(lines))


def test_merges_of_merges_take_no_time() -> None:
    lines = [b"a0: &a0 {x: 1}"]
    lines += [b"a%d: &a%d {<<: [*a%d, *a%d], y%d: 1}" % (n, n, n - 1, n - 1, n) for n in range(1, 200)]
    assert len(parse(b"\n".join(lines), Path("x.yaml")).tree["a199"]) == 200


def test_references_lead_through_files_and_back(tmp_path: Path) -> None:
    documents = made(
        tmp_path,
        api_yaml="a: {$ref: 'parts/pet.json#/x~1y/0'}\nb: {c~d: 1}\ne: {$ref: '#/b'}",
        parts__pet_json='{"x/y": [{"$ref": "../api.yaml#/b/c~0d"}]}',
    )
    root = documents.first.root
    found = documents.follow(root.child("a"))
    assert (found.value, found.key, found.name) == (1, "#/b/c~0d", "c~d")
    assert documents.follow(root.child("e")).value == {"c~d": 1}
    assert documents.target(root, "parts/pet.json").key == "parts/pet.json#"


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("#/nosuch", "leads nowhere"),
        ("#/list/7", "leads nowhere"),
        ("#/list/-1", "leads nowhere"),
        ("#anchor", "names an anchor"),
        ("https://evil.example/a.yaml#/x", "is on the network"),
        ("//evil.example/a.yaml", "is on the network"),
        ("file:///etc/passwd", "is on the network"),
        ("../secret.yaml", "is outside of"),
        ("/etc/passwd", "is outside of"),
        ("%2e%2e/secret.yaml", "is outside of"),
        ("link.yaml", "is outside of"),
        ("nosuch.yaml", "cannot be read: No such file"),
        ("api.yaml/x", "cannot be read"),
        ("bad.yaml", "is not YAML"),
        ("\x00", "cannot be read"),
    ],
)
def test_a_reference_that_must_not_or_cannot_be_followed_is_named(tmp_path: Path, ref: str, said: str) -> None:
    (tmp_path / "secret.yaml").write_text("x: 1")
    folder = tmp_path / "below"
    folder.mkdir()
    (folder / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    documents = made(folder, api_yaml="a:\n  b: {}\nlist: [1]", bad_yaml="[")
    with pytest.raises(SchemaError) as raised:
        documents.target(documents.first.root.child("a").child("b"), ref)
    assert said in raised.value.faults[0]
    assert raised.value.faults[0].startswith(f"{folder}/api.yaml:2: a.b: ")


def test_references_in_a_circle_are_a_fault(tmp_path: Path) -> None:
    documents = made(tmp_path, api_yaml="a: {$ref: '#/b'}\nb: {$ref: '#/a'}\nc: {$ref: '#/c'}")
    for name in "abc":
        with pytest.raises(SchemaError, match="leads to itself"):
            documents.follow(documents.first.root.child(name))


def test_files_are_bounded_in_number_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = made(tmp_path, api_yaml="a: 1", b_yaml="b: 1")
    monkeypatch.setattr(reading, "MAX_FILES", 1)
    with pytest.raises(SchemaError, match="one file more than 1"):
        documents.target(documents.first.root, "b.yaml")
    monkeypatch.setattr(reading, "MAX_FILES", 9)
    monkeypatch.setattr(reading, "MAX_BYTES", 5)
    with pytest.raises(SchemaError, match="more than 5 bytes in all"):
        documents.target(documents.first.root, "b.yaml")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=20,
)


@given(JSON, st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_place_of_a_document_has_its_line(tree: object, indented: bool) -> None:
    text = json.dumps({"top": tree}, indent=1 if indented else None)
    document = parse(text.encode(), Path("x.json"))
    stack = [document.root]
    while stack:
        node = stack.pop()
        assert 1 <= document.line(node.steps) <= text.count("\n") + 1
        assert node.where.startswith("x.json:")
        held = node.value
        names = held if isinstance(held, dict) else range(len(held)) if isinstance(held, list) else ()
        stack.extend(node.child(name) for name in names)


@given(st.binary(max_size=60) | st.text(alphabet="{}[]:,&*<>-?!|' \n\"ab", max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_document_or_a_fault(data: bytes) -> None:
    said = "x.yaml"
    try:
        parse(data, Path("x.yaml"))
    except SchemaError as error:
        said = error.faults[0]
    assert said.startswith("x.yaml")
