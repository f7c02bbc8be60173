"""Why a network was chosen: what its parts add to each limit, and the single changes that were turned down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.report.figure import SERIES, Figure, axis, layout
from harness.report.parse import listed, mapped, number
from harness.report.words import figures3, plain

if TYPE_CHECKING:
    from harness.report.read import Bench

# Of all changes of one gene, those that would have made it most accurate.
MOST_CHANGES = 10
_BLOCK = re.compile(r"s([0-9]{1,3})\.b([0-9]{1,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A gene that would pick something else: by how many points accuracy would rise, and which limits it would miss."""

    gene: str
    was: float
    becomes: float
    points: float
    over: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What stem, blocks and head add to each limit, by its name; changes, most accurate first."""

    costs: dict[str, dict[str, float]]
    changes: tuple[Change, ...]


def why(facts: Any) -> Why | None:
    """Return what a search says of its choice; None where it says nothing."""
    told = mapped(facts)
    costs = {
        str(limit): {str(part): value for part, of in mapped(parts).items() if (value := number(of)) is not None}
        for limit, parts in mapped(told.get("costs")).items()
    }
    changes = [_change(mapped(entry)) for entry in listed(told.get("changes"))]
    known = tuple(change for change in changes if change is not None)
    found = {limit: parts for limit, parts in costs.items() if parts}
    return Why(costs=found, changes=known) if found or known else None


def _change(entry: dict[str, Any]) -> Change | None:
    was, becomes, points = (number(entry.get(key)) for key in ("was", "becomes", "points"))
    if was is None or becomes is None or points is None:
        return None
    over = tuple(str(name) for name in mapped(entry.get("over")))
    return Change(gene=str(entry.get("gene") or ""), was=was, becomes=becomes, points=points, over=over)


def _place(part: str) -> tuple[int, int, int, str]:
    """Return where a part stands in a network: files keep parts by name."""
    block = _BLOCK.fullmatch(part)
    outer = {"stem": 0, "head": 2}.get(part, 3)
    return (1, int(block[1]), int(block[2]), part) if block else (outer, 0, 0, part)


def costs(bench: Bench, number: int) -> Figure | None:
    """Draw what share of each limit's value every part of the chosen network has."""
    told = bench.front.why if bench.front else None
    if told is None or not told.costs:
        return None
    parts = sorted({part for found in told.costs.values() for part in found}, key=_place)
    data: list[dict[str, Any]] = []
    rows: list[tuple[str, str, float, float]] = []
    for place, (limit, found) in enumerate(told.costs.items()):
        total = sum(found.values()) or 1.0
        shares = [100 * found.get(part, 0.0) / total for part in parts]
        rows += [(limit, part, found[part], 100 * found[part] / total) for part in parts if part in found]
        data.append(
            {
                "type": "bar",
                "name": plain(limit),
                "x": [plain(part) for part in parts],
                "y": shares,
                "marker": {"color": SERIES[(number + place) % len(SERIES)]},
                "text": [figures3(found.get(part)) for part in parts],
                "textposition": "none",
                "hovertemplate": f"%{{x}}<br>%{{y:.1f}} % of {plain(limit)}, %{{text}}<extra></extra>",
            }
        )
    limits = " and ".join(told.costs)
    return Figure(
        id=f"why-{bench.runtime}",
        title=bench.titled("what the parts of the chosen network cost"),
        label=f"Share in percent that each of {len(parts)} parts of the chosen network, stem, blocks and head, has of "
        f"what it counts as in {limits}",
        note="sN.bM is block M of stage N. The data has the values themselves, in the unit of the limit.",
        data=data,
        layout=layout(
            axis("part of the network", type="category", showgrid=False),
            axis("share of the whole, %", rangemode="tozero"),
            barmode="group",
        ),
        header=("limit", "part", "value", "share_percent"),
        rows=tuple(rows),
    )
