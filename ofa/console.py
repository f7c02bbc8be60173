"""One look for every verb: tables and JSON on standard output, progress and messages on standard error."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from math import ceil
from typing import TYPE_CHECKING, Any, TextIO

from ofa.errors import interrupted, printable
from ofa.files import readable_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Advance = Callable[..., None]
# What draws how far something has come: with a note, and rows under it.
Draw = Callable[[str, Mapping[str, str] | None], None]

PLAIN_WIDTH_CHARACTERS = 10_000
PLAIN_PROGRESS_EVERY_S = 10.0
# In a table that is wider than the terminal: up to so long cells stay whole, a folded one keeps so much, and what is
# between two.
SHORT_CHARACTERS = 20
FOLDED_CHARACTERS = 12
GAP_CHARACTERS = 3


def emit_json(value: Any) -> None:
    """Print one value as JSON on standard output: sorted keys, no NaN; what ``--json`` gives."""
    sys.stdout.write(readable_json(value))
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
    """Print a table on standard output; a column of numbers is set right.

    Text is printed as it stands but for control characters; see ``cell`` for the rest. Where the output is not a
    terminal there are no borders and no line is folded or cut.
    """
    from rich.table import Table
    from rich.text import Text

    console = _console(sys.stdout)
    grid = Table(box=_box(console), pad_edge=False)
    grid.show_header = any(columns)
    cells = [[cell(value) for value in row] for row in rows]
    whole = _whole([_lines_of(column) for column in columns], cells, console.width)
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) or row[index] is None for row in rows)
        grid.add_column(
            Text(_lines_of(column)),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=whole[index],
        )
    for row in cells:
        grid.add_row(*map(Text, row))
    with console.capture() as drawn:
        # Not the table's own title: that is folded to the width of its columns, and a path in two lines is none.
        if title:
            console.print(Text(_lines_of(title), style="italic"), soft_wrap=True)
        console.print(grid)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))


def _whole(columns: Sequence[str], cells: Sequence[Sequence[str]], width_characters: int) -> list[bool]:
    """Return which columns of a table are never folded: the shortest, as long as that leaves room for the others.

    A table that is too wide is otherwise folded everywhere a little, and numbers stand in two lines.
    """
    from rich.cells import cell_len

    widths = [
        max(cell_len(line) for text in (column, *(row[index] for row in cells)) for line in text.split("\n"))
        for index, column in enumerate(columns)
    ]
    left = width_characters - GAP_CHARACTERS * len(widths) - sum(min(width, FOLDED_CHARACTERS) for width in widths)
    whole = [False] * len(widths)
    for width, index in sorted((width, index) for index, width in enumerate(widths) if width <= SHORT_CHARACTERS):
        left -= max(0, width - FOLDED_CHARACTERS)
        whole[index] = left >= 0
    return whole


def listing(entries: Sequence[Mapping[str, Any]], *, title: str = "") -> None:
    """Print records of one kind as a table, a line each; the keys of the first are the columns."""
    table(list(entries[0]), [list(entry.values()) for entry in entries], title=title)


def show(facts: Mapping[str, Any], *, title: str = "") -> None:
    """Print plain data as tables: single values first, then one table for each list of records."""
    single = {key: value for key, value in facts.items() if not _records(value)}
    if single:
        table(("", ""), [(key, cell(value)) for key, value in _flat(single)], title=title)
    for key, value in facts.items():
        if records := _records(value):
            columns = list(dict.fromkeys(name for record in records for name in record))
            table(columns, [[record.get(name) for name in columns] for record in records], title=f"\n{key}")


def cell(value: Any) -> str:
    """Return a value as a table shows it: integers in thousands, other numbers to 4 digits, nothing as a dash."""
    if value is None or (isinstance(value, list | tuple) and not value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        said = [cell(item) for item in value]
        return (", " if any(" " in item for item in said) else " ").join(said)
    return _lines_of(str(value))


def note(text: str) -> None:
    """Say something on standard error, plainly."""
    _say(text, style=None)


def warn(text: str) -> None:
    """Say on standard error that something may not be as the user thinks."""
    _say(f"warning: {text}", style="yellow")


def fail(text: str) -> None:
    """Say on standard error why a command ends; ``text`` is a whole message of `ofa.errors`."""
    first, line_end, rest = text.partition("\n")
    _say(first, style="red")
    if line_end:
        _say(rest, style=None)


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Show how far something has come, on standard error: a live bar, or plain lines where that is not a terminal.

    Yields ``advance(steps=1, note="", rows=None, before=0, waiting=False)``; ``rows`` (name to text) stand under the
    live bar until others come. Of how long the other steps take neither those say anything that were done ``before``,
    by an earlier process, nor the time from an ``advance`` that is ``waiting`` to the next one.
    """
    console = _console(sys.stderr)
    pace = _Pace(total)
    is_live = console.is_terminal and not console.is_dumb_terminal
    with _bar(console, what, pace) if is_live else nullcontext(_lines(what, pace)) as draw:

        def advance(
            steps: int = 1,
            note: str = "",
            rows: Mapping[str, str] | None = None,
            before: int = 0,
            waiting: bool = False,
        ) -> None:
            pace.tell(steps, before, waiting)
            draw(note, rows)

        yield advance


class _Pace:
    """How fast something comes along, by its own steps and without the time in which something was only waited for."""

    def __init__(self, total: int) -> None:
        """Begin now, with nothing done."""
        self.total = total
        self.began_s = self.told_s = time.monotonic()
        self.done = self.found = 0
        self.waited_s, self.waits = 0.0, False

    def tell(self, steps: int, before: int, waiting: bool) -> None:
        """Take what was done since the last time, and whether something is waited for from now on."""
        now_s = time.monotonic()
        if self.waits:
            self.waited_s += now_s - self.told_s
        self.told_s, self.waits = now_s, waiting
        self.found += before
        self.done += steps + before

    def left_s(self) -> float | None:
        """Return how long the other steps take, as it was when something was told last; None once all are done."""
        own = self.done - self.found
        # Before anything is done nobody knows: 0 s would be a promise.
        if own <= 0 or self.done >= self.total:
            return None
        return (self.told_s - self.began_s - self.waited_s) / own * (self.total - self.done)

    def __rich__(self) -> Text:
        """Draw the time left: it runs down between two steps, and stands still while something is waited for."""
        from rich.text import Text

        left_s = 0.0 if self.done >= self.total else self.left_s()
        if left_s is None:
            return Text("-:--:--", style="progress.remaining")
        gone_s = 0.0 if self.waits else time.monotonic() - self.told_s
        whole_s = ceil(max(0.0, left_s - gone_s))
        return Text(f"{whole_s // 3600}:{whole_s // 60 % 60:02d}:{whole_s % 60:02d}", style="progress.remaining")


@contextmanager
def _bar(console: Console, what: str, pace: _Pace) -> Iterator[Draw]:
    """Draw one live line (what, bar, count, time gone, time left, note), and rows under it where there are any."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        RenderableColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        RenderableColumn(pace),
        TextColumn("{task.fields[note]}", markup=False),
    )
    bar = Progress(*columns, console=console)
    task = bar.add_task(what, total=pace.total, note="")
    with Live(bar, console=console, refresh_per_second=4) as live:

        def draw(note: str, rows: Mapping[str, str] | None) -> None:
            bar.update(task, completed=pace.done, note=note)
            if rows:
                live.update(Group(bar, _grid(rows)))

        yield draw


def _grid(rows: Mapping[str, str]) -> Any:
    """Return names and texts in two columns."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        grid.add_row(Text(name, style="dim"), Text(text))
    return grid


def _lines(what: str, pace: _Pace) -> Draw:
    """Return what writes a line now and then, and one when all is done."""
    said_s = pace.began_s

    def draw(note: str, rows: Mapping[str, str] | None) -> None:
        nonlocal said_s
        if pace.done < pace.total and pace.told_s - said_s < PLAIN_PROGRESS_EVERY_S:
            return
        said_s = pace.told_s
        left_s = pace.left_s()
        left = "" if left_s is None else f", about {left_s:.0f} s left"
        gone_s = pace.told_s - pace.began_s
        done = f"{pace.done:,} of {pace.total:,}"
        _say(f"{what}: {done}, {gone_s:.0f} s{left}" + (f" · {note}" if note else ""), style=None)

    return draw


def _say(text: str, *, style: str | None) -> None:
    """Print on standard error without reading markup or folding lines."""
    _console(sys.stderr).print(_lines_of(text), style=style, markup=False, highlight=False, soft_wrap=True)


def _lines_of(text: str) -> str:
    """Return a text whose only control characters are the ends of its lines."""
    return "\n".join(map(printable, text.split("\n")))


def _console(stream: TextIO) -> Console:
    """Return a console on a stream as it is now, since tests and pipes replace it; rich reads NO_COLOR."""
    from rich.console import Console

    width = None if stream.isatty() else PLAIN_WIDTH_CHARACTERS
    return Console(file=stream, width=width, highlight=False, emoji=False)


def _box(console: Console) -> Any:
    """Return light borders for a terminal, none elsewhere."""
    from rich.box import SIMPLE_HEAD

    return SIMPLE_HEAD if console.is_terminal else None


def _records(value: Any) -> list[Mapping[str, Any]]:
    """Return a non-empty list of mappings, or a mapping of mappings as such a list; else an empty list."""
    if isinstance(value, Mapping) and value and all(isinstance(item, Mapping) for item in value.values()):
        return [{"": key, **item} for key, item in value.items()]
    if isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
        return list(value)
    return []


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield single values with dotted names."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def silent(*_: object, **__: object) -> None:
    """Take the progress of a process that does not talk."""


@contextmanager
def resumable(what: str, line: str | None = None) -> Iterator[None]:
    """Turn Ctrl-C into an error that says ``what`` and the line to go on with: the same with --resume, or ``line``."""
    try:
        yield
    except KeyboardInterrupt:
        raise interrupted(what, resume=line or resume_line(sys.argv)) from None


def resume_line(arguments: Sequence[str]) -> str:
    """Return the command that goes on with what a command began: the same one with --resume."""
    # What torchrun was given does not reach its processes.
    launched = ["torchrun", "...", "--no-python"] if "TORCHELASTIC_RUN_ID" in os.environ else []
    line = [*launched, "ofa", *arguments[1:]]
    return shlex.join(line if "--resume" in line else [*line, "--resume"])
