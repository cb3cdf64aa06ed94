"""The log never holds the keeper up."""

import fcntl
import os
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from keeper.observe.outlet import Outlet


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    """A reader, and a writer that blocks after a page."""
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(out) as reader, os.fdopen(into, "w") as writer:
        yield reader, writer


@pytest.mark.fault("C44")
def test_a_reader_that_sleeps_holds_nobody_up_and_hears_what_it_missed(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    outlet = Outlet(writer, room=100)
    for n in range(1_000):
        outlet.write(f"{n} {'x' * 100}\n")  # returns, though nobody reads
    lines = list[str]()
    listening = threading.Thread(target=lambda: lines.extend(iter(reader.readline, "end\n")))
    listening.start()
    outlet.drain(10)
    outlet.write("end\n")
    listening.join(10)
    said = [line for line in lines if "log.dropped" not in line]
    [lost] = [line for line in lines if "log.dropped" in line]
    assert said[0].startswith("0 ") and 100 <= len(said) < 1_000
    assert lost == f'{{"event": "log.dropped", "lines": {1_000 - len(said)}}}\n'


def test_lines_come_in_order_and_all_of_them(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    outlet = Outlet(writer)
    for n in range(20):
        outlet.write(f"{n}\n")
    outlet.drain(10)
    assert [reader.readline() for _ in range(20)] == [f"{n}\n" for n in range(20)]


@pytest.mark.fault("C44")
def test_a_reader_that_is_gone_is_no_trouble() -> None:
    out, into = os.pipe()
    os.close(out)
    writer = os.fdopen(into, "w")
    outlet = Outlet(writer)
    outlet.write("anyone?\n")
    outlet.drain(10)
    with pytest.raises(OSError):
        writer.close()
