"""The program's own log: what it does and what goes wrong, one line each on stderr.

Written by a thread of its own: clients can cause lines, and a stderr that is full or that nobody reads must not stop
calls.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import orjson

from protogw.observe.line_sink import LineSink

MOST_WAITING_BYTES = 1 << 20

_MARKS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}


class ConsoleFormatter(logging.Formatter):
    """Time, level and message on one line; a traceback, where there is one, follows it."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        mark = _MARKS.get(record.levelname, "") if self._colour else ""
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = f"{at} {mark}{level}{_printable(record.getMessage())}{chr(27) + '[0m' if mark else ''}"
        if record.exc_info:
            lines = self.formatException(record.exc_info).split("\n")
            line += "".join([f"\n{_printable(part)}" for part in lines])
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=str).decode()


class SinkHandler(logging.Handler):
    """Hands every line to a sink, which never waits and drops what does not fit."""

    def __init__(self, sink: LineSink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write(self.format(record).encode(errors="backslashreplace") + b"\n", 1)
        except Exception:  # noqa: BLE001 — as every handler of logging's own: a line that cannot be made is not worth a call
            self.handleError(record)

    def close(self) -> None:
        """Called by logging when the program ends."""
        self._sink.close()
        super().close()


def set_up(*, json: bool, colour: bool, level: int = logging.INFO) -> None:
    """Send the program's log to stderr, replacing whatever was set up before."""
    handler = SinkHandler(LineSink("stderr", max_waiting=MOST_WAITING_BYTES))
    handler.setFormatter(JsonFormatter() if json else ConsoleFormatter(colour=colour))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a stderr that is gone must not add a traceback to each line
    for noisy in ("asyncio", "aiohttp.access", "aiohttp.server"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


def _printable(text: str) -> str:
    """The message with what could steer a terminal escaped; tabs and line ends of its own are kept apart by it too."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
