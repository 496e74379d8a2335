"""The program's own log."""

from __future__ import annotations

import json
import logging
import sys

from protogw.observe.program_log import ConsoleFormatter, JsonFormatter


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
