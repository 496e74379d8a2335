"""Bytes → a file, from a thread of its own, so that a slow, dead or full destination never holds up the caller.

Bounded: what does not fit is dropped and counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Final

MAX_WAITING_BYTES = 8 << 20
_BATCH: Final = 64


class LineSink:
    """Appends blocks of whole lines to stdout, stderr or a file. Opened at once, so that a bad path is told at start.

    Raises OSError when the file cannot be opened.
    """

    def __init__(self, path: str, *, max_waiting: int = MAX_WAITING_BYTES, lock: str = "") -> None:
        """`lock` is a file that is locked while a block is written, where other processes write to the same path: a
        pipe takes only 4 KiB in one piece. They tell each other by its length whether the last line is whole: to say
        so takes no room on a disk that is full."""
        self.path = path
        self._lock = os.open(lock, os.O_RDWR | os.O_CLOEXEC) if lock else -1
        self.error = ""
        """Why the last write failed, empty while writing works."""
        self._max_waiting = max_waiting
        self._waiting: SimpleQueue[tuple[bytes, int] | None] = SimpleQueue()
        self._taking = threading.Lock()
        # Each number is written by one side only: by those who hand over, under their lock, or by the thread.
        self._taken = self._refused = 0
        self._done = self._lost = 0
        self._closing = False
        self._reopening = False
        self._torn = False
        """The last byte that was written ends no line."""
        self._fd = self._open()
        self._thread = threading.Thread(target=self._run, name=f"log {path}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Blocks' lines that found no room or could not be written."""
        return self._refused + self._lost

    def write(self, block: bytes, lines: int) -> None:
        """Hand over a block of whole lines; never waits for the destination."""
        with self._taking:
            if self._taken - self._done + len(block) > self._max_waiting or self._closing:
                self._refused += lines
                return
            self._taken += len(block)
            self._waiting.put((block, lines))

    def reopen(self) -> None:
        """Open the path anew before the next write: the file has been moved away."""
        self._reopening = True

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits, but not for longer than this."""
        with self._taking:
            if not self._closing:
                self._closing = True
                self._waiting.put(None)
        self._thread.join(timeout_s)

    def _open(self) -> int:
        if self.path == "stdout":
            return os.dup(1)
        if self.path == "stderr":
            return os.dup(2)
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _run(self) -> None:
        # Each step of another thread takes the interpreter away from the loop, so there are few.
        waiting = self._waiting
        while (one := waiting.get()) is not None:
            batch = [one]
            while len(batch) < _BATCH and not waiting.empty():
                another = waiting.get()
                if another is None:
                    waiting.put(None)
                    break
                batch.append(another)
            self._write(batch)
            # Counted only now: what is being written is still held.
            self._done += sum([len(block) for block, _ in batch])
        os.close(self._fd)
        if self._lock >= 0:
            os.close(self._lock)

    def _write(self, batch: Sequence[tuple[bytes, int]]) -> None:
        try:
            with self._alone():
                if self._reopening:
                    self._reopen()
                self._write_all(b"".join([block for block, _ in batch]))
            self.error = ""
        except OSError as error:
            self.error = error.strerror or str(error)
            self._lost += sum([lines for _, lines in batch])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other process writes."""
        lock = self._lock
        if lock < 0:
            yield
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            torn = self._torn = os.fstat(lock).st_size > 0
            try:
                yield
            finally:
                if self._torn != torn:
                    os.ftruncate(lock, self._torn)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)

    def _reopen(self) -> None:
        self._reopening = False
        try:
            fresh = self._open()
        except OSError:
            self._reopening = True  # until it can be: the old file may be deleted by now
            raise
        if not os.path.sameopenfile(fresh, self._fd):
            self._torn = False
        os.close(self._fd)
        self._fd = fresh

    def _write_all(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:  # a pipe shared with a program that made it non-blocking
                    with contextlib.suppress(OSError):
                        select.select([], [self._fd], [], 1.0)
        finally:
            # A disk that is full may have taken half a line, which the next one must not go on.
            if written := len(data) - len(view):
                self._torn = not data.endswith(b"\n", 0, written)

    def __repr__(self) -> str:
        return f"<LineSink {self.path} {self._taken - self._done} bytes waiting, {self.dropped} lines dropped>"
