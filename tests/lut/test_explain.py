"""What a table's error is made of: the held-out networks that it prices worst, and the rows behind each price."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ofa.lut.explain import farthest_off
from ofa.lut.format import Lut
from ofa.lut.write import write
from ofa.space.ops import ops_of

from .test_heldout import SPACE, additive

Run = Callable[..., tuple[int, str, str]]


def spoilt(table: Lut) -> tuple[Lut, str, str]:
    """Return a table of which two held-out networks take longer than its sums, and these two, the worse first."""
    lut = additive(table)
    held = [row for row in lut.networks if row.split == "holdout"]
    slower = {held[2].id: 1.25, held[5].id: 1.5}
    networks = tuple(
        row._replace(ns=round((row.ns or 0) * slower[row.id]), hi=2 * (row.hi or 0)) if row.id in slower else row
        for row in lut.networks
    )
    return dataclasses.replace(lut, networks=networks), held[5].id, held[2].id


def test_the_worst_priced_are_named_with_their_rows(table: Lut) -> None:
    lut, worst, next_worst = spoilt(table)
    found = farthest_off(lut)
    assert [entry["id"] for entry in found[:2]] == [worst, next_worst] and len(found) == 3
    assert [entry["error_pct"] for entry in found] == pytest.approx([-100 / 3, -20, 0], abs=0.1)
    row = next(row for row in lut.networks if row.id == worst)
    subnet = SPACE.subnet(bytes.fromhex(row.genome))
    assert found[0]["measured_ms"] == (row.ns or 0) / 1e6 and found[0]["resolution"] == subnet.resolution
    assert [part["key"] for part in found[0]["rows"]] == [op.key for op in ops_of(subnet)]
    sums = [sum(part[f"{state}_ms"] for part in found[0]["rows"]) for state in ("hot", "cold")]
    assert 0.3 * sums[0] + 0.6 * sums[1] + 0.04 == pytest.approx(found[0]["predicted_ms"], rel=1e-4)


def test_a_table_without_held_out_networks_explains_nothing(table: Lut) -> None:
    assert farthest_off(dataclasses.replace(additive(table), networks=())) == []


def test_the_verb_lists_them_where_it_is_asked(run: Run, table: Lut, tmp_path: Path) -> None:
    lut, worst, _ = spoilt(table)
    write(lut, tmp_path / "table")
    code, out, _ = run("lut", "show", str(tmp_path / "table"), "--explain")
    assert code == 0 and f"{worst} row by row" in out
    code, out, _ = run("lut", "show", str(tmp_path / "table"), "--explain", "--json")
    assert code == 0 and json.loads(out)["farthest_off"][0]["id"] == worst
    code, out, _ = run("lut", "show", str(tmp_path / "table"), "--json")
    assert code == 0 and "farthest_off" not in json.loads(out)
