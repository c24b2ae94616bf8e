"""The live log's lines."""

from __future__ import annotations

import io
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nodes.graph.logs import MAX_LINE, LineSplitter, LiveLog, split_level


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_lines_do_not_depend_on_how_the_bytes_come(data: bytes, cuts: list[int]) -> None:
    whole, parts = LineSplitter(), LineSplitter()
    expected = whole.feed(data) + whole.end()
    edges = [0, *sorted(cuts), len(data)]
    got = [line for start, end in pairwise(edges) for line in parts.feed(data[start:end])]
    assert got + parts.end() == expected


def test_a_line_without_an_end_is_cut_and_its_rest_passed_over() -> None:
    splitter = LineSplitter()
    first = splitter.feed(b"x" * (5 * MAX_LINE))
    assert len(first) == 1
    for _ in range(100):
        assert splitter.feed(b"x" * MAX_LINE) == []
    assert splitter.feed(b"tail\nnext\n") == ["next"]


def test_the_level_comes_from_the_mark() -> None:
    assert split_level("\x1eWARNING\x1ehot") == ("WARNING", "hot")
    assert split_level("plain") == ("OUT", "plain")
    assert split_level("\x1ebroken") == ("OUT", "\x1ebroken")


def test_control_characters_and_length_are_bounded_and_colours_only_on_a_terminal() -> None:
    stream = io.StringIO()
    log = LiveLog(stream)
    log.write("cam", "ERROR", "a\x1b[2Jb\x07" + "y" * 10_000)
    line = stream.getvalue()
    assert "\x1b" not in line
    assert "\x07" not in line
    assert len(line) < MAX_LINE + 100

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    LiveLog(terminal).error("x")
    assert terminal.getvalue().startswith("\x1b[31m")


def test_a_closed_terminal_does_not_end_the_graph() -> None:
    stream = io.StringIO()
    log = LiveLog(stream)
    stream.close()
    log.info("nobody reads this")
