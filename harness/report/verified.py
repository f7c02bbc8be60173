"""Model files that `ofa verify` measured: its ``verify.json`` as frozen rows, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.figure import INK, SERIES, Figure, axis, bars, layout, points
from harness.report.parse import number
from harness.report.verdict import above_percent
from harness.report.words import figures3, plain

MOST_FILES = 60
NAME_LETTERS = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One file: times in ms, memory in MiB, accuracy in percent; None where not known. ``why`` it has no time."""

    name: str
    status: str
    predicted_ms: float | None
    measured_ms: float | None
    lo_ms: float | None
    hi_ms: float | None
    first_ms: float | None
    p95_ms: float | None
    peak_rss_mib: float | None
    top1: float | None
    why: str

    @property
    def error_percent(self) -> float | None:
        """Return how far the prediction is above the measurement, percent of the measurement."""
        return above_percent(self.predicted_ms, self.measured_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What one session measured on one device; ``slower`` than when the table was made (1.03 is 3 % slower).

    ``floor_percent`` is what two measurements of one network differ by.
    """

    device: str
    runtime: str
    table: str
    slower: float | None
    floor_percent: float | None
    files: tuple[Verified, ...]


def verification(facts: dict[str, Any] | None) -> Verification | None:
    """Return the session of a ``verify.json`` of `ofa verify`; None for that of a demo, whose rows stand elsewhere."""
    verdicts = facts.get("verdicts") if facts else None
    if facts is None or not isinstance(verdicts, list):
        return None
    return Verification(
        device=str(facts.get("device") or ""),
        runtime=str(facts.get("runtime") or ""),
        table=str(facts.get("table") or ""),
        # Without a table there is no speed to compare with.
        slower=None if facts.get("table", "") is None else number(facts.get("slower")),
        floor_percent=number(facts.get("floor_pct")),
        files=tuple(_verified(entry) for entry in verdicts if isinstance(entry, dict)),
    )


def _verified(entry: dict[str, Any]) -> Verified:
    names = ("predicted_ms", "measured_ms", "lo_ms", "hi_ms", "first_ms", "p95_ms", "peak_rss_mib", "top1")
    return Verified(
        name=str(entry.get("name") or ""),
        status=str(entry.get("status") or ""),
        why=str(entry.get("reason") or ""),
        **{name: number(entry.get(name)) for name in names},
    )


def measured(found: Verification | None) -> Figure | None:
    """Draw the measured latency of each file with its interval, its prediction where there is one, and its p95."""
    timed = [row for row in found.files if row.measured_ms is not None] if found else []
    if found is None or not timed:
        return None
    shown = sorted(timed, key=lambda row: row.measured_ms or 0.0)[:MOST_FILES]
    names = _names(shown)
    data = [
        points(
            [row.measured_ms for row in shown],
            names,
            "measured, 95 % interval",
            marker={"color": SERIES[0], "size": 10},
            error_x=bars([(row.lo_ms, row.measured_ms, row.hi_ms) for row in shown], INK),
            hovertemplate="%{y}<br>measured %{x:.4g} ms<extra></extra>",
        )
    ]
    for label, symbol, colour, values in (
        ("predicted", "diamond-open", SERIES[1], [row.predicted_ms for row in shown]),
        ("95 of 100 calls within", "line-ns-open", SERIES[2], [row.p95_ms for row in shown]),
    ):
        if any(value is not None for value in values):
            look = {"color": colour, "size": 11, "symbol": symbol, "line": {"width": 2}}
            told = f"%{{y}}<br>{label} %{{x:.4g}} ms<extra></extra>"
            data.append(points(values, names, label, marker=look, hovertemplate=told))
    left_out = f" The quickest {len(shown)} of {len(timed)} are drawn." if len(shown) < len(timed) else ""
    widest = max((_half_percent(row) for row in shown), default=0.0)
    return Figure(
        id="verified-latency",
        title="Measured latency of each file",
        label=f"Latency in milliseconds of {len(shown)} model files measured with {found.runtime} on {found.device}, "
        f"from {figures3(shown[0].measured_ms)} to {figures3(shown[-1].measured_ms)} milliseconds",
        note=f"The widest interval is ±{widest:.1f} % of its latency.{left_out}",
        data=data,
        layout=layout(axis("latency, ms", rangemode="tozero"), axis("file", type="category", autorange="reversed")),
        header=("file", "predicted_ms", "measured_ms", "lo_ms", "hi_ms", "error_percent", "first_ms", "p95_ms"),
        rows=tuple(
            (
                *(row.name, row.predicted_ms, row.measured_ms, row.lo_ms, row.hi_ms),
                *(row.error_percent, row.first_ms, row.p95_ms),
            )
            for row in timed
        ),
        height_px=150 + 30 * len(shown),
        wide=True,
    )


def _half_percent(row: Verified) -> float:
    if row.lo_ms is None or row.hi_ms is None or not row.measured_ms:
        return 0.0
    return 50.0 * (row.hi_ms - row.lo_ms) / row.measured_ms


def _names(rows: Sequence[Verified]) -> list[str]:
    """Return the names as the axis shows them: the ends of long ones, which differ, and none of them twice."""
    found: list[str] = []
    for row in rows:
        name = row.name if len(row.name) <= NAME_LETTERS else "…" + row.name[1 - NAME_LETTERS :]
        found.append(plain(name if name not in found else f"{name} ({len(found) + 1})"))
    return found
