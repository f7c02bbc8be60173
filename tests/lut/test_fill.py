"""Missing cells priced by a model: a truth that adds up is found, measured rows stay, doubt grows with distance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import accumulate, combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.errors import SpaceMismatch
from ofa.estimate import estimator
from ofa.lut import fill as fills
from ofa.lut import format, physics, residuals, write
from ofa.lut.fill import fill
from ofa.lut.format import Header, Lut, Row
from ofa.lut.importers import Origin, import_table
from ofa.lut.residuals import Scales
from ofa.space.core import from_json
from ofa.space.index import ops_in
from ofa.space.ops import Op, ops_of, parse

TINY = replace(spaces.load("mobilenet_v3_tiny", channels=1, classes=10), resolutions=(16, 24, 32))
WIDER = replace(spaces.load("mobilenet_v3_tiny", width=1.5, channels=1, classes=10), resolutions=(24,))
OPS = ops_in(TINY)
PRICES_NS = {
    "call": 3000, "pointwise macs": 0.2, "dense macs": 0.5, "depthwise taps": 0.8, "depthwise strided taps": 1.2,
    "elements": 0.4, "hswish elements": 0.7, "weights": 0.3, "pixel macs": 0.9, "pixel layers": 400,
}  # fmt: skip
Truth = Callable[[Op], float]


def additive(op: Op) -> float:
    """Return a made-up time, ns: so much for each unit of each kind of work."""
    return sum(PRICES_NS[name] * amount for name, amount in physics.work(op, 8).items())


def jittery(op: Op) -> float:
    """Return the additive time, moved by what a place, a choice and an op have of their own: 10, 5 and 1 %."""
    log = 0.0
    for part, share in ((residuals.place(op), 0.1), (residuals.family(op), 0.05), (op, 0.01)):
        log += share * np.random.default_rng(list(part.key.encode())).normal()
    return additive(op) * float(np.exp(log))


def measured(ops: Iterable[Op], truth: Truth = additive, **facts: Any) -> list[Row]:
    """Return hot rows that say the truth to half a percent."""
    rows = []
    for op in ops:
        ns = round(truth(op))
        row = Row(op.key, "hot", "ok", ns, round(ns * 0.995), round(ns * 1.005), None, None, 5, (), "s1")
        rows.append(row._replace(**facts))
    return rows


def table_of(rows: Iterable[Row], protocol: dict[str, Any] | None = None) -> Lut:
    """Return a table of some rows."""
    header = Header(
        device="pixel-8", runtime="litert", runtime_version="2.1", precision="fp32", conditions="1t",
        environment={"threads": 1}, protocol=protocol or {}, simulated=False, created="2026-02-28",
    )  # fmt: skip
    return Lut(header=header, rows=tuple(rows), sessions=({"id": "s1"},)).sorted()


def modelled(lut: Lut) -> dict[Op, Row]:
    """Return the modelled rows by op."""
    return {parse(row.key): row for row in lut.rows if row.status == "modelled"}


def half_pct(row: Row) -> float:
    """Return half the interval of a row, percent."""
    return 100 * ((row.hi or 0) - (row.lo or 0)) / 2 / (row.ns or 1)


MISSING: dict[str, tuple[Callable[[Op], bool], set[str]]] = {
    "a map between others": (lambda op: op.kind == "mbconv" and op.in_size == 12, {"filled-size"}),
    "the largest maps": (lambda op: op.kind == "mbconv" and op.in_size == 16, {"filled-beyond"}),
    "a kernel and width": (lambda op: op.kernel == 5 and op.mid == (3 * op.in_channels,), {"filled-choice"}),
    "a place": (lambda op: (op.in_channels, op.out_channels) == (16, 24), {"filled-width"}),
}


@pytest.mark.parametrize(("out", "flags"), MISSING.values(), ids=MISSING)
def test_a_truth_that_adds_up_is_found(out: Callable[[Op], bool], flags: set[str]) -> None:
    kept = [op for op in OPS if not out(op)]
    gone = [op for op in OPS if out(op)]
    assert len(kept) > 50 and len(gone) > 5
    found = modelled(fill(table_of(measured(kept)), TINY))
    assert set(found) == set(gone)
    assert {flag for row in found.values() for flag in row.flags} == flags
    for op, row in found.items():
        assert row.ns == pytest.approx(additive(op), rel=0.01), op.key
        assert row.lo is not None and row.hi is not None and row.lo <= additive(op) <= row.hi
        assert (row.state, row.session, row.rounds) == ("hot", "", 0) and (row.cpu_ns, row.wall_ns) == (None, None)


def test_another_width_and_other_resolutions_are_priced() -> None:
    lut = fill(table_of(measured(OPS)), WIDER, (20, 36))
    wanted = replace(WIDER, resolutions=(20, 36))
    found = modelled(lut)
    assert set(found) == set(ops_in(wanted)) - set(OPS)
    for op, row in found.items():
        assert row.ns == pytest.approx(additive(op), rel=0.02), op.key
    assert estimator(lut, wanted).state == "hot"
    with pytest.raises(SpaceMismatch, match="status 'modelled'"):
        estimator(lut, wanted, measured_only=True)


def test_a_truth_of_another_form_is_met_roughly() -> None:
    """MACs at one price, those of taps outside the map too: no kind of work of the model."""

    def by_macs(op: Op) -> float:
        return 3000.0 + 0.5 * op.macs

    found = modelled(fill(table_of(measured(OPS, by_macs)), WIDER))
    wrong = [abs((row.ns or 0) / by_macs(op) - 1) for op, row in found.items()]
    assert len(wrong) > 40 and np.mean(wrong) < 0.02 and max(wrong) < 0.06


def test_no_row_that_is_there_is_touched(tmp_path: Path) -> None:
    ops = OPS
    gone, failed, unsupported = ops[40], ops[50], ops[60]
    rows = [
        *measured(op for op in ops if op not in (gone, failed, unsupported)),
        *[row._replace(status="failed", ns=None, lo=None, hi=None) for row in measured([failed])],
        *[row._replace(status="unsupported", ns=None, lo=None, hi=None) for row in measured([unsupported])],
        *measured([op for op in ops if op not in ops[5:9]], state="cold"),
        Row("@session", "-", "ok", 500, 400, 600, None, None, 5, (), "s1"),
        Row(ops[70].key.removesuffix("n1") + "n8", "hot", "ok", 10**9, 10**9, 10**9, None, None, 5, (), "s1"),
    ]  # fmt: skip
    before = table_of(rows, protocol={"rounds": 5})
    after = fill(before, TINY)
    added = set(after.rows) - set(before.rows)
    assert set(before.rows) < set(after.rows) and len(after.rows) == len(before.rows) + len(added)
    assert {(row.key, row.state) for row in added} == {
        (gone.key, "hot"), *((op.key, "cold") for op in ops[5:9])
    }  # fmt: skip
    assert (after.sessions, after.networks) == (before.sessions, before.networks)
    assert after.header.protocol["rounds"] == 5
    assert before.header.protocol == {"rounds": 5}
    write.write(after, tmp_path / "lut")
    assert format.read(tmp_path / "lut") == after


def test_the_header_says_what_was_filled() -> None:
    whole = table_of(measured(OPS))
    assert fill(whole, TINY) is whole
    once = fill(whole, TINY, (20,))
    (said,) = facts_of(once)
    assert (said["space"], said["resolutions"], said["state"]) == (TINY.id, [20], "hot")
    assert said["measured"] == len(OPS) and said["rows"] == {"filled-size": len(modelled(once))}
    assert said["tile_px"] == 8
    for name in ("depthwise taps", "pointwise macs", "hswish elements"):
        assert said["prices_ns"][name] == pytest.approx(PRICES_NS[name], rel=0.05)
    assert 0 <= said["left_out_pct"]["size"] < 0.5 and min(said["interval_widened_by"].values()) >= 1
    assert [entry["space"] for entry in facts_of(fill(once, WIDER))] == [TINY.id, WIDER.id]


def facts_of(lut: Lut) -> list[dict[str, Any]]:
    """Return what a header says of its modelled rows."""
    return json.loads(json.dumps(lut.header.protocol["fill"]))


def test_only_measured_rows_are_learnt_from() -> None:
    out = {op for op in OPS if op.in_size == 12}
    honest = table_of(measured(op for op in OPS if op not in out))
    absurd = [
        *measured(out, lambda op: 1e9, status="modelled", rounds=0, session=""),
        *measured(list(ops_in(WIDER))[:9], lambda op: 1e9, status="thermal"),
    ]
    misled = table_of([*honest.rows, *absurd])
    said = {row.key: row.ns for row in fill(honest, WIDER).rows}
    there = {row.key for row in misled.rows}
    for row in fill(misled, WIDER).rows:
        assert row.key in there or row.ns == said[row.key]


def test_doubt_grows_with_distance_and_holds_the_truth() -> None:
    rng = np.random.default_rng(1)
    kept = [op for op in OPS if rng.random() < 0.6 and (op.kernel, op.mid) != (5, (48,))]
    table = table_of(measured(kept, jittery))
    near = modelled(fill(table, TINY))
    halves = {
        flag: np.median([half_pct(row) for row in near.values() if row.flags == (flag,)])
        for flag in ("filled-size", "filled-choice")
    }
    assert halves["filled-size"] < halves["filled-choice"]
    far = modelled(fill(table, TINY, (64, 256)))
    block = next(op for op in far if op.kind == "mbconv" and far[op].flags == ("filled-beyond",))
    sizes = sorted(op.in_size for op in far if residuals.family(op) == residuals.family(block))
    by_size = [half_pct(far[replace(block, in_size=size)]) for size in sizes]
    assert len(by_size) > 1 and by_size[0] < by_size[-1]
    wide = modelled(fill(table, WIDER))
    inside = [(row.lo or 0) <= jittery(op) <= (row.hi or 0) for op, row in {**near, **wide}.items()]
    assert len(inside) > 100 and np.mean(inside) > 0.85


def test_neighbours_correct_the_model() -> None:
    """One kernel is slow in a way no work explains; a size of it that was never measured is priced as slow."""

    def slow(op: Op) -> float:
        return additive(op) * (1.4 if op.kernel == 5 else 1.0)

    out = {op for op in OPS if op.in_size == 12 and op.kind == "mbconv"}
    table = table_of(measured((op for op in OPS if op not in out), slow))
    for op, row in modelled(fill(table, TINY)).items():
        assert row.ns == pytest.approx(slow(op), rel=0.03), op.key


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_rows_teach_nothing(count: int) -> None:
    rows = measured(OPS[:count])
    noted = measured([OPS[-1]], status="thermal")
    with pytest.raises(SpaceMismatch, match="cannot be priced") as caught:
        fill(table_of([*rows, *noted]), TINY)
    assert f"{count} ops are measured" in caught.value.why
    assert caught.value.exit_code == 3 and caught.value.hints


def test_what_no_measured_op_has_is_not_made_up() -> None:
    cases = {
        "kind 'head'": [op for op in OPS if op.kind != "head"],
        "depthwise strided taps": [op for op in OPS if op.kind != "mbconv" or op.stride == 1],
    }
    for part, kept in cases.items():
        with pytest.raises(SpaceMismatch, match="has nothing to price") as caught:
            fill(table_of(measured(kept)), replace(TINY, resolutions=(20,)))
        assert part in caught.value.why and caught.value.exit_code == 3


def test_of_very_many_rows_those_most_like_the_missing_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    out = {op for op in OPS if op.in_size == 12 and op.kind == "mbconv"}
    table = table_of(measured(op for op in OPS if op not in out))
    monkeypatch.setattr(fills, "MOST_ROWS", 100)
    filled = fill(table, TINY)
    (said,) = facts_of(filled)
    assert said["measured"] == 100
    for op, row in modelled(filled).items():
        assert row.ns == pytest.approx(additive(op), rel=0.01)
    blocks = [op for op in OPS if op.kind == "mbconv"]
    target = replace(blocks[0], in_size=blocks[0].in_size + 2 * blocks[0].stride)
    (best,) = residuals.nearest(blocks, [target], 1)
    assert residuals.family(blocks[best]) == residuals.family(target)


def test_prices_are_never_negative_and_best() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        # The sum of two columns comes in first and has to go back to nothing once they are in themselves.
        matrix = np.abs(rng.normal(size=(20, 5)))
        matrix[:, 4] = matrix[:, 0] + matrix[:, 1] + rng.normal(size=20) / 3
        target = 2 * matrix[:, 0] + matrix[:, 1] + rng.normal(size=20) / 3
        found = physics.non_negative(matrix.T @ matrix, matrix.T @ target)
        assert found.min() >= 0
        assert float(((matrix @ found - target) ** 2).sum()) <= best_of_all_subsets(matrix, target) + 1e-9


def best_of_all_subsets(matrix: np.ndarray, target: np.ndarray) -> float:
    """Return the least sum of squares without a negative weight, by trying every subset of columns."""
    least = float((target**2).sum())
    for size in range(1, matrix.shape[1] + 1):
        for chosen in combinations(range(matrix.shape[1]), size):
            weights = np.linalg.lstsq(matrix[:, chosen], target, rcond=None)[0]
            if (weights >= 0).all():
                least = min(least, float(((matrix[:, chosen] @ weights - target) ** 2).sum()))
    return least


def test_work_is_what_the_layers_do() -> None:
    (block,) = (parse("mbconv.k3.s1.i8x2.o8x2.m16.hswish.n1"),)
    pixels = 4
    assert dict(physics.work(block, 1)) == {
        "call": 1,
        "elements": pixels * (16 + 16 + 8 + 8),
        "hswish elements": pixels * (16 + 16),
        # Of the nine taps at each of four corners, four lie inside the map.
        "depthwise taps": 16 * 16,
        "pointwise macs": pixels * (8 * 16 + 16 * 8),
        "weights": 8 * 16 + 2 * 16 + 9 * 16 + 2 * 16 + 16 * 8 + 2 * 8 - (9 * 16 + 2 * 16),
    }
    assert physics.work(block, 8)["pointwise macs"] == 2 * physics.work(block, 1)["pointwise macs"]


def test_leaving_rows_out_of_one_inverse_is_leaving_them_out() -> None:
    ops = OPS[60:120]
    rng = np.random.default_rng(2)
    spread, values = rng.uniform(0.001, 0.02, len(ops)), rng.normal(size=len(ops)) / 20
    matrix, target = rng.uniform(size=(len(ops), 4)), rng.normal(size=len(ops))
    out = np.array([3, 17, 18, 40])
    rest = np.delete(np.arange(len(ops)), out)
    whole = residuals.solve(ops, spread, Scales())
    less = residuals.solve([ops[row] for row in rest], spread[rest], Scales())
    error, deviation = whole.left_out(out, values)
    mean, expected = less.predict([ops[row] for row in out], values[rest])
    assert values[out] - error == pytest.approx(mean, abs=1e-9)
    assert deviation == pytest.approx(expected, rel=1e-6)
    gram, goal = whole.normal(matrix, target, out)
    gram_less, goal_less = less.normal(matrix[rest], target[rest], np.array([], dtype=np.int64))
    assert gram == pytest.approx(gram_less, rel=1e-6) and goal == pytest.approx(goal_less, rel=1e-6, abs=1e-9)


@pytest.mark.slow
def test_published_networks_of_another_width_are_priced_within_4_percent(data_folder: Path) -> None:
    """The four Note10 networks of width 1.0, from tables that hold width 1.2 alone."""
    origin = Origin(device="note10", source="published", created="2026-02-28")
    lut = import_table(data_folder / "ofa_reference" / "note10", origin)
    narrow = spaces.load("mobilenet_v3", width=1.0)
    found = []
    for entry in json.loads((data_folder / "ofa_reference" / "index.json").read_text()):
        if "note10" in entry["name"] and entry["stem"] == 16:
            ends = list(pairwise(accumulate(entry["d"], initial=0)))
            facts = {"space": narrow.id, "resolution": entry["image_size"], "depths": entry["d"]}
            by_stage = {name: [entry[key][a:b] for a, b in ends] for name, key in (("kernels", "ks"), ("expands", "e"))}
            subnet = from_json(narrow, facts | by_stage)
            rows = {row.key: row.ns or 0 for row in fill(lut, narrow, (entry["image_size"],)).rows}
            found.append(sum(rows[op.key] for op in ops_of(subnet)) / 1e6 / entry["latency_ms"] - 1)
    assert len(found) == 4 and max(map(abs, found)) < 0.04
