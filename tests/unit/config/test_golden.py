"""One bad config, one message: tests/golden/config holds both. PROTOGW_UPDATE_GOLDEN=1 writes the messages anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from protogw.config import ConfigError, load
from tests.support.config_kinds import KINDS

GOLDEN = Path(__file__).parents[2] / "golden" / "config"
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))


@pytest.mark.parametrize("name", CASES)
def test_a_bad_config_is_told_with_every_fault_in_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    with pytest.raises(ConfigError) as raised:
        load(f"{name}.yaml", KINDS, {"NOT_A_PORT": "s3cret"})
    told = f"{raised.value}\n"
    expected = GOLDEN / f"{name}.txt"
    if os.environ.get("PROTOGW_UPDATE_GOLDEN"):
        expected.write_text(told)
    assert told == expected.read_text()
    assert "s3cret" not in told
    assert all(line.isprintable() for line in told.splitlines())


def test_faults_come_in_the_order_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    with pytest.raises(ConfigError) as raised:
        load("everything_at_once.yaml", KINDS)
    places = [(fault.line, fault.column) for fault in raised.value.faults]
    assert places == sorted(places)
    assert len(places) >= 8


def test_there_is_a_message_for_every_config_and_no_other() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == CASES
