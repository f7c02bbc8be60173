"""The last words of a process are those it said, in however many pieces they come."""

import pytest

from harness.transport.lastwords import MOST_LINE_BYTES, LastWords


def told(pieces: list[bytes]) -> str:
    said = LastWords()
    for piece in pieces:
        said.add(piece)
    return said.told()


@pytest.mark.parametrize("size", range(1, 60))
def test_pieces_of_any_size_are_put_together(size: int) -> None:
    text = b"a warning\nsh: 1: exec: no-such-python: not found\n\n"
    assert told([text[at : at + size] for at in range(0, len(text), size)]) == "sh: 1: exec: no-such-python: not found"


def test_a_line_without_an_end_counts_and_blanks_do_not() -> None:
    assert told([b"one\ntw", b"o"]) == "two"
    assert told([b"one\n", b"  "]) == "one"
    assert told([]) == told([b"\n \n"]) == ""


def test_what_is_kept_is_bounded() -> None:
    said = LastWords()
    for _ in range(100):
        said.add(b"x" * 100_000)
        assert len(said.rest) == MOST_LINE_BYTES
    said.add(b"\n")
    assert said.told() == "x" * MOST_LINE_BYTES


def test_a_line_that_is_taken_is_no_last_word() -> None:
    said = LastWords(lambda line: line == b"mark 12")
    said.add(b"why\nmark ")
    said.add(b"12\n")
    assert said.told() == "why"
