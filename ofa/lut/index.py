"""The list of tables in `luts/README.md`: one line a table, made from the tables themselves between two marks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ofa import files
from ofa.errors import FileInvalid
from ofa.lut import check, errors, noise, verdicts
from ofa.lut.markdown import held_out_error, pct, table
from ofa.lut.validity import STALE, said
from ofa.lut.verdicts import Watch, unwatched

PAGE = "README.md"
BEGIN = "<!-- tables: 'ofa lut index' writes what stands from here -->"
END = "<!-- to here -->"
NONE = "There are no tables yet: `ofa demo` measures the computer it runs on and keeps its tables under `runs/demo`."
COLUMNS = (
    "device", "runtime", "precision", "conditions", "spaces", "ops", "noise", "held-out error", "units", "created",
)  # fmt: skip
# A table lies two folders below the page that lists it, unless somebody sorts them further.
MOST_ABOVE = 4
NUMBERS = ("ops", "noise", "held-out error", "units")


def index(root: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Return the tables below a folder and whether its page lists other ones: {"root", "stale", "tables": [...]}.

    A table is what `ofa lut check` sums up, its path relative to the root, and "held_out", its error on its own
    held-out networks. Raises FileInvalid for an invalid table, and where the page has no place for the list.
    """
    root = Path(root)
    tables = entries(root, watch)
    return {"root": str(root), "stale": _page(root) != _with(root, tables), "tables": tables}


def write(root: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Write the list into the folder's page and return what ``index`` returned before; a page that is right is not
    touched.

    Raises FileInvalid as ``index`` does, or where the page cannot be written.
    """
    found = index(root, watch)
    if found["stale"]:
        files.write_atomic(Path(root) / PAGE, _with(Path(root), found["tables"]))
    return found


def commands(folder: Path) -> list[str]:
    """Return what to type once a table or the record beside it changed, so that the page above it that lists tables
    says so; nothing where there is none."""
    for root in Path(folder).absolute().parents[:MOST_ABOVE]:
        with suppress(FileInvalid, UnicodeDecodeError):
            if BEGIN in files.read_capped(root / PAGE, max_bytes=files.MEBIBYTE, what="page").decode():
                here = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root
                return [f"ofa lut index {shlex.quote(str(here))}"]
    return []


def refuse(found: Mapping[str, Any]) -> None:
    """Raise FileInvalid, exit code 3, where ``index`` found the page stale."""
    if found["stale"]:
        raise errors.index_stale(Path(found["root"]) / PAGE)


def entries(root: Path, watch: Watch = unwatched) -> list[dict[str, Any]]:
    """Return what each table below a folder is, in a fixed order; raises FileInvalid for an invalid one.

    One that was found valid and has not changed is not read again (`verdicts`).
    """
    found, folders = [], check.below(root)
    with watch(len(folders)) as on_table:
        for folder, judged in verdicts.each(folders, check.judged):
            if isinstance(judged, FileInvalid):
                raise judged
            path = folder.relative_to(root).as_posix()
            found.append(judged["summary"] | {"path": path, "held_out": judged["held_out"]})
            on_table()
    return sorted(found, key=lambda entry: [entry[name] for name in (*COLUMNS[:4], "path")])


def markdown(tables: Sequence[Mapping[str, Any]]) -> str:
    """Return the list of tables as Markdown; equal tables give equal text."""
    if not tables:
        return NONE + "\n"
    return "\n".join(table(COLUMNS, map(_cells, tables), right=NUMBERS)) + "\n"


def _cells(entry: Mapping[str, Any]) -> list[str]:
    """Return a table as one line of the list; a device links to the folder."""
    return [
        f"[{entry['device']}]({quote(entry['path'])}/)",
        entry["runtime"],
        entry["precision"],
        entry["conditions"] + (" (simulated)" if entry["simulated"] else ""),
        "<br>".join(entry["spaces"]),
        f"{entry['ops']:,}" + (f" ({entry['modelled']:,} modelled)" if entry["modelled"] else ""),
        _noise(entry["noise"]),
        "<br>".join(map(held_out_error, entry["held_out"])),
        f"{entry['units']:,}",
        entry["created"] + _rechecked(entry["rechecked"]),
    ]


def _noise(found: Mapping[str, Any]) -> str:
    """Return how well the median row of a table is known, and the marks of one whose rows are mostly noisy or were
    measured beside other work."""
    widths = found["half_width_pct"]
    said = [f"± {pct(widths['median'])}" if widths else pct(None)]
    if noise.mostly_noisy(found):
        # Rounded down: only where every row is noisy are all of them.
        said.append(f"{100 * found['noisy'] // found['measured']} % noisy")
    if "loaded" in noise.disturbed(found):
        said.append("**loaded**")
    return "<br>".join(said)


def _rechecked(last: Mapping[str, Any] | None) -> str:
    """Return the mark of the recheck of a table that counts."""
    if last is None:
        return ""
    verdict = said(last["verdict"], last["tolerance_pct"])
    return f"<br>**{verdict}** {last['date']}" if last["verdict"] == STALE else f"<br>{verdict} {last['date']}"


def _page(root: Path) -> str:
    """Return the text of the page; raises FileInvalid where there is none, saying what it must hold."""
    if not (root / PAGE).exists():
        raise errors.no_place_for_index(root / PAGE, BEGIN, END)
    raw = files.read_capped(root / PAGE, max_bytes=files.MEBIBYTE, what="page")
    try:
        return raw.decode()
    except UnicodeDecodeError as fault:
        raise errors.no_place_for_index(root / PAGE, BEGIN, END) from fault


def _with(root: Path, tables: Sequence[Mapping[str, Any]]) -> str:
    """Return the page with the list between its marks; raises FileInvalid where they are not there once, in order."""
    text = _page(root)
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before or END in after:
        raise errors.no_place_for_index(root / PAGE, BEGIN, END)
    return f"{before}{BEGIN}\n\n{markdown(tables)}\n{END}{after}"
