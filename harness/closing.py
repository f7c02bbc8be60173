"""What a run comes to: its rows, its models in a few numbers, and the closing table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.choose import Chosen
from harness.plan import RuntimeName
from harness.verify import Verification
from ofa import console, score
from ofa.lut.format import Lut
from ofa.lut.heldout import genomes_of
from ofa.lut.rows import NANOSECONDS_PER_MS
from ofa.space.core import Genomes, SearchSpace

if TYPE_CHECKING:
    from ofa.twins.accuracy import AccuracyTwin
    from ofa.twins.latency import LatencyTwin

# A change of speed between table and verification that the closing table speaks of.
TOLD_SLOWER = 0.02


def networks(space: SearchSpace, lut: Lut, split: str | None) -> tuple[Genomes, NDArray[np.float64]]:
    """Return the genomes and latencies, ms, of a table's whole networks of one split (None: all) that have a time."""
    rows = [row for row in lut.networks if row.space == space.id and row.ns and split in (None, row.split)]
    return genomes_of(space, rows), np.array([(row.ns or 0) / NANOSECONDS_PER_MS for row in rows])


def models(
    space: SearchSpace,
    accuracy: AccuracyTwin,
    latency: Mapping[RuntimeName, LatencyTwin],
    tables: Mapping[RuntimeName, Lut],
) -> dict[str, Any]:
    """Return what the twins are and how far off they were: cross-validated, and on networks held out from them."""
    card = accuracy.card
    return {
        "accuracy": {
            "chosen": card["chosen"],
            "samples": card["samples"],
            **{name: card["models"][card["chosen"]][name] for name in ("spearman", "rmse_points")},
            "half_width_points": card["interval"]["half_width_points"],
        },
        "latency": {name: _latency_model(space, twin, tables[name]) for name, twin in latency.items()},
    }


def _latency_model(space: SearchSpace, twin: LatencyTwin, lut: Lut) -> dict[str, Any]:
    """Describe one latency twin."""
    genomes, measured_ms = networks(space, lut, "holdout")
    return {
        "chosen": twin.card["chosen"],
        "weights": twin.card["weights"],
        "constant_ms": twin.card["constant_ms"],
        "fit_networks": twin.card["samples"],
        "cross_validated_mape_pct": twin.card["models"][twin.card["chosen"]]["mape_percent"],
        "macs_only_mape_pct": twin.card["models"]["macs"]["mape_percent"],
        "holdout_networks": len(measured_ms),
        "holdout_mape_pct": round(score.mape_pct(twin.predict(genomes), measured_ms), 6) if len(measured_ms) else None,
        "statistic": lut.header.protocol["statistic"],
    }


def rows(
    device: str,
    picks: Sequence[Chosen],
    verified: Mapping[RuntimeName, Verification],
    tested: Mapping[tuple[str, str], float],
) -> list[dict[str, Any]]:
    """Return one row for each chosen network: budget, predicted, measured, also on the other runtime."""
    by_name = {(name, one.name): one for name, found in verified.items() for one in found.verdicts}
    found = []
    for pick in picks:
        own = by_name[pick.runtime, pick.subnet.id]
        others = [by_name[name, pick.subnet.id].measured_ms for name in verified if name != pick.runtime]
        found.append(
            {
                "device": device,
                "runtime": pick.runtime,
                "budget_ms": pick.budget_ms,
                "subnet": pick.subnet.to_json(),
                "subnet_id": pick.subnet.id,
                "predicted_ms": pick.predicted_ms,
                "measured_ms": own.measured_ms,
                "measured_lo_ms": own.lo_ms,
                "measured_hi_ms": own.hi_ms,
                "as_timed_ms": own.as_timed_ms,
                "measured_on_other_ms": others[0] if others else None,
                "predicted_top1": pick.predicted_top1,
                "predicted_lo_top1": pick.interval[0],
                "predicted_hi_top1": pick.interval[1],
                "measured_top1": tested[pick.runtime, pick.subnet.id],
            }
        )
    return found


def summary(
    wall_s: float,
    labels: NDArray[np.float64],
    models: dict[str, Any],
    rows: list[dict[str, Any]],
    verified: Mapping[RuntimeName, Verification],
) -> dict[str, Any]:
    """Return what ``summary.json`` holds; ``accuracy_spread`` is the 5th and 95th percentile of the labels, percent.

    ``slower``: how much longer networks of each table took when the chosen ones were measured than when the table was
    (1.03 is 3 % longer); every ``measured_ms`` is ``as_timed_ms`` divided by it.
    """
    low, high = np.percentile(labels, [5, 95])
    return {
        "wall_s": wall_s,
        "accuracy_spread": [float(low), float(high)],
        "models": models,
        "slower": {name: found.speed for name, found in verified.items()},
        "rows": rows,
    }


def show(found: dict[str, Any], report: str) -> None:
    """Print the closing table."""
    times = ("budget ms", "predicted ms", "measured ms", "±", "as timed", "on the other")
    columns = ("runtime", *times, "predicted %", "measured %")
    lines = []
    for row in found["rows"]:
        low, high, centre = row["measured_lo_ms"], row["measured_hi_ms"], row["measured_ms"]
        half = f"{100 * (high - low) / 2 / centre:.1f} %" if centre else None
        lines.append(
            (
                row["runtime"],
                row["budget_ms"],
                row["predicted_ms"],
                centre,
                half,
                row["as_timed_ms"],
                row["measured_on_other_ms"],
                row["predicted_top1"],
                row["measured_top1"],
            )
        )
    console.table(columns, lines, title="Chosen networks")
    for name, slower in found["slower"].items():
        if abs(slower - 1) > TOLD_SLOWER:
            change = f"{100 * abs(slower - 1):.0f} % {'slower' if slower > 1 else 'faster'}"
            console.note(f"{name} was {change} by then than for its table: 'measured' is at the table's speed")
    console.note(f"\nwall time {found['wall_s']:.0f} s; open {report}")
