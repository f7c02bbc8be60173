"""Turn the text of a run's files into frozen rows; what does not parse is counted, never guessed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_CORNERS_IN = ("corners", "accuracy", "accuracies", "top1", "eval")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A network chosen under a budget: latencies in ms, accuracies in percent, None where not known."""

    device: str
    runtime: str
    subnet: dict[str, Any]
    id: str
    budget_ms: float | None
    predicted_ms: float | None
    measured_ms: float | None
    measured_lo_ms: float | None
    measured_hi_ms: float | None
    other_ms: float | None
    predicted_top1: float | None
    predicted_lo_top1: float | None
    predicted_hi_top1: float | None
    measured_top1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The measured accuracy, percent, of one subnet."""

    id: str
    resolution: int
    top1: float
    images: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the training log; ``corners`` maps a corner subnet's name to its accuracy, percent."""

    step: float
    loss: float | None
    learning_rate: float | None
    resolution: int | None
    phase: str
    corners: dict[str, float]


def listed(value: Any) -> list[Any]:
    """Return a list that a file gave, empty for anything else."""
    return value if isinstance(value, list) else []


def mapped(value: Any) -> dict[str, Any]:
    """Return an object that a file gave, empty for anything else."""
    return value if isinstance(value, dict) else {}


def number(value: Any) -> float | None:
    """Return a finite float, or None for anything else (a bool and a text that is no number included)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def choices(rows: Any) -> tuple[tuple[Choice, ...], int]:
    """Return the closing rows of a summary, and how many could not be read."""
    if not isinstance(rows, list):
        return (), 0
    found = [_choice(row) for row in rows if isinstance(row, dict) and str(row.get("runtime") or "")]
    return tuple(found), len(rows) - len(found)


def _choice(row: dict[str, Any]) -> Choice:
    """Read one closing row; the latency on the other device may be a number or, for several, a mapping by name."""
    subnet = mapped(row.get("subnet"))
    other = row.get("measured_on_other_ms")
    if isinstance(other, dict) and len(other) == 1:
        other = next(iter(other.values()))
    return Choice(
        device=str(row.get("device") or ""),
        runtime=str(row["runtime"]),
        subnet=subnet,
        id=str(row.get("subnet_id") or subnet.get("id") or ""),
        budget_ms=number(row.get("budget_ms")),
        predicted_ms=number(row.get("predicted_ms")),
        measured_ms=number(row.get("measured_ms")),
        measured_lo_ms=number(row.get("measured_lo_ms")),
        measured_hi_ms=number(row.get("measured_hi_ms")),
        other_ms=number(other),
        predicted_top1=number(row.get("predicted_top1")),
        predicted_lo_top1=number(row.get("predicted_lo_top1")),
        predicted_hi_top1=number(row.get("predicted_hi_top1")),
        measured_top1=number(row.get("measured_top1")),
    )


def labels(text: str | None) -> tuple[tuple[Label, ...], int]:
    """Return the labelled subnets of a ``labels.csv``, and how many rows could not be read."""
    if text is None:
        return (), 0
    found, skipped = [], 0
    for row in _csv_rows(text):
        top1, resolution, images = (number(row.get(name)) for name in ("top1", "resolution", "images"))
        if top1 is None or resolution is None or not 0 <= top1 <= 100:
            skipped += 1
            continue
        known = None if images is None else int(images)
        found.append(Label(id=str(row.get("id") or ""), resolution=int(resolution), top1=top1, images=known))
    return tuple(found), skipped


def _csv_rows(text: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV text; one that the csv module refuses, such as for a field of megabytes, is empty."""
    reader = csv.DictReader(io.StringIO(text))
    while True:
        try:
            yield next(reader)
        except csv.Error:
            yield {}
        except StopIteration:
            return


def steps(text: str | None) -> tuple[tuple[Step, ...], int]:
    """Return the lines of a ``metrics.jsonl`` by rising step, and how many could not be read."""
    if text is None:
        return (), 0
    found, skipped = [], 0
    for line in filter(str.strip, text.splitlines()):
        try:
            facts = json.loads(line)
            # Half a surrogate pair is no text that a page could hold.
            json.dumps(facts, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            facts = None
        step = number(facts.get("step")) if isinstance(facts, dict) else None
        if step is None:
            skipped += 1
            continue
        resolution = number(facts.get("resolution"))
        found.append(
            Step(
                step=step,
                loss=number(facts.get("loss")),
                learning_rate=number(facts.get("lr")),
                resolution=None if resolution is None else int(resolution),
                phase=str(facts.get("phase") or ""),
                corners=_corners(facts),
            )
        )
    return tuple(sorted(found, key=lambda one: one.step)), skipped


def _corners(facts: dict[str, Any]) -> dict[str, float]:
    """Return the accuracies of named subnets in one line of the log, as a mapping or as ``top1.<name>`` keys."""
    found: dict[str, float] = {}
    for key, value in facts.items():
        if key in _CORNERS_IN and isinstance(value, dict):
            pairs: Iterable[tuple[str, Any]] = value.items()
        elif key.startswith(("top1.", "top1_", "accuracy.", "accuracy_")):
            pairs = [(key.replace("_", ".", 1).split(".", 1)[1], value)]
        else:
            continue
        found |= {str(name): top1 for name, item in pairs if (top1 := number(item)) is not None}
    return found
