"""Compared tables: conditions by path, rows beyond noise, chance kept in check, and a page that fits a pull request."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ofa.space as spaces
from harness.stats import over_rounds
from ofa.lut import pullrequest, terminal
from ofa.lut.diff import diff, differing
from ofa.lut.format import Header, Lut, Row
from ofa.lut.rows import STATUSES, TIMELESS
from ofa.space.index import ops_in

from .builds import built

KEYS = [op.key for op in ops_in(spaces.load("mobilenet_v3_tiny"))]
GOLDEN = Path(__file__).parent / "golden"
FAILED: dict[str, Any] = {"status": "failed"} | dict.fromkeys(("ns", "lo", "hi", "cpu_ns", "wall_ns"))
HEADER = Header(
    device="phone", runtime="litert", runtime_version="2", precision="fp32", conditions="cpu", environment={"a": 1},
    protocol={}, simulated=False, created="2026-01-01",
)  # fmt: skip


def row(key: str, ns: int, half_pct: float = 1.0, **facts: Any) -> Row:
    """Return a measured row with an interval of this half width."""
    half = half_pct / 100
    made = Row(key, "hot", "ok", ns, round(ns / (1 + half)), round(ns * (1 + half)), ns, ns, 5, (), "s1")
    return made._replace(**facts)


def of(table: Lut, *rows: Row, **header: Any) -> Lut:
    """Return a table of these rows, without networks."""
    about = table.header.model_copy(update=header)
    return dataclasses.replace(table, rows=rows, networks=(), header=about)


def found(facts: dict[str, Any]) -> set[str]:
    """Return the keys of the ops that changed beyond noise."""
    return {entry["key"] for entry in facts["ops"]["rows"] if entry["significant"]}


def test_a_table_does_not_differ_from_itself(table: Lut) -> None:
    facts = diff(table, table)
    assert not facts["differs"]
    assert facts["identity"] == facts["environment"] == facts["protocol"] == []
    for part, rows in (("ops", table.rows), ("networks", table.networks)):
        one = facts[part]
        assert not one["slower"] and not one["faster"] and one["added"] == one["removed"] == one["status"] == []
        assert one["compared"] == sum(row.ns is not None for row in rows)
        assert {entry["ratio"] for entry in one["rows"]} == {1.0}
        assert one["shift"] == {"ratio": 1.0, "p5": 1.0, "p95": 1.0}
    assert "Nothing differs beyond noise." in pullrequest.compared(facts)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


@st.composite
def some_rows(draw) -> tuple[Row, ...]:
    """Return rows of any status, time, interval and number of rounds."""
    rows = []
    for key in draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=8)):
        status = draw(st.sampled_from(STATUSES))
        ns = None if status in TIMELESS else draw(st.integers(1, 10**9))
        lo, hi = (None, None) if ns is None else (draw(st.integers(0, ns)), draw(st.integers(ns, 2 * 10**9)))
        rows.append(Row(key, "cold", status, ns, lo, hi, None, None, draw(st.integers(1, 40)), (), "s1"))
    return tuple(rows)


@given(some_rows(), some_rows())
@settings(max_examples=40, deadline=None)
def test_any_tables_are_compared_and_the_other_way_round_it_is_the_inverse(a, b) -> None:
    table = Lut(header=HEADER, rows=a)
    other = Lut(header=HEADER, rows=b)
    assert not diff(table, table)["differs"]
    there, back = diff(table, other), diff(other, table)
    assert json.loads(json.dumps(there, allow_nan=False)) == there
    assert there["ops"]["slower"] == back["ops"]["faster"] and there["ops"]["added"] == back["ops"]["removed"]
    for one, other_way in zip(there["ops"]["rows"], back["ops"]["rows"], strict=True):
        assert one["ratio"] * other_way["ratio"] == pytest.approx(1)
        assert one["significant"] == other_way["significant"] and one["p"] == other_way["p"]
        if one["p"] is not None:
            assert one["lo"] <= one["ratio"] <= one["hi"]
            assert one["lo"] * other_way["hi"] == pytest.approx(1)
    assert pullrequest.compared(there).count("\n") <= 60


def test_conditions_that_differ_are_named_by_path(table: Lut) -> None:
    a = {"cpu": {"cores": 4, "max khz": 2800, "gone": None}, "list": [1, 2], "same": {"x": [None]}, "n": 1, "t": True}
    b = {"cpu": {"cores": 8, "max khz": 2800}, "list": [1, 3, 4], "same": {"x": [None]}, "n": 1.0, "t": 1, "new": "!"}
    facts = diff(of(table, environment=a), of(table, environment=b, protocol={"rounds": 5}, runtime_version="3"))
    assert facts["environment"] == [
        {"path": "cpu.cores", "a": 4, "b": 8},
        {"path": "cpu.gone", "a": None},
        {"path": "list.1", "a": 2, "b": 3},
        {"path": "list.2", "b": 4},
        {"path": "n", "a": 1, "b": 1.0},
        {"path": "new", "b": "!"},
        {"path": "t", "a": True, "b": 1},
    ]
    assert facts["protocol"] == [{"path": "rounds", "a": 31, "b": 5}]
    assert facts["identity"] == [{"path": "runtime_version", "a": "2.1.0", "b": "3"}]
    assert facts["differs"]
    assert list(differing({"a.b": 1}, {"a.b": {"c": 2}})) == [{"path": '"a.b"', "a": 1, "b": {"c": 2}}]


def test_a_ratio_has_an_interval_of_both_sides(table: Lut) -> None:
    before = row(KEYS[0], 1_000_000, lo=970_000, hi=1_010_000)
    after = row(KEYS[0], 1_200_000, lo=1_190_000, hi=1_260_000)
    (entry,) = diff(of(table, before), of(table, after))["ops"]["rows"]
    assert (entry["a_ms"], entry["b_ms"], entry["ratio"]) == (1.0, 1.2, 1.2)
    below = math.hypot(math.log(1.2 / 1.19), math.log(1.01))
    above = math.hypot(math.log(1.26 / 1.2), math.log(1 / 0.97))
    assert entry["lo"] == pytest.approx(1.2 * math.exp(-below)) and entry["hi"] == pytest.approx(1.2 * math.exp(above))
    assert entry["significant"] and 0 < entry["p"] < 0.01


def test_a_change_counts_beyond_the_floor_of_noise_only(table: Lut) -> None:
    before = [row(key, 10_000_000, 0.01) for key in KEYS[:9]]
    times = [10_000_000] * 7 + [10_090_000, 10_110_000]
    after = [row(key, ns, 0.01) for key, ns in zip(KEYS[:9], times, strict=True)]
    facts = diff(of(table, *before), of(table, *after))
    assert facts["ops"]["floor_pct"] == {"hot": 1.0} and found(facts) == {KEYS[8]}
    # Most rows of one table are known to 4 % only, two of them exactly: 3 % is no news there, though it is certain.
    wide = [entry if entry.key in KEYS[7:9] else row(entry.key, 10_000_000, 4) for entry in before]
    for second, expected in ((10_300_000, set()), (10_500_000, {KEYS[8]})):
        facts = diff(of(table, *wide), of(table, *after[:8], row(KEYS[8], second, 0.01)))
        assert facts["ops"]["floor_pct"] == {"hot": pytest.approx(4.0, abs=0.01)} and found(facts) == expected


def test_each_state_has_a_floor_of_its_own(table: Lut) -> None:
    cold = [row(key, 10_000_000, 20, state="cold") for key in KEYS[:20]]
    hot = [row(key, 10_000_000, 0.1) for key in KEYS[:3]]
    facts = diff(of(table, *cold, *hot), of(table, *cold, row(KEYS[0], 10_300_000, 0.1), *hot[1:]))
    assert facts["ops"]["floor_pct"] == {"cold": pytest.approx(20, abs=0.1), "hot": 1.0}
    assert found(facts) == {KEYS[0]}
    assert "(floor cold 20.0 %, hot 1.0 %)" in pullrequest.compared(facts)


def test_an_interval_that_holds_1_is_no_change(table: Lut) -> None:
    rows = [row(key, 1_000_000, 0.2) for key in KEYS[:5]]
    facts = diff(of(table, *rows), of(table, row(KEYS[0], 1_050_000, 6.0), *rows[1:]))
    assert facts["ops"]["floor_pct"] == {"hot": 1.0} and not found(facts) and not facts["differs"]
    # Known well from above and badly from below: Welch's test, which takes the mean of both, calls it sure.
    facts = diff(of(table, rows[0]), of(table, row(KEYS[0], 1_050_000, lo=995_000, hi=1_051_000)))
    (entry,) = facts["ops"]["rows"]
    assert entry["p"] < 0.05 and entry["lo"] < 1 and not entry["significant"]


def test_what_cannot_be_tested_is_compared_and_counted(table: Lut) -> None:
    before = [row(key, 1_000_000) for key in KEYS[:4]]
    after = [
        row(KEYS[0], 2_000_000, status="modelled", rounds=0, session=""),
        row(KEYS[1], 2_000_000, rounds=1, lo=2_000_000, hi=2_000_000),
        row(KEYS[2], 2_000_000, status="thermal"),
        row(KEYS[3], 2_000_000),
    ]
    facts = diff(of(table, *before), of(table, *after))
    assert facts["ops"]["untested"] == {"modelled": 1, "one round": 1, "thermal": 1}
    assert found(facts) == {KEYS[3]} and facts["ops"]["compared"] == 4
    assert [entry["p"] is None and entry["lo"] is None for entry in facts["ops"]["rows"]] == [True] * 3 + [False]
    assert {entry["key"]: entry["a"] + entry["b"] for entry in facts["ops"]["status"]} == {
        KEYS[0]: "okmodelled", KEYS[2]: "okthermal"
    }  # fmt: skip


def test_chance_is_kept_in_check_and_change_is_found(table: Lut) -> None:
    rng = np.random.default_rng(8)
    keys = [(key, state) for key in KEYS for state in ("hot", "cold")][:500]
    changed = set(keys[:50])

    def measured(name: tuple[str, str], factor: float) -> Row:
        estimate = over_rounds((1e6 * factor * np.exp(rng.normal(0, 0.01, 5))).tolist())
        value, lo, hi = (round(value) for value in (estimate.value, estimate.lo, estimate.hi))
        return row(name[0], value, state=name[1], lo=lo, hi=hi)

    before = of(table, *(measured(name, 1.0) for name in keys))
    after = of(table, *(measured(name, 1.1 if name in changed else 1.0) for name in keys))
    rows = diff(before, after)["ops"]["rows"]
    called = {(entry["key"], entry["state"]) for entry in rows if entry["significant"]}
    alone = {
        (entry["key"], entry["state"]) for entry in rows if not entry["lo"] <= 1 <= entry["hi"]
    } - changed  # fmt: skip
    assert len(called & changed) >= 45
    assert len(called - changed) <= 0.1 * len(called) and len(alone) > len(called - changed)


def test_rows_and_networks_that_came_went_or_failed(table: Lut) -> None:
    networks = table.sorted().networks
    before = dataclasses.replace(
        table,
        rows=(row(KEYS[0], 9000), row(KEYS[1], 9000), row(KEYS[2], 9000), row(KEYS[3], 9000)),
        networks=networks[:4],
    )
    failed = row(KEYS[1], 9000)._replace(**FAILED)
    slow = networks[1]._replace(ns=1200, lo=1150, hi=1250)
    after = dataclasses.replace(
        before,
        rows=(failed, row(KEYS[2], 9000, status="noisy"), row(KEYS[3], 9000), row(KEYS[4], 9000)),
        networks=(slow, *networks[2:5]),
    )
    facts = diff(before, after)
    ops, nets = facts["ops"], facts["networks"]
    assert (ops["added"], ops["removed"]) == ([[KEYS[4], "hot"]], [[KEYS[0], "hot"]])
    assert ops["status"] == [{"key": KEYS[1], "state": "hot", "a": "ok", "b": "failed"}]
    assert ops["noisy"] == {"a": 0, "b": 1} and ops["compared"] == 2
    assert nets["added"] == [list(networks[4][:2])] and nets["removed"] == [list(networks[0][:2])]
    (slower,) = [entry for entry in nets["rows"] if entry["significant"]]
    assert (slower["space"], slower["id"], slower["ratio"]) == (slow.space, slow.id, 2.0)
    noisy_only = dataclasses.replace(before, rows=tuple(row._replace(status="noisy") for row in before.rows))
    assert not diff(before, noisy_only)["differs"]


def test_how_rows_were_modelled_is_no_condition(table: Lut) -> None:
    filled = of(table, *table.rows, protocol={**table.header.protocol, "fill": [{"space": "x-w1.0"}]})
    filled = dataclasses.replace(filled, networks=table.networks)
    facts = diff(table, filled)
    assert facts["protocol"] == [] and not facts["differs"]
    assert (facts["a"]["modelled"], facts["b"]["modelled"]) == (1, 1)
    assert "units, 1 modelled row)" in pullrequest.compared(facts)


def eventful(table: Lut) -> dict[str, Any]:
    """Return the facts of two tables that differ in everything, with more of it than a page holds."""
    a = table.sorted()
    moved = [
        one._replace(**{name: getattr(one, name) * (place % 4 + 1) // 2 for name in ("ns", "lo", "hi")})
        if one.ns and place % 4 != 1
        else one
        for place, one in enumerate(a.rows)
    ]
    broken = [one._replace(**FAILED) for one in moved[20:24]]
    environment = {**table.header.environment, **{f"fact{number:02}": number for number in range(40)}}
    b = dataclasses.replace(
        a,
        header=a.header.model_copy(update={"environment": environment, "created": "2026-03-01", "units": 1}),
        rows=(*moved[5:20], *broken, *moved[24:], row("@io", 7000)),
        networks=tuple(one._replace(ns=1300, lo=1200, hi=1400) for one in a.networks),
    )
    return diff(a, b, names=("luts/pixel-8", "new"))


def test_the_page_of_a_pull_request(table: Lut) -> None:
    text = pullrequest.compared(eventful(table))
    assert text == (GOLDEN / "diff.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 60


def test_the_page_is_short_however_much_differs(table: Lut) -> None:
    facts = eventful(table)
    facts["held_out"]["b"] += [
        {"space": f"space{number}", "fit": 9, "holdout": 9, "mape_pct": 4.0, "bias_pct": 0.0} for number in range(30)
    ]
    for part in ("ops", "networks"):
        rows = facts[part]["rows"] * 9
        facts[part] |= {"rows": rows, "compared": len(rows), "untested": {"modelled": 3, "one round": 5, "thermal": 2}}
        facts[part]["added"] = facts[part]["removed"] = [["key" * 40, "hot"]] * 99
    text = pullrequest.compared(facts)
    assert 45 <= text.count("\n") <= 60 and len(text) < 15_000


def test_text_of_a_table_cannot_write_into_the_page(table: Lut) -> None:
    hostile = "a|b`</code><img src=x>\n# head @someone\\| \u202e" + "long " * 99
    facts = diff(of(table, environment={"board": 1}), of(table, environment={"board": hostile, hostile: None}))
    text = pullrequest.compared(facts)
    lines = [line for line in text.splitlines() if "img" in line]
    assert len(lines) == 2 and all(line.startswith("| environment `") for line in lines)
    for line in lines:
        assert line.count("`") % 2 == 0
        outside = "".join(line.split("`")[::2])
        assert "img" not in outside and "@" not in outside and "head" not in outside
        assert line.replace("\\|", "").count("|") == 4 and len(line) < 220
    assert "\u202e" not in text


def test_equal_facts_give_equal_text(table: Lut) -> None:
    before = pullrequest.compared(eventful(table))
    assert pullrequest.compared(json.loads(json.dumps(eventful(table)))) == before


def test_a_change_beside_other_work_is_told_with_it_and_no_condition_twice(table: Lut) -> None:
    before = of(
        table, *(row(key, 1_000_000) for key in KEYS[:20]), environment={"runtime_version": "2.1.0", "board": 1}
    )
    loaded = [row(key, 1_300_000, flags=("loaded", "moved")) for key in KEYS[:20]]
    after = of(table, *loaded, environment={"runtime_version": "3", "board": 2}, runtime_version="3")
    facts = diff(before, after)
    assert facts["ops"]["moved"] == ["hot"]
    assert facts["identity"] == [{"path": "runtime_version", "a": "2.1.0", "b": "3"}]
    assert facts["environment"] == [{"path": "board", "a": 1, "b": 2}]
    text = pullrequest.compared(facts)
    assert "all hot together **+30.0 %**" in text
    assert "before none of 20; after 20 loaded, 20 moved of 20. What all of them changed by may be" in text
    assert "disturbed" not in pullrequest.compared(diff(before, before))


def test_an_interval_in_a_table_is_of_what_stands_before_it(table: Lut) -> None:
    facts = eventful(table)
    for part, columns in (("ops", ("key", "state")), ("networks", ("space", "id"))):
        for entry in pullrequest.alone(facts[part], columns):
            low, high = (float(bound.rstrip(" %")) for bound in pullrequest.row_cells(entry)[-1].split(" to "))
            beside = float(pullrequest.row_cells(entry)[-2].rstrip(" %"))
            assert low <= beside <= high and not low < 0 < high


def test_networks_that_moved_are_named_even_where_none_is_sure_to_differ_from_the_others(
    table: Lut, capsys: pytest.CaptureFixture[str]
) -> None:
    before = built(np.random.default_rng(1))
    spread = np.exp(np.linspace(0.9, math.log(4.5), len(before.networks)))
    after = tuple(
        one._replace(**{name: round(getattr(one, name) * factor) for name in ("ns", "lo", "hi")})
        for one, factor in zip(before.networks, spread, strict=True)
    )
    facts = diff(before, dataclasses.replace(before, networks=after))
    assert not pullrequest.alone(facts["networks"], ("space", "id")) and facts["networks"]["moved"]
    identity = before.networks[-1].id
    (line,) = (line for line in pullrequest.compared(facts).splitlines() if f"`{identity}`" in line)
    assert line.endswith("| +350.0 % |")
    terminal.show(facts)
    out = capsys.readouterr().out
    first = out[out.index("those that moved most") :].splitlines()[2]
    assert identity in first and "+350.0 %" in first


def test_a_group_tells_which_of_its_rows_are_noise_by_themselves(table: Lut) -> None:
    group = {"group": "head", "state": "hot", "rows": 399, "same": 241, "beside": 1.2, "lo": 1.1, "hi": 1.3}
    said = [pullrequest.group_cells({**group, "significant": sure})[2] for sure in (0, 17, 241)]
    assert said == [
        "241 of 399 slower, none beyond noise alone",
        "241 of 399 slower, 17 beyond noise alone",
        "241 of 399 slower",
    ]


def test_what_identity_and_environment_both_say_is_told_once(table: Lut) -> None:
    sides = [
        of(table, runtime_version=version, environment={"runtime_version": version, "board": version})
        for version in "12"
    ]
    facts = diff(*sides)
    assert [entry["path"] for entry in facts["identity"]] == ["runtime_version"]
    assert [entry["path"] for entry in facts["environment"]] == ["board"]


def test_long_values_do_not_widen_the_terminal(table: Lut, capsys: pytest.CaptureFixture[str]) -> None:
    long = {f"fact{number}": number for number in range(90)}
    terminal.show(diff(of(table, environment={}), of(table, environment={"simulated": long})))
    out = capsys.readouterr().out
    assert '{"fact0": 0' in out and max(map(len, out.splitlines())) < 200
