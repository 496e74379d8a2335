"""The sink: writes from its own thread, drops rather than waits, and goes on after the destination is well again."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from protogw.observe.line_sink import LineSink


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for another thread's doing."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if true():
            return
        pause.wait(0.005)
    raise AssertionError("it did not come about")


def test_blocks_are_appended_in_order(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"before\n")
    sink = LineSink(str(path))
    for index in range(500):
        sink.write(b"%d\n" % index, 1)
    sink.close()
    assert path.read_bytes() == b"before\n" + b"".join(b"%d\n" % index for index in range(500))
    assert sink.dropped == 0


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    path, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    sink = LineSink(str(path))
    sink.write(b"first\n", 1)
    until(lambda: path.read_bytes() == b"first\n")
    path.rename(moved)
    sink.reopen()
    sink.write(b"second\n", 1)
    sink.close()
    assert moved.read_bytes() == b"first\n"
    assert path.read_bytes() == b"second\n"


def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LineSink(str(tmp_path / "nosuch" / "access.log"))


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    sink = LineSink("/dev/full")
    sink.write(b"a\nb\n", 2)
    until(lambda: sink.dropped == 2)
    assert sink.error == "No space left on device"
    sink.close()


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Meanwhile no file may become longer: what fits is taken, then writing fails, as on a disk that is full."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)


def test_half_a_line_that_a_full_disk_took_is_ended_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = LineSink(str(path))
    with room_for(10):
        sink.write(b"first\nsecond\n", 2)
        until(lambda: sink.dropped == 2)
        sink.write(b"not at all\n", 1)
        until(lambda: sink.dropped == 3)
    sink.write(b"third\n", 1)
    until(lambda: path.read_bytes().endswith(b"third\n"))
    sink.write(b"fourth\n", 1)
    sink.close()
    assert path.read_bytes() == b"first\nseco\nthird\nfourth\n"


def test_a_whole_line_is_not_ended_again(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = LineSink(str(path))
    with room_for(6):
        sink.write(b"first\nsecond\n", 2)
        until(lambda: sink.dropped == 2)
    sink.write(b"third\n", 1)
    sink.close()
    assert path.read_bytes() == b"first\nthird\n"


def test_another_process_ends_the_line_that_the_first_could_not(tmp_path: Path) -> None:
    path, lock = tmp_path / "access.log", tmp_path / "lock"
    lock.touch()
    first, other = (LineSink(str(path), lock=str(lock)) for _ in range(2))
    with room_for(3):
        first.write(b"first\n", 1)
        until(lambda: first.dropped == 1)
    other.write(b"second\n", 1)
    other.close()
    first.write(b"third\n", 1)
    first.close()
    assert path.read_bytes() == b"fir\nsecond\nthird\n"


@pytest.mark.parametrize("lock", ["", "lock"])
def test_half_a_line_in_a_file_that_was_moved_away_is_nothing_to_the_next(tmp_path: Path, lock: str) -> None:
    path = tmp_path / "access.log"
    if lock:
        (tmp_path / lock).touch()
    sink = LineSink(str(path), lock=str(tmp_path / lock) if lock else "")
    with room_for(3):
        sink.write(b"first\n", 1)
        until(lambda: sink.dropped == 1)
    path.rename(tmp_path / "access.log.1")
    sink.reopen()
    sink.write(b"second\n", 1)
    until(lambda: path.exists() and path.read_bytes() == b"second\n")
    sink.reopen()
    sink.write(b"third\n", 1)
    sink.close()
    assert path.read_bytes() == b"second\nthird\n"


def test_a_reader_that_does_not_read_costs_lines_never_time(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = LineSink(str(path), max_waiting=1 << 20)
    block = b"x" * 65535 + b"\n"
    for _ in range(64):  # 4 MiB into a pipe that holds 64 KiB and a queue that holds 1 MiB
        sink.write(block, 1)
    assert 64 > sink.dropped > 40
    os.close(reader)  # the writer's thread gets EPIPE, and with it its end
    sink.close()


def test_it_goes_on_once_the_destination_is_well_again(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = LineSink(str(path))
    path.unlink()
    folder = tmp_path / "access.log"
    folder.mkdir()
    sink.reopen()
    sink.write(b"lost\n", 1)
    until(lambda: sink.dropped == 1)
    assert sink.error == "Is a directory"
    sink.write(b"lost\n", 1)
    until(lambda: sink.dropped == 2)
    folder.rmdir()
    sink.write(b"kept\n", 1)
    sink.close()
    assert path.read_bytes() == b"kept\n"
    assert sink.error == ""


def test_after_closing_nothing_is_taken(tmp_path: Path) -> None:
    sink = LineSink(str(tmp_path / "access.log"))
    sink.close()
    sink.write(b"late\n", 1)
    assert sink.dropped == 1
