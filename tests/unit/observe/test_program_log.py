"""The program's own log."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import pytest

from protogw.observe.line_sink import LineSink
from protogw.observe.program_log import ConsoleFormatter, JsonFormatter, SinkHandler


def record(message: str, level: int = logging.INFO, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("protogw", level, __file__, 1, message, arguments, None)


def test_information_stands_without_a_level() -> None:
    line = ConsoleFormatter(colour=False).format(record("listening on %s", logging.INFO, "x"))
    assert line[8:] == " listening on x"


def test_levels_are_coloured_on_a_terminal_alone() -> None:
    warning = record("careful", logging.WARNING)
    assert ConsoleFormatter(colour=True).format(warning).endswith("\x1b[33mwarning: careful\x1b[0m")
    assert ConsoleFormatter(colour=False).format(warning).endswith(" warning: careful")


def test_what_others_sent_cannot_steer_the_terminal() -> None:
    line = ConsoleFormatter(colour=False).format(record("said %s", logging.ERROR, "\x1b[2J\nforged"))
    assert line.endswith(r"error: said \x1b[2J\nforged")


def test_json_is_one_object_a_line_with_the_traceback_inside() -> None:
    try:
        raise ValueError("x")
    except ValueError:
        one = logging.LogRecord("protogw", logging.ERROR, __file__, 1, "a\nb", (), sys.exc_info())
    line = JsonFormatter().format(one)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["message"]) == ("error", "a\nb")
    assert "ValueError: x" in found["traceback"]


def test_a_traceback_cannot_steer_the_terminal_either() -> None:
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        one = logging.LogRecord("protogw", logging.ERROR, __file__, 1, "a", (), sys.exc_info())
    line = ConsoleFormatter(colour=False).format(one)
    assert r"ValueError: \x1b[2J" in line
    assert "\x1b" not in line


def test_logging_never_waits_for_who_reads_it() -> None:
    reading, writing = os.pipe()
    handler = SinkHandler(LineSink(f"/dev/fd/{writing}", max_waiting=100_000))
    os.close(writing)
    for number in range(5000):
        handler.emit(record("a line of some length to fill the pipe with, number %d", logging.INFO, number))
    assert os.read(reading, 100).startswith(b"a line of some length to fill the pipe with, number 0\n")
    os.close(reading)
    handler.close()


def test_a_line_that_cannot_be_made_is_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = SinkHandler(LineSink(str(tmp_path / "log")))
    handler.emit(record("%d", logging.INFO, "not a number"))
    handler.emit(record("well"))
    handler.close()
    assert (tmp_path / "log").read_text() == "well\n"
