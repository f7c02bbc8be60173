"""Tables and JSON go to standard output, everything else to standard error; no terminal, no decoration."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from ofa import console


def test_json_is_all_that_standard_output_gets(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("reading")
    console.warn("[red]odd[/red] :smile:")
    console.emit_json({"ms": 1.5, "name": "µ"})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"ms": 1.5, "name": "µ"} and out.endswith("\n")
    assert err == "reading\nwarning: [red]odd[/red] :smile:\n"


def test_json_refuses_what_json_has_no_word_for() -> None:
    with pytest.raises(ValueError, match="JSON"):
        console.emit_json({"ms": float("nan")})


def test_a_piped_table_is_plain_whole_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    long = "mbconv." + "x" * 300
    console.table(("op", "ns"), [(long, 12), ("[b]short", 1_234_567)], title="ops")
    title, head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["op", "ns"]
    assert first.split() == [long, "12"] and second.split() == ["[b]short", "1,234,567"]
    assert len(first) == len(second) == len(head) and title == "ops"


def test_a_title_longer_than_its_table_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.show({"a": 1, "none": []}, title="runs/a-long-name/labels.csv")
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "runs/a-long-name/labels.csv" and out[-1].split() == ["none", "–"]


def test_show_puts_records_below_single_values(capsys: pytest.CaptureFixture[str]) -> None:
    console.show({"name": "tiny", "corners": {"max": {"macs": 10}, "min": {"macs": 2}}, "deep": {"width": 1.0}})
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == ["name", "tiny"]
    assert ["deep.width", "1"] in lines and lines.index(["max", "10"]) < lines.index(["min", "2"])


def test_no_text_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    steering = "a\x1b]0;owned\x07\x9b2J\r\b\u202e\udc80"
    escaped = r"a\x1b]0;owned\x07\x9b2J\r\x08\u202e\udc80"
    for say in (console.note, console.warn, console.fail):
        say(f"{steering}\nnext line")
    console.table((steering, "list"), [(steering, [steering])], title=steering)
    console.show({steering: {steering: steering}})
    out, err = capsys.readouterr()
    assert (out + err).replace("\n", "").isprintable()
    assert out.count(escaped) == 7 and err.count(f"{escaped}\nnext line\n") == 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        ([], "–"),
        (True, "yes"),
        (12345, "12,345"),
        (0.123456, "0.1235"),
        (98765.4, "98,765"),
        ([1, None], "1 –"),
        (["a b", "c"], "a b, c"),
        ("a", "a"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    assert console.cell(value) == shown


def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Return a function that says what a terminal of 80 columns shows from now on."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", stream)
    for name, value in {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    return lambda: re.sub("\x1b\\[[0-9;]*m", "", stream.getvalue())


def test_a_long_cell_is_folded_and_short_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    long = "mbconv with 7x7 depthwise kernels, and all the rest that can be said of such"
    short = ("hot", "399 of 399 faster", "-87.0 %", "-87.3 % to -86.8 %")
    console.table(("group", "state", "rows", "beside all", "95 % interval"), [(long, *short)])
    shown = screen()
    assert all(len(line) <= 80 for line in shown.splitlines()) and len(shown.splitlines()) > 4
    assert all(cell in shown for cell in (*short, "beside all", "95 % interval"))
    assert "".join(long.split()) in "".join(line[:18].replace(" ", "") for line in shown.splitlines())


def test_cells_that_cannot_all_stand_whole_are_folded_and_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    cells = [f"{letter * 14}{index}" for index, letter in enumerate("abcdefgh")]
    console.table(tuple(map(str, range(8))), [cells])
    shown = screen()
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert all(shown.count(letter) == 14 for letter in "abcdefgh")


def test_progress_without_a_terminal_is_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(float(second) for second in (0, 10, 14, 21, 22, 25))
    monkeypatch.setattr("ofa.console.time.monotonic", lambda: next(clock))
    with console.progress("measuring", 4) as advance:
        advance(0, note="begins")
        advance()
        advance(note="mbconv 1.2 ms")
        advance()
        advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "measuring: 0 of 4, 10 s · begins",
        "measuring: 2 of 4, 21 s, about 21 s left · mbconv 1.2 ms",
        "measuring: 4 of 4, 25 s",
    ]


def test_what_was_done_before_says_nothing_of_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(float(second) for second in (0, 10, 20))
    monkeypatch.setattr("ofa.console.time.monotonic", lambda: next(clock))
    with console.progress("training", 100) as advance:
        advance(before=89)
        advance()
    assert capsys.readouterr().err.splitlines() == [
        "training: 90 of 100, 10 s, about 100 s left",
        "training: 91 of 100, 20 s, about 90 s left",
    ]


def test_what_was_only_waited_for_says_nothing_of_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(float(second) for second in (0, 10, 20, 320, 620, 630))
    monkeypatch.setattr("ofa.console.time.monotonic", lambda: next(clock))
    with console.progress("measuring", 100) as advance:
        advance(10)
        advance(0, note="waiting", waiting=True)
        advance(0, note="still waiting", waiting=True)
        advance(0, note="begins")
        advance(10)
    assert capsys.readouterr().err.splitlines() == [
        "measuring: 10 of 100, 10 s, about 90 s left",
        "measuring: 10 of 100, 20 s, about 180 s left · waiting",
        "measuring: 10 of 100, 320 s, about 180 s left · still waiting",
        "measuring: 10 of 100, 620 s, about 180 s left · begins",
        "measuring: 20 of 100, 630 s, about 120 s left",
    ]


def live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let standard error be a terminal that shows a bar."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("waiting", "left"), [(True, "0:03:00"), (False, "0:00:00")], ids=["waits for other work", "works"]
)
def test_a_live_line_says_the_same_of_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], waiting: bool, left: str
) -> None:
    live(monkeypatch)
    now_s = [0.0]
    monkeypatch.setattr("ofa.console.time", SimpleNamespace(monotonic=lambda: now_s[0]))
    with console.progress("measuring", 100) as advance:
        now_s[0] = 10.0
        advance(10)
        now_s[0] = 20.0
        advance(0, waiting=waiting)
        now_s[0] = 620.0
    # The last of the times that were drawn.
    assert re.findall(r"\d:\d\d:\d\d", capsys.readouterr().err)[-1] == left


def test_progress_on_a_terminal_is_one_live_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    live(monkeypatch)
    with console.progress("measuring", 2) as advance:
        advance(2, note="[done]")
    out, err = capsys.readouterr()
    assert out == "" and "2/2" in err and "[done]" in err and "\x1b[" in err
