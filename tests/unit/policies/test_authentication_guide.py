"""The examples of docs/authentication.md are configs that the gateway takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from protogw.assembly import KINDS, build
from protogw.config import load
from tests.support.certificates import Authority
from tests.support.gateway import config_of, written
from tests.support.policy_samples import SAMPLES
from tests.support.processes import ROOT

BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "authentication.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
async def test_an_example_is_a_config(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "a secret that has thirty-two bytes!")
    pair = Authority(tmp_path, "clients").issue("server", names=["localhost"])
    (tmp_path / "server.pem").write_bytes(pair.cert.read_bytes())
    (tmp_path / "server.key").write_bytes(pair.key.read_bytes())
    (tmp_path / "keys.yaml").write_text("- { consumer: shop, key: a-key-of-some-length }\n")
    users: Any = SAMPLES["basic"].refusing
    (tmp_path / "users").write_text(f"ann:{users['users'][0]['hash']}:staff\n")
    example = yaml.safe_load(BLOCKS[number])
    if isinstance(example, list):  # a file of keys
        (tmp_path / "keys.yaml").write_text(BLOCKS[number])
        example = {"policies": {"keys": {"api_key": {"file": "keys.yaml"}}}}
    made = config_of({"legacy": {"http": ["127.0.0.1:1"]}})
    for name in ("login", "certs"):  # what the example of consumers speaks of
        if "consumers" in example:
            example.setdefault("policies", {})[name] = {"mtls": {}}
    build(load(written({**made, **example}, tmp_path), KINDS)).stop()


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 8
