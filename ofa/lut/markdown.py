"""How facts about tables are written in Markdown: text of files made harmless, tables, percentages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ofa.errors import printable

MOST_CHARACTERS = 60


def code(value: Any) -> str:
    """Return a value that a file gave as a code span: on one line, cut where it is long, unable to end the span.

    Nothing in it is Markdown, HTML or a mention any more, so a table cannot write into the page that describes it.
    """
    text = short(value)
    # Readers disagree on whether a pipe after a backslash ends the cell of a table.
    text = text.replace("`", "'").replace("\\|", "\\¦")
    return f"`{text}`" if text.strip() else "(empty)"


def short(value: Any) -> str:
    """Return a value that a file gave as text on one line, cut where it is long: a string as it is, others as JSON."""
    text = printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True))
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> list[str]:
    """Return the lines of a table; the columns named ``right`` are set right."""
    rule = ["---:" if column in right else "---" for column in columns]
    return [_line(columns), "|" + "|".join(rule) + "|", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    """Return one line of a table; a pipe within a cell is escaped, which a code span alone does not do."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def shortened(lines: list[str], most: int, what: str) -> list[str]:
    """Return at most ``most`` lines; where some are left out, a table's last line says how many."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"| … {len(lines) - most + 1:,} more {what} |"]


def change(ratio: float) -> str:
    """Return a ratio as a change: "+3.2 %"."""
    # Adding 0 turns -0.0 into 0.0.
    return f"{round(100 * (ratio - 1), 1) + 0.0:+.1f} %"


def ms(value: float) -> str:
    """Return milliseconds to four digits."""
    return f"{value:.4g}"


def pct(value: float | None) -> str:
    """Return a percentage with one decimal; a dash for None."""
    return "–" if value is None else f"{value:.1f} %"


def held_out_error(entry: Mapping[str, Any] | None) -> str:
    """Return a table's error on the held-out networks of one space, and of how many; a dash where it has none."""
    if entry is None or entry["mape_pct"] is None:
        return pct(None)
    return f"{pct(entry['mape_pct'])} of {entry['holdout']:,}"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: "1 row", "2 rows"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
