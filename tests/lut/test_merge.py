"""Merged tables: rows that cover the truth, the same whichever comes first, refused where unlike."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ofa.space as spaces
from harness.stats import over_rounds
from ofa.errors import FileInvalid
from ofa.lut import check, format, pullrequest
from ofa.lut.format import Lut, Row
from ofa.lut.merge import merge
from ofa.lut.rows import STATUSES, TIMELESS
from ofa.lut.write import write
from ofa.space.index import ops_in

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
KEYS = [op.key for op in ops_in(TINY)]
GOLDEN = Path(__file__).parent / "golden"
TIMES = ("ns", "lo", "hi", "cpu_ns", "wall_ns")


def row(key: str, ns: int, lo: int, hi: int, rounds: int = 5, session: str = "s1", **facts: Any) -> Row:
    """Return a measured row."""
    return Row(key, "hot", "ok", ns, lo, hi, ns, ns, rounds, (), session)._replace(**facts)


def timeless(row: Any, status: str) -> Any:
    """Return a row that says why there is no time."""
    return row._replace(status=status, **dict.fromkeys(TIMES))


def of(table: Lut, session: str, rows: Any = (), networks: Any = (), *, seen: Any = None, **header: Any) -> Lut:
    """Return the table of one session; ``seen`` is more about it."""
    record = {"id": session, "reference_ns": {"hot": 100_000, "cold": 120_000}} | (seen or {})
    about = table.header.model_copy(update={"units": 1, "protocol": {"rounds": 5, "seed": 0}} | header)
    return Lut(
        header=about,
        rows=tuple(one._replace(session=session) for one in rows),
        networks=tuple(one._replace(session=session) for one in networks),
        sessions=(record,),
    )


def sampled(name: tuple[str, str], truth: float, noise: float, rounds: int, rng: np.random.Generator) -> Row:
    """Return the row that some rounds about a truth amount to, as the harness makes it."""
    found = over_rounds((truth * np.exp(rng.normal(0, noise, rounds))).tolist())
    return row(name[0], round(found.value), round(found.lo), round(found.hi), rounds, state=name[1])


@st.composite
def any_row(draw, key: str) -> Row:
    """Return a row of any status that a table may hold."""
    status = draw(st.sampled_from(STATUSES))
    ns = draw(st.integers(1, 10**7))
    made = row(key, ns, draw(st.integers(0, ns)), draw(st.integers(ns, 10**8)), draw(st.integers(1, 40)))
    made = made._replace(status=status, flags=draw(st.sampled_from([(), ("cpu",), ("drift",)])))
    return timeless(made, status) if status in TIMELESS else made


@st.composite
def halves(draw) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Return the rows of two tables over some common and some own ops."""
    return tuple(
        tuple(draw(any_row(key)) for key in draw(st.lists(st.sampled_from(KEYS[:6]), unique=True))) for _ in range(2)
    )  # type: ignore[return-value]


def test_a_merged_table_covers_the_truth(table: Lut) -> None:
    rng = np.random.default_rng(4)
    names = [(key, state) for key in KEYS for state in ("hot", "cold")]
    truth = {name: rng.uniform(1e6, 1e8) for name in names}
    halves = [of(table, f"s{n}", [sampled(name, truth[name], 0.02, 5, rng) for name in names]) for n in (1, 2)]
    made = merge(*halves)
    found = [one.lo <= truth[one[:2]] <= one.hi for one in made.lut.rows if one.lo and one.hi]
    assert len(found) == len(names) and 0.93 <= np.mean(found) <= 0.99
    widths = made.facts["ops"]["half_width_pct"]
    assert widths["merged"] < 0.85 * min(widths["a"], widths["b"])
    assert made.lut.header.protocol["rounds"] == 10 and {one.rounds for one in made.lut.rows} == {10}


@given(halves())
@settings(max_examples=40, deadline=None)
def test_merging_is_the_same_whichever_comes_first(table: Lut, sides) -> None:
    a, b = of(table, "s1", sides[0], created="2026-01-02"), of(table, "s2", sides[1])
    there, back = merge(a, b), merge(b, a)
    assert format.render(there.lut) == format.render(back.lut)
    assert format.parse(format.render(there.lut), Path("table")) == there.lut
    assert json.loads(json.dumps(there.facts, allow_nan=False)) == there.facts
    measured = {one.key for side in sides for one in side if one.status != "modelled"}
    assert {one.key for one in there.lut.rows} == measured
    assert pullrequest.merged(there.facts).count("\n") <= 40


def one(table: Lut, session: str, ns: int = 1000, **facts: Any) -> Lut:
    """Return the table of one op and one network measured in one session."""
    return of(table, session, [row(KEYS[0], ns, ns - 9, ns + 9)], table.networks[:1], **facts)


def test_rows_of_one_table_are_taken_as_they_are(table: Lut) -> None:
    a = of(table, "s1", [row(KEYS[0], 1000, 990, 1010), row(KEYS[1], 50, 49, 51)], table.networks[:2])
    b = of(table, "s2", [row(KEYS[0], 1004, 990, 1010), row(KEYS[2], 60, 59, 61)], table.networks[1:3])
    made = merge(a, b)
    rows = {one.key: one for one in made.lut.rows}
    assert (rows[KEYS[1]], rows[KEYS[2]]) == (a.rows[1], b.rows[1])
    facts = made.facts["ops"]
    assert (facts["both"], facts["only_a"], facts["only_b"], facts["combined"]) == (1, 1, 1, 1)
    assert len(made.lut.networks) == 3 and made.facts["networks"]["both"] == 1


def test_a_combined_row_names_every_session_behind_it(table: Lut, tmp_path: Path) -> None:
    a, b, c = one(table, "s1"), one(table, "s2", 1004), one(table, "s3", 1002)
    first = merge(a, b).lut
    (record,) = [session for session in first.sessions if "merged" in session]
    assert record["merged"] == ["s1", "s2"] and record["environment_id"] == table.header.environment_id
    assert {line.session for line in first.rows} == {line.session for line in first.networks} == {record["id"]}
    both = merge(c, first).lut
    assert [session["id"] for session in both.sessions if "merged" not in session] == ["s1", "s2", "s3"]
    (record,) = [session for session in both.sessions if "merged" in session]
    assert record["merged"] == ["s1", "s2", "s3"] and both.rows[0].session == record["id"]
    assert both.rows[0].rounds == 15 and both.header.protocol == {"rounds": 15, "seed": 0}
    write(both, tmp_path / "table")
    assert check.checked(tmp_path / "table") == both


def test_a_session_counts_once(table: Lut) -> None:
    a, b, c = one(table, "s1"), one(table, "s2"), one(table, "s3")
    record = {"id": "merged-0", "merged": ["s1", "s4"]}
    behind = dataclasses.replace(b, sessions=(*b.sessions, record))
    for pair in ((a, a), (a, merge(a, b).lut), (merge(a, b).lut, merge(b, c).lut), (a, behind)):
        with pytest.raises(FileInvalid) as caught:
            merge(*pair)
        assert "is in both" in caught.value.what and "'s" in caught.value.what and caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"environment": {"threads": 2, "nested": {"a": None, "b": [1, 3]}}}, "nested.b.1 is '3' and '2.5'"),
        ({"precision": "int8"}, "precision is 'int8' and 'fp32'"),
        ({"runtime_version": "3"}, "runtime_version is '3' and '2.1.0'"),
        ({"device": "pixel-9"}, "device is"),
        ({"conditions": "trt"}, "conditions is"),
        ({"protocol": {"rounds": 5, "seed": 0, "statistic": "x"}}, "protocol.statistic is 'x' and absent"),
        ({"protocol": {"rounds": 5, "seed": "x"}}, "protocol.seed is 'x' and '0'"),
        ({"protocol": {"rounds": 5}}, "protocol.seed is absent and '0'"),
    ],
)  # fmt: skip
def test_unlike_tables_are_refused_by_their_first_differences(table: Lut, changed, says: str) -> None:
    with pytest.raises(FileInvalid) as caught:
        merge(one(table, "s1", **changed), one(table, "s2"))
    assert says in caught.value.why and "same conditions" in caught.value.what
    assert len(caught.value.why) < 400 and "ofa lut diff" in caught.value.hints[0]


def test_only_the_first_of_many_differences_are_named(table: Lut) -> None:
    environment = {f"fact{number}": number for number in range(9)}
    with pytest.raises(FileInvalid) as caught:
        merge(one(table, "s1", environment=environment), one(table, "s2"))
    assert caught.value.why.endswith("(and 10 more)")


def test_simulated_values_never_mix_with_measured_ones(table: Lut) -> None:
    simulated = one(table, "s1", simulated=True)
    for pair in ((simulated, one(table, "s2")), (one(table, "s2"), simulated)):
        with pytest.raises(FileInvalid, match="one is simulated"):
            merge(*pair)
    assert merge(simulated, one(table, "s2", simulated=True)).lut.simulated


def test_the_reference_must_have_taken_the_same_time(table: Lut) -> None:
    a = one(table, "s1")
    slower = one(table, "s2", seen={"reference_ns": {"hot": 101_900, "cold": 999_999}})
    assert merge(a, slower).facts["reference_ratio"] == {"hot": 1.019}
    for hot_ns, says in ((102_100, "+2.1 %"), (97_900, "-2.1 %")):
        with pytest.raises(FileInvalid) as caught:
            merge(a, one(table, "s2", seen={"reference_ns": {"hot": hot_ns}}))
        assert says in caught.value.what and "'hot'" in caught.value.why


@pytest.mark.parametrize(
    "said", [None, {}, {"cold": 120_000}, {"hot": "fast"}, {"hot": True}, {"hot": -1}, {"hot": 10**400}, [1]]
)
def test_an_unknown_reference_is_refused_unless_it_is_allowed(table: Lut, said) -> None:
    a, b = one(table, "s1"), one(table, "s2", seen={"reference_ns": said})
    for pair in ((a, b), (b, a)):
        with pytest.raises(FileInvalid, match="do not both say") as caught:
            merge(*pair)
        assert "'hot'" in caught.value.why
    assert merge(a, b, allow_unknown_reference=True).facts["reference_ratio"] == {}
    moved = one(table, "s2", seen={"reference_ns": {"hot": 150_000}})
    with pytest.raises(FileInvalid, match="reference network took"):
        merge(a, moved, allow_unknown_reference=True)


def test_units_are_counted(table: Lut) -> None:
    def units(a: Lut, b: Lut, *, other_unit: bool = False) -> tuple[int, bool]:
        made = merge(a, b, other_unit=other_unit)
        return made.lut.header.units, made.facts["units_known"]

    named = [one(table, f"s{place}", seen={"unit": unit}) for place, unit in enumerate(("x", "y", "x"))]
    assert units(named[0], named[1]) == (2, True) and units(named[0], named[2], other_unit=True) == (1, True)
    assert units(merge(named[0], named[1]).lut, named[2]) == (2, True)
    unnamed = one(table, "s9")
    assert units(unnamed, one(table, "s8")) == (1, False) and units(named[0], unnamed) == (1, False)
    assert units(unnamed, one(table, "s8", units=2), other_unit=True) == (3, False)


def test_what_may_differ_is_kept_of_both(table: Lut) -> None:
    protocols = [
        {"rounds": 5, "seed": 3, "name": "r"},
        {"rounds": 9, "seed": 1, "name": "r"},
        {"rounds": 1, "seed": 1, "name": "r"},
    ]
    a, b, c = (one(table, f"s{place}", protocol=protocol) for place, protocol in enumerate(protocols))
    made = merge(a, b).lut
    assert made.header.protocol == {"rounds": 14, "seed": [1, 3], "name": "r"}
    assert merge(made, c).lut.header.protocol == {"rounds": 15, "seed": [1, 3], "name": "r"}
    seeds = merge(made, merge(c, one(table, "s7", protocol={"rounds": 1, "seed": 9, "name": "r"})).lut).lut
    assert seeds.header.protocol == {"rounds": 16, "seed": [1, 3, 9], "name": "r"}
    dates = [one(table, f"s{place}", created=day) for place, day in enumerate(("2026-01-09", "2026-01-02"))]
    assert merge(*dates).lut.header.created == "2026-01-09"


def test_modelled_rows_are_left_out(table: Lut) -> None:
    model = row(KEYS[1], 700, 600, 800, status="modelled")
    filled = {"rounds": 5, "seed": 0, "fill": {"how": "modelled"}}
    a, b = of(table, "s1", [row(KEYS[0], 1000, 990, 1010), model], protocol=filled), of(table, "s2", [model])
    made = merge(a, b)
    assert format.render(made.lut) == format.render(merge(b, a).lut) and "fill" not in made.lut.header.protocol
    assert [line.key for line in made.lut.rows] == [KEYS[0]] and made.facts["ops"]["modelled_left_out"] == 2
    assert "2 modelled rows left out" in pullrequest.merged(made.facts)


def test_the_page_of_a_merge(table: Lut) -> None:
    last = row(KEYS[2], 9_000, 8_990, 9_010)
    a = of(table, "s1", [row(KEYS[0], 1_000_000, 990_000, 1_010_000), row(KEYS[1], 7_000, 6_900, 7_100), last])
    failed = timeless(row(KEYS[1], 1, 1, 1), "failed")
    b = of(
        table, "s2", [row(KEYS[0], 1_200_000, 1_190_000, 1_210_000), failed, last, row(KEYS[3], 5_000, 4_900, 5_100)]
    )
    text = pullrequest.merged(merge(a, b, names=("luts/a", "b")).facts)
    assert text == (GOLDEN / "merge.md").read_text(encoding="utf-8")
