"""resources: found in a checkout and, by the same names, in a wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from protogw import resources


def test_a_checkout_has_its_protos_beside_the_package() -> None:
    assert "service Library" in resources.resource("protos", "protogw", "demo", "library.proto").read_text()
    assert resources.protos().is_dir()


def test_a_wheel_has_them_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "protogw" / "_data" / "protos").mkdir(parents=True)
    (tmp_path / "protogw" / "_data" / "schema").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "protogw")
    assert resources.protos() == tmp_path / "protogw" / "_data" / "protos"
    assert resources.schemas() == tmp_path / "protogw" / "_data" / "schema"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"protos/none\.proto"):
        resources.resource("protos", "none.proto")
