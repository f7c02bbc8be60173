"""Estimates: plain sums of a table's rows, which state is summed, what is refused, and the command `ofa estimate`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ofa.space as spaces
from ofa.errors import SpaceMismatch
from ofa.estimate import Estimator, estimator, explain, op_values_ms, price, state_of
from ofa.lut.format import Header, Lut, NetworkRow, Row
from ofa.lut.write import write
from ofa.space import sample
from ofa.space.core import SearchSpace, Subnet
from ofa.space.index import ops_in
from ofa.space.ops import ops_of

Run = Callable[..., tuple[int, str, str]]

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
WIDE = spaces.load("mobilenet_v3_tiny", width=1.5, channels=1, classes=10)
HEADER = Header(
    device="pixel-8", runtime="litert", runtime_version="2.1", precision="fp32", conditions="1t",
    environment={"threads": 1}, protocol={}, simulated=False, created="2026-02-28",
)  # fmt: skip
NAME = "pixel-8/litert-fp32-1t"


def table_of(*of: SearchSpace, states: tuple[str, ...] = ("cold", "hot"), seed: int = 0) -> Lut:
    """Return a table that prices every op of some spaces, in no order; a hot op takes half the time of a cold one."""
    rng = np.random.default_rng(seed)
    rows = [Row("@session", "-", "ok", 9_000_000, 9_000_000, 9_000_000, None, None, 3, (), "s1")]
    for op in sorted({op for space in of for op in ops_in(space)}, key=lambda op: op.macs):
        ns = int(rng.integers(2, 4_000_000)) * 2
        for state in states:
            value = ns // 2 if state == "hot" else ns
            rows.append(Row(op.key, state, "ok", value, value - 1, value + 1, None, None, 3, (), "s1"))
    subnet = of[0].corner("min")
    keys = [op.key for op in ops_of(subnet)]
    ns = sum(row.ns or 0 for row in rows for key in keys if (row.key, row.state) == (key, states[0]))
    network = NetworkRow(
        subnet.space.id, subnet.id, bytes(subnet.genome).hex(), "fit", "ok", ns, ns, ns, None, None, 3, (), "s1"
    )
    return Lut(header=HEADER, rows=tuple(rows), networks=(network,), sessions=({"id": "s1"},))


TABLE = table_of(TINY, WIDE)


def changed(lut: Lut, key: str, state: str, **facts: Any) -> Lut:
    """Return a table with one row changed; without it where nothing is given."""
    rows = [row for row in lut.rows if (row.key, row.state) != (key, state)]
    assert len(rows) == len(lut.rows) - 1
    if facts:
        rows.append(next(row for row in lut.rows if (row.key, row.state) == (key, state))._replace(**facts))
    return Lut(header=lut.header, rows=tuple(rows), networks=lut.networks, sessions=lut.sessions)


def plain_sum_ms(lut: Lut, subnet: Subnet, state: str) -> float:
    """Return what an estimate should be, by a loop."""
    ns = {row.key: row.ns for row in lut.rows if row.state == state}
    return sum(ns[op.key] or 0 for op in ops_of(subnet)) / 1e6


@pytest.mark.parametrize("name", spaces.names())
def test_estimates_are_plain_sums(name: str) -> None:
    space = spaces.load(name)
    table = table_of(space)
    genomes = sample.random(space, 100, np.random.default_rng(1))
    for state in ("cold", "hot"):
        found = estimator(table, space, state)
        expected = [plain_sum_ms(table, space.subnet(genome), state) for genome in genomes]
        assert found.predict(genomes) == pytest.approx(expected, rel=1e-12)
        assert found(genomes).tolist() == found.predict(genomes).tolist()
        assert (found.space, found.state) == (space, state)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_explanations_sum_to_the_estimate(seed: int) -> None:
    genomes = sample.random(WIDE, 1, np.random.default_rng(seed))
    lines = explain(TABLE, WIDE.subnet(genomes[0]))
    assert [line["key"] for line in lines] == [op.key for op in ops_of(WIDE.subnet(genomes[0]))]
    assert sum(line["ms"] for line in lines) == pytest.approx(estimator(TABLE, WIDE).predict(genomes)[0], rel=1e-12)
    assert sum(line["share_pct"] for line in lines) == pytest.approx(100)
    total_ms = sum(line["ms"] for line in lines)
    for line in lines:
        assert line["lo_ms"] < line["ms"] < line["hi_ms"] and line["status"] == "ok"
        assert line["share_pct"] == pytest.approx(100 * line["ms"] / total_ms)


def test_an_explanation_is_of_the_state_asked_for() -> None:
    subnet = TINY.corner("max")
    for state in ("hot", "cold"):
        total_ms = sum(line["ms"] for line in explain(TABLE, subnet, state))
        assert total_ms == pytest.approx(plain_sum_ms(TABLE, subnet, state))
    with pytest.raises(SpaceMismatch):
        explain(TABLE, subnet, "-")


def test_no_op_is_priced_by_another_table_or_an_overhead() -> None:
    values = op_values_ms(TABLE, TINY, "cold")
    ns = {row.key: row.ns for row in TABLE.rows if row.state == "cold"}
    assert (values * 1e6).round().tolist() == [ns[op.key] for op in ops_in(TINY)]


@pytest.mark.parametrize(
    ("states", "chosen"),
    [
        (("cold", "hot", "-"), "cold"),
        (("hot", "cold"), "cold"),
        (("hot", "-"), "hot"),
        (("-",), "-"),
        (("hot",), "hot"),
    ],
)
def test_without_a_network_the_cold_state_is_taken(states: tuple[str, ...], chosen: str) -> None:
    table = dataclasses.replace(table_of(TINY, states=states), networks=())
    assert state_of(table, TINY) == chosen == estimator(table, TINY).state
    assert [state_of(table, TINY, state) for state in states] == list(states)


@pytest.mark.parametrize("nearest", ["cold", "hot"])
def test_the_state_nearest_to_the_measured_networks_is_taken(nearest: str) -> None:
    """Here a hot op takes half as long as a cold one; networks of another space tell nothing."""
    other = "hot" if nearest == "cold" else "cold"
    networks = [(TINY, name, nearest) for name in ("min", "max", "k3e6d3")] + [(WIDE, "max", other)]
    rows = []
    for space, corner, state in networks:
        subnet = space.corner(corner)
        ns = round(plain_sum_ms(TABLE, subnet, state) * 1.1e6)
        facts = ("fit", "ok", ns, ns, ns, None, None, 3, (), "s1")
        rows.append(NetworkRow(subnet.space.id, subnet.id, bytes(subnet.genome).hex(), *facts))
    table = dataclasses.replace(TABLE, networks=tuple(rows))
    assert state_of(table, TINY) == nearest == estimator(table, TINY).state
    assert state_of(table, WIDE) == other
    assert explain(table, TINY.corner("min")) == explain(table, TINY.corner("min"), nearest)


def assert_refused(fault: SpaceMismatch) -> None:
    assert fault.what and fault.why and fault.hints and fault.exit_code == 3
    assert f"'{NAME}'" in fault.what


@pytest.mark.parametrize("state", ["warm", "", "-"])
def test_an_absent_state_names_those_there(state: str) -> None:
    with pytest.raises(SpaceMismatch, match=f"no row in state '{state}'") as caught:
        estimator(TABLE, TINY, state)
    assert_refused(caught.value)
    assert caught.value.why == "it has rows in state 'cold', 'hot'"
    assert caught.value.hints == ("--rows cold", "--rows hot")


def test_overheads_alone_are_no_state() -> None:
    table = Lut(header=HEADER, rows=TABLE.rows[:1], sessions=TABLE.sessions)
    assert table.rows[0].key == "@session"
    with pytest.raises(SpaceMismatch) as caught:
        state_of(table, TINY)
    assert_refused(caught.value)
    assert caught.value.why == "it has no rows at all"


def test_a_missing_op_is_named_and_counted() -> None:
    keys = [op.key for op in ops_in(TINY)]
    table = changed(changed(TABLE, keys[7], "cold"), keys[3], "cold")
    with pytest.raises(SpaceMismatch) as caught:
        estimator(table, TINY)
    assert_refused(caught.value)
    assert f"has no row for '{keys[3]}' in state 'cold'" in caught.value.what
    assert caught.value.why == f"2 of the 260 ops of '{TINY.id}' have no time in it"
    assert estimator(table, TINY, "hot").state == "hot"


def test_a_table_of_another_space_says_so() -> None:
    with pytest.raises(SpaceMismatch) as caught:
        estimator(table_of(TINY), spaces.load("mobilenet_v3"))
    assert_refused(caught.value)
    assert "1,226 of the 1,226 ops of 'mobilenet_v3-w1.0'" in caught.value.why and TINY.id in caught.value.why


@pytest.mark.parametrize("status", ["unsupported", "failed", "thermal"])
def test_a_row_of_an_unusable_status_is_not_summed(status: str) -> None:
    key = ops_in(TINY)[5].key
    times = {} if status == "thermal" else {"ns": None, "lo": None, "hi": None}
    table = changed(TABLE, key, "cold", status=status, **times)
    with pytest.raises(SpaceMismatch) as caught:
        estimator(table, TINY)
    assert_refused(caught.value)
    assert f"has no usable row for '{key}' (status '{status}')" in caught.value.what
    assert caught.value.why.startswith("1 of the 260 ops")
    with_it, without_it = split(subnets_of(TINY, 200), key)
    with pytest.raises(SpaceMismatch, match=re.escape(f"has no usable row for '{key}' (status '{status}')")):
        explain(table, with_it[0])
    assert sum(row["ms"] for row in explain(table, without_it[0])) > 0


@pytest.mark.parametrize("status", ["noisy", "modelled"])
def test_a_row_of_a_usable_status_is_summed(status: str) -> None:
    key = ops_in(TINY)[5].key
    assert isinstance(estimator(changed(TABLE, key, "cold", status=status), TINY), Estimator)


def test_modelled_rows_can_be_refused() -> None:
    key = ops_in(TINY)[5].key
    table = changed(TABLE, key, "cold", status="modelled")
    assert estimator(changed(TABLE, key, "cold", status="noisy"), TINY, measured_only=True).state == "cold"
    with pytest.raises(SpaceMismatch) as caught:
        estimator(table, TINY, measured_only=True)
    assert_refused(caught.value)
    assert f"has no usable row for '{key}' (status 'modelled')" in caught.value.what
    assert "have no measured time in it" in caught.value.why


def test_subnets_are_priced_where_their_own_ops_are() -> None:
    key = ops_in(TINY)[5].key
    table = changed(TABLE, key, "cold")
    with_it, without_it = split(subnets_of(TINY, 200), key)
    expected = [plain_sum_ms(TABLE, subnet, "cold") for subnet in without_it]
    assert price(table, without_it, "cold").tolist() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(SpaceMismatch) as caught:
        price(table, [*without_it, *with_it], "cold")
    assert_refused(caught.value)
    assert with_it[0].id in caught.value.why and caught.value.why.startswith("1 of the")


def split(subnets: list[Subnet], key: str) -> tuple[list[Subnet], list[Subnet]]:
    """Return the subnets that have an op, and those that do not."""
    has = [key in {op.key for op in ops_of(subnet)} for subnet in subnets]
    found = tuple([subnet for subnet, mine in zip(subnets, has, strict=True) if mine is side] for side in (True, False))
    assert all(found)
    return found[0], found[1]


@pytest.fixture(scope="module")
def lut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the table."""
    folder = tmp_path_factory.mktemp("tables") / "pixel"
    write(TABLE, folder)
    return folder


def subnets_of(space: SearchSpace, count: int) -> list[Subnet]:
    return [space.subnet(genome) for genome in sample.random(space, count, np.random.default_rng(5))]


def listed(subnets: list[Subnet]) -> list[dict[str, Any]]:
    return [{"id": subnet.id} | subnet.to_json() for subnet in subnets]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[Any], str]:
    """Return a function that puts text, or a value as JSON, into a file and returns its path."""

    def put(content: Any) -> str:
        path = tmp_path / "subnets.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return put


def test_the_command_prices_a_list(run: Run, lut: Path, file: Callable[[Any], str]) -> None:
    subnets = subnets_of(TINY, 20)
    code, out, err = run("estimate", "--lut", str(lut), "--subnets", file(listed(subnets)), "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["lut"], found["table"], found["state"]) == (str(lut), NAME, "cold")
    assert [(entry["id"], entry["space"]) for entry in found["subnets"]] == [(each.id, TINY.id) for each in subnets]
    expected = [plain_sum_ms(TABLE, subnet, "cold") for subnet in subnets]
    assert [entry["ms"] for entry in found["subnets"]] == pytest.approx(expected, rel=1e-12)


def test_the_command_prices_a_single_subnet(run: Run, lut: Path, file: Callable[[Any], str]) -> None:
    subnet = TINY.corner("k7e3d3", 24)
    path = file(subnet.to_json())
    code, out, _ = run("estimate", "--lut", str(lut / "lut.json"), "--subnets", path, "--rows", "hot", "--json")
    (entry,) = json.loads(out)["subnets"]
    assert code == 0 and entry["ms"] == pytest.approx(plain_sum_ms(TABLE, subnet, "hot"), rel=1e-12)
    code, out, _ = run("estimate", "--lut", str(lut), "--subnets", path)
    assert code == 0 and subnet.id in out and "ms (cold)" in out


def test_the_command_prices_several_spaces_in_the_order_given(run: Run, lut: Path, file: Callable[[Any], str]) -> None:
    first, second = subnets_of(TINY, 3), subnets_of(WIDE, 3)
    mixed = [subnet for pair in zip(first, second, strict=True) for subnet in pair]
    mixed.append(mixed[0])
    code, out, _ = run("estimate", "--lut", str(lut), "--subnets", file(listed(mixed)), "--json", "--explain")
    found = json.loads(out)["subnets"]
    assert code == 0
    assert [(entry["id"], entry["space"]) for entry in found] == [(each.id, each.space.id) for each in mixed]
    for entry, subnet in zip(found, mixed, strict=True):
        assert entry["ms"] == pytest.approx(plain_sum_ms(TABLE, subnet, "cold"), rel=1e-12)
        assert entry["ms"] == pytest.approx(sum(row["ms"] for row in entry["rows"]), rel=1e-12)
    assert run("estimate", "--lut", str(lut), "--subnets", file(listed(mixed)), "--explain")[0] == 0


def test_the_command_refuses_modelled_rows_where_told(run: Run, tmp_path: Path, file: Callable[[Any], str]) -> None:
    subnet = TINY.corner("min")
    write(changed(TABLE, ops_of(subnet)[1].key, "cold", status="modelled"), tmp_path / "lut")
    command = ("estimate", "--lut", str(tmp_path / "lut"), "--subnets", file(subnet.to_json()), "--json")
    assert run(*command)[0] == 0 and run(*command, "--measured-only", "--rows", "hot")[0] == 0
    code, out, err = run(*command, "--measured-only")
    assert (code, out) == (3, "") and "(status 'modelled')" in " ".join(err.split())


def test_the_command_reads_what_sampling_prints(run: Run, lut: Path, file: Callable[[Any], str]) -> None:
    tiny = ("mobilenet_v3_tiny", "--channels", "1", "--classes", "10")
    _, sampled, _ = run("space", "sample", *tiny, "-n", "5", "--json")
    code, out, _ = run("estimate", "--lut", str(lut), "--subnets", file(sampled), "--json")
    assert code == 0
    assert [entry["id"] for entry in json.loads(out)["subnets"]] == [entry["id"] for entry in json.loads(sampled)]


GOOD = TINY.corner("min").to_json()
DEEP = "[" * 500 + "]" * 500
BAD: dict[str, tuple[Any, str]] = {
    "empty": ("", "is not valid JSON"),
    "not JSON": ("depths: 1", "is not valid JSON"),
    "cut short": (json.dumps([GOOD])[:-9], "is not valid JSON"),
    "NaN": (json.dumps(GOOD | {"resolution": float("nan")}), "'NaN' is not a number JSON knows"),
    "infinity": (json.dumps(GOOD | {"resolution": 32}).replace("32", "1e999"), "Out of range float values"),
    "nested without end": ("[" * 100_000, "is not valid JSON"),
    "nested deeply": (json.dumps(GOOD | {"depths": 0}).replace(": 0", ": " + DEEP), "'s1.depth' is [["),
    "no subnet": ("[]", "holds no subnet"),
    "number": ("5", "entry 1 of"),
    "null": ("null", "entry 1 of"),
    "list in a list": ([[GOOD]], "entry 1 of"),
    "second is no subnet": ([GOOD, "id"], "entry 2 of"),
    "no space": ({"depths": [1, 1, 1]}, "entry 1 of"),
    "space as list": ([GOOD | {"space": ["a"]}], "entry 1 of"),
    "unknown space": (GOOD | {"space": "mobilenet_v9-w1.0"}, "'mobilenet_v9-w1.0' is not the id of a search space"),
    "a space the table does not price": (spaces.load("proxyless").corner("min").to_json(), "has no row for"),
    "other widths of a space": (GOOD | {"space": WIDE.id, "resolution": 30}, "'resolution' is 30"),
    "wrong space": (GOOD | {"space": "mobilenet_v3-w1.0"}, "'resolution' is 32"),
    "wrong id": (GOOD | {"id": WIDE.corner("min").id}, "does not name this subnet"),
    "kernel not offered": ([GOOD, GOOD | {"kernels": [[9], [3], [3]]}], "'s1.b1.kernel' is 9"),
    "truth for a number": (GOOD | {"depths": [True, 1, 1]}, "'s1.depth' is True"),
    "lists too long": (GOOD | {"kernels": [[3], [3], [3], 7]}, "'kernels' is not what"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "says"), BAD.values(), ids=BAD)
def test_a_bad_file_is_named_on_standard_error_alone(
    content: Any, says: str, run: Run, lut: Path, file: Callable[[Any], str]
) -> None:
    code, out, err = run("estimate", "--lut", str(lut), "--subnets", file(content), "--json")
    assert (code, out) == (3, "")
    shown = " ".join(err.split())
    assert says in shown and "Traceback" not in err and "bug of ours" not in err
    assert shown.startswith("error: ") and " why: " in shown and " try: " in shown


def test_a_bad_table_or_path_is_refused_alike(run: Run, lut: Path, file: Callable[[Any], str], tmp_path: Path) -> None:
    good = file(GOOD)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "lut.json").write_bytes((lut / "lut.json").read_bytes())
    for table, subnets, state in (
        (lut, str(tmp_path / "absent.json"), "cold"),
        (lut, str(tmp_path), "cold"),
        (tmp_path / "absent", good, "cold"),
        (tmp_path / "half", good, "cold"),
        (lut, good, "-"),
        (lut, good, "lukewarm"),
    ):
        code, out, err = run("estimate", "--lut", str(table), "--subnets", subnets, "--rows", state, "--json")
        assert (code, out) == (3, "") and "Traceback" not in err
        assert err.startswith("error: ") and "  why: " in err and "  try: " in err
