"""Spoilt rows: every line of `ops.csv` and `networks.csv` that is not as written is refused, with its number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofa.errors import FileInvalid
from ofa.lut import format, rows
from ofa.lut.format import Lut

Change = Callable[[str], str | bytes]

OPS_COLUMNS = "key,state,status,ns,lo,hi,cpu_ns,wall_ns,rounds,flags,session"
NETWORK_COLUMNS = (
    "space,id,genome,split,status,ns,lo,hi,cpu_ns,wall_ns,rounds,flags,session,"
    "init_ns,first_ns,p95_ns,again_ns,peak_rss_kib,file_bytes"
)


def field(name: str, value: str, status: str = "ok") -> Change:
    """Return a change of one field of the first line (but the overhead's) that has a status."""

    def change(text: str) -> str:
        lines = text.split("\n")
        columns = lines[0].split(",")
        at = next(n for n, line in enumerate(lines) if n and not line.startswith("@") and f",{status}," in line)
        fields = lines[at].split(",")
        fields[columns.index(name)] = value
        return "\n".join([*lines[:at], ",".join(fields), *lines[at + 1 :]])

    return change


def both(*changes: Change) -> Change:
    """Return one change after another."""

    def change(text: str) -> str:
        for each in changes:
            after = each(text)
            assert isinstance(after, str)
            text = after
        return text

    return change


def lines(edit: Callable[[list[str]], list[str]]) -> Change:
    """Return a change of the list of lines."""
    return lambda text: "\n".join(edit(text.split("\n")))


def energy(value: str, low: str, high: str) -> Change:
    """Return a change that gives every line of ops energies."""
    return lines(
        lambda all_: [
            all_[0] + ",energy_uj,energy_lo,energy_hi",
            *(f"{line},{value},{low},{high}" for line in all_[1:-1]),
            "",
        ]
    )


WHOLE = "must be a whole number"
# file, change, what the reason has to say
SPOILT: dict[str, tuple[str, Change, str]] = {
    "no key": ("ops", field("key", ""), "key is ''"),
    "upper-case key": ("ops", field("key", "MBConv"), "key is 'MBConv'"),
    "no op": ("ops", field("key", "conv.k3"), "'conv.k3' is no op"),
    "key with a zero": ("ops", field("key", "head.i064x4.o10.m256-256.hswish.n1"), "'head.i064x4.o10.m256"),
    "key of two sizes": ("ops", field("key", "bottleneck.k3.s1.i64x56.o256x55.m88.relu.n1"), "o256x56"),
    "long key": ("ops", field("key", "mbconv" + 300 * "9"), "mbconv999"),
    "unknown state": ("ops", field("state", "warm"), "state is 'warm'; it must be one of hot, cold, -"),
    "unknown status": ("ops", field("status", "good"), "status is 'good'; it must be one of ok, noisy"),
    "negative": ("ops", field("ns", "-5"), f"ns is '-5'; it {WHOLE}"),
    "float": ("ops", field("lo", "5.0"), f"lo is '5.0'; it {WHOLE}"),
    "exponent": ("ops", field("hi", "1e6"), f"hi is '1e6'; it {WHOLE}"),
    "nan": ("ops", field("ns", "nan"), f"ns is 'nan'; it {WHOLE}"),
    "NaN": ("ops", field("cpu_ns", "NaN"), f"cpu_ns is 'NaN'; it {WHOLE}"),
    "infinite": ("ops", field("wall_ns", "inf"), f"wall_ns is 'inf'; it {WHOLE}"),
    "signed": ("ops", field("ns", "+5"), f"ns is '+5'; it {WHOLE}"),
    "spaced": ("ops", field("ns", " 5"), f"ns is ' 5'; it {WHOLE}"),
    "leading zero": ("ops", field("ns", "05"), f"ns is '05'; it {WHOLE}"),
    "thousands": ("ops", field("ns", "1_000"), f"ns is '1_000'; it {WHOLE}"),
    "too many digits": ("ops", field("hi", "9" * 19), f"hi is '{'9' * 19}'; it {WHOLE}"),
    "quoted": ("ops", field("ns", '"5"'), "ns is '\"5\"'; it"),
    "no rounds": ("ops", field("rounds", ""), f"rounds is ''; it {WHOLE}"),
    "true": ("ops", field("rounds", "True"), f"rounds is 'True'; it {WHOLE}"),
    "flag in upper case": ("ops", field("flags", "Wide"), "flags is 'Wide'"),
    "flags between commas": ("ops", field("flags", "drift,wide"), "12 fields"),
    "flags not sorted": ("ops", field("flags", "wide;drift"), "flags must be sorted, each once"),
    "flag twice": ("ops", field("flags", "wide;wide"), "'wide;wide'"),
    "empty flag": ("ops", field("flags", "wide;"), "flags is 'wide;'"),
    "control character": ("ops", field("flags", "a\x1b[31m"), r"flags is 'a\x1b[31m'"),
    "session with a slash": ("ops", field("session", "a/b"), "session is 'a/b'"),
    "session not there": ("ops", field("session", "s9"), "session 's9' is not in 'sessions.jsonl'"),
    "below its interval": ("ops", field("lo", "999999999"), "ns must lie between lo and hi"),
    "above its interval": ("ops", field("hi", "1"), "ns must lie between lo and hi"),
    "no interval": ("ops", field("lo", ""), "ns, lo and hi must be there together"),
    "no time of its own": ("ops", field("ns", ""), "ns, lo and hi must be there together"),
    "no time at all": ("ops", both(field("ns", "0"), field("lo", "0")), "be above 0"),
    "ok without time": (
        "ops", both(*(field(name, "") for name in ("ns", "lo", "hi"))), "status 'ok' needs a time"
    ),
    "ok without session": ("ops", field("session", ""), "status 'ok' needs a session"),
    "ok without rounds": ("ops", field("rounds", "0"), "status 'ok' needs at least one round"),
    "noisy without session": ("ops", field("session", "", "noisy"), "status 'noisy' needs a session"),
    "modelled without time": (
        "ops", both(*(field(name, "", "modelled") for name in ("ns", "lo", "hi"))), "status 'modelled' needs a time"
    ),
    "unsupported with time": (
        "ops", both(*(field(name, "5", "unsupported") for name in ("ns", "lo", "hi"))), "status 'unsupported' has no"
    ),
    "failed with CPU time": ("ops", field("cpu_ns", "77", "failed"), "'77'"),
    "no energy in its columns": ("ops", energy("", "", ""), "no line has any"),
    "one energy column": (
        "ops", lines(lambda all_: [all_[0] + ",energy_uj", *all_[1:]]), "optional ones come all or none"
    ),
    "unknown column": ("ops", lambda text: text.replace("wall_ns", "wal_ns", 1), "unknown column 'wal_ns'"),
    "missing column": ("ops", lambda text: text.replace(",wall_ns", "", 1), "column 'wall_ns' is missing"),
    "other order": ("ops", lambda text: text.replace("ns,lo", "lo,ns", 1), "columns 'ns' and 'lo' stand in each"),
    "moved column": ("ops", lambda text: text.replace("key,state,st", "state,key,st", 1), "columns 'key' and"),
    "no header line": ("ops", lines(lambda all_: all_[1:]), "unknown column"),
    "field too many": ("ops", lines(lambda all_: [*all_[:4], all_[4] + ",1", *all_[5:]]), "12 fields"),
    "field too few": ("ops", lines(lambda all_: [*all_[:4], all_[4].rpartition(",")[0], *all_[5:]]), "10 fields"),
    "empty line": ("ops", lines(lambda all_: [*all_[:4], "", *all_[4:]]), "key is ''"),
    "comment": ("ops", lines(lambda all_: [*all_[:4], "# by hand", *all_[4:]]), "key is '# by hand'"),
    "not sorted": ("ops", lines(lambda all_: [*all_[:4], all_[5], all_[4], *all_[6:]]), "sorted bytewise"),
    "states not sorted": ("ops", lines(lambda all_: [*all_[:2], all_[3], all_[2], *all_[4:]]), "sorted bytewise"),
    "line twice": ("ops", lines(lambda all_: [*all_[:4], all_[4], *all_[4:]]), "each may come once"),
    "cut within a line": ("ops", lambda text: text[:-9], "cut short"),
    "CRLF": ("ops", lambda text: text.replace("\n", "\r\n"), "CR LF"),
    "one CR": ("ops", lines(lambda all_: [*all_[:4], all_[4] + "\r", *all_[5:]]), "CR LF"),
    "not ASCII": ("ops", field("session", "sé"), "byte 0xc3 is no ASCII text"),
    "byte order mark": ("ops", lambda text: "\ufeff" + text, "byte 0xef is no ASCII text"),
    "UTF-16": ("ops", lambda text: text.encode("utf-16"), "no ASCII text"),
    "NUL": ("ops", field("session", "s1\0"), r"session is 's1\x00'"),
    "very long line": ("ops", field("flags", "a" * 3000), "at most 2,000 are read"),
    "network of no space": ("networks", field("space", ""), "space is ''"),
    "id in upper case": ("networks", field("id", "ABCDEF012345"), "id is 'ABCDEF012345'; it must be 12 hex digits"),
    "short id": ("networks", field("id", "abc"), "id is 'abc'"),
    "no genome": ("networks", field("genome", ""), "genome is ''"),
    "odd genome": ("networks", field("genome", "012"), "genome is '012'"),
    "genome not hex": ("networks", field("genome", "0x"), "genome is '0x'"),
    "unknown split": ("networks", field("split", "train"), "split is 'train'; it must be one of fit, holdout, verify"),
    "negative first run": ("networks", field("first_ns", "-1"), f"first_ns is '-1'; it {WHOLE}"),
    "float file size": ("networks", field("file_bytes", "1.5"), f"file_bytes is '1.5'; it {WHOLE}"),
    "network below its interval": ("networks", field("lo", "9999"), "ns must lie between lo and hi"),
    "network without session": ("networks", field("session", ""), "status 'ok' needs a session"),
    "network of no session": ("networks", field("session", "s9"), "session 's9' is not in 'sessions.jsonl'"),
    "networks not sorted": ("networks", lines(lambda all_: [all_[0], all_[2], all_[1], *all_[3:]]), "sorted bytewise"),
    "network twice": ("networks", lines(lambda all_: [*all_[:3], all_[2], *all_[3:]]), "each may come once"),
    "unknown network column": ("networks", lambda text: text.replace("split", "spilt", 1), "unknown column 'spilt'"),
    "network cut short": ("networks", lambda text: text[:-5], "cut short"),
    "networks in CRLF": ("networks", lambda text: text.replace("\n", "\r\n"), "CR LF"),
}  # fmt: skip


def first_difference(before: str, after: bytes, says: str) -> int:
    """Return the number of the first line that was changed; the line after it where two were swapped or repeated."""
    old, new = before.encode().split(b"\n"), after.split(b"\n")
    at = next(n for n in range(len(new)) if n >= len(old) or old[n] != new[n])
    return at + 1 + ("sorted bytewise" in says)


@pytest.mark.parametrize(("part", "change", "says"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_line_is_named(part: str, change: Change, says: str, saved: Path, spoil, refused) -> None:
    path = saved / f"{part}.csv"
    before = path.read_text()
    fault = refused(format.read, spoil(path.name, change), names=path)
    assert says in fault.why
    assert fault.what.endswith(f"is wrong in line {first_difference(before, path.read_bytes(), says)}")


@pytest.mark.parametrize(
    ("energies", "says"),
    [
        (("5", "", ""), "energy_uj must lie between energy_lo and energy_hi; they are '5', '', ''"),
        (("", "4", "6"), "they are '', '4', '6'"),
        (("5", "6", "7"), "they are '5', '6', '7'"),
        (("7", "5", "6"), "they are '7', '5', '6'"),
        (("-5", "1", "7"), "energy_uj is '-5'; it must be a whole number of microjoules, or nothing"),
        (("5", "1", "7.5"), "energy_hi is '7.5'"),
    ],
)
def test_energies_that_cannot_be_are_named(
    energies: tuple[str, str, str], says: str, saved: Path, spoil, refused
) -> None:
    fault = refused(format.read, spoil("ops.csv", energy(*energies)), names=saved / "ops.csv")
    assert says in fault.why and fault.what.endswith("in line 2")


def test_energies_that_can_be_are_read(spoil) -> None:
    found = format.read(spoil("ops.csv", energy("5", "5", "6")))
    assert {row[-3:] for row in found.rows} == {(5, 5, 6)}


def test_the_header_lines_are_as_documented(saved: Path) -> None:
    assert (saved / "ops.csv").read_text().split("\n")[0] == OPS_COLUMNS
    assert (saved / "networks.csv").read_text().split("\n")[0] == NETWORK_COLUMNS


@pytest.mark.parametrize("part", ["ops.csv", "networks.csv"])
def test_an_empty_file_is_refused(part: str, saved: Path, spoil, refused) -> None:
    fault = refused(format.read, spoil(part, lambda text: ""), names=saved / part)
    assert fault.why == "it is empty"


def test_an_unknown_column_names_the_known(saved: Path, spoil, refused) -> None:
    fault = refused(format.read, spoil("ops.csv", lambda text: text.replace("cpu_ns", "cpu", 1)), names="ops.csv")
    assert OPS_COLUMNS in fault.why and "energy_uj,energy_lo,energy_hi" in fault.why


def rendered(parsed: tuple[rows.Row, ...]) -> bytes:
    """Return the text of op rows as the writer has it."""
    measured = any(row.energy_uj is not None for row in parsed)
    return rows.render(rows.OPS_COLUMNS + (rows.ENERGY_COLUMNS if measured else ()), parsed)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_ops_are_refused_or_as_the_writer_has_them(table: Lut, data: st.DataObject) -> None:
    raw = format.render(table.sorted())["ops.csv"][: 12 * 80]
    raw = raw[: raw.rindex(b"\n") + 1]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(raw)))
        end = min(len(raw), start + data.draw(st.integers(0, 3)))
        fresh = data.draw(st.binary(max_size=2) | st.text(alphabet="0123456789,;.\n\r-ok", max_size=3).map(str.encode))
        raw = raw[:start] + fresh + raw[end:]
    try:
        parsed = rows.parse_ops(raw, Path("ops.csv"))
    except FileInvalid as fault:
        assert "ops.csv" in fault.what and fault.why and fault.hints
    else:
        assert rendered(parsed) == raw
