"""Lay two runs out side by side as one HTML file: tables, devices or searches, whatever both of them hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.report import contrasts
from harness.report.page import laid_out, written
from harness.report.pairs import Comparison, Pair, comparison

MOST_ROWS = 15


def write(a: Path, b: Path, out: Path, on_broken: Callable[[str], object] | None = None) -> Path:
    """Write the page that compares two runs, tables or searches to ``out``, and return its path.

    ``on_broken`` is told of each input that could not be read. Equal folders give equal bytes. Raises FileInvalid where
    a side cannot be read or they have nothing in common, and PackageMissing without plotly or Jinja2.
    """
    found = comparison(Path(a), Path(b))
    if on_broken is not None:
        for name, run in zip(found.names, found.runs, strict=True):
            for line in run.broken:
                on_broken(f"{name}, {line}")
    return written(render(found), Path(out))


def render(found: Comparison) -> str:
    """Return the page of a comparison as HTML text."""
    drawn = {pair.name: contrasts.of(pair, found.names) for pair in found.pairs}
    return laid_out(
        "compare.html.jinja",
        [figure for figures in drawn.values() for figure in figures],
        _summary(found),
        found=found,
        simulated=any(run.simulated for run in found.runs),
        contrasts=drawn,
        conditions={pair.name: _conditions(pair) for pair in found.pairs},
        changed={pair.name: _changed(pair) for pair in found.pairs},
        most=MOST_ROWS,
    )


def _changed(pair: Pair) -> list[dict[str, Any]]:
    """Return the ops and networks of two tables that changed beyond noise, the largest change first."""
    if pair.tables is None:
        return []
    rows = [
        row | {"name": row.get("key", row.get("id")), "state": row.get("state", "hot")}
        for part in ("ops", "networks")
        for row in pair.tables.facts[part]["rows"]
        if row["significant"]
    ]
    return sorted(rows, key=lambda row: (-max(row["ratio"], 1 / row["ratio"]), row["name"], row["state"]))


def _conditions(pair: Pair) -> list[dict[str, Any]]:
    """Return the conditions of two tables that differ."""
    facts = pair.tables.facts if pair.tables else {}
    return [*facts.get("identity", ()), *facts.get("environment", ()), *facts.get("protocol", ())]


def _summary(found: Comparison) -> dict[str, Any]:
    """Return what the page says, for programs."""
    return {
        "a": found.names[0],
        "b": found.names[1],
        "simulated": any(run.simulated for run in found.runs),
        "files": [{fact.path: fact.sha256 for fact in run.files} for run in found.runs],
        "pairs": [_facts(pair) for pair in found.pairs],
    }


def _facts(pair: Pair) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": pair.name}
    if pair.tables:
        facts["tables"] = {name: value for name, value in pair.tables.facts.items() if name not in ("ops", "networks")}
        for part, ranking in (("ops", pair.tables.ops), ("networks", pair.tables.networks)):
            own = pair.tables.facts[part]
            kept = {name: own[name] for name in ("compared", "slower", "faster", "shift", "floor_pct")}
            facts[part] = kept | {"spearman": ranking.spearman}
    if pair.fronts:
        facts["hypervolume"] = {"a": pair.fronts.a_volume, "b": pair.fronts.b_volume}
    return facts
