"""Twins as folders, whatever they speak of: fitted from files that verbs name, and loaded by what their card says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ofa import files
from ofa.space.core import SearchSpace
from ofa.twins import accuracy, errors, latency, store, tables
from ofa.twins.accuracy import AccuracyTwin
from ofa.twins.latency import LatencyTwin


def load(folder: Path, space: SearchSpace | None = None) -> AccuracyTwin | LatencyTwin:
    """Read a twin of either kind; ``space`` is the one it must belong to (default: the one its card names).

    Raises FileInvalid where it is damaged, of another version or no twin, and SpaceMismatch where it is of another
    space.
    """
    card = files.read_json(Path(folder) / "card.json", max_bytes=store.MAX_BYTES, what="twin card")
    schema = card.get("schema") if isinstance(card, dict) else None
    if str(schema).startswith("accuracy-twin/"):
        return accuracy.load(folder, space)
    if str(schema).startswith("latency-twin/"):
        return latency.load(folder, space)
    raise errors.broken(Path(folder), "its card is not one of a twin")


def fit(
    space: SearchSpace, out: Path, *, labels: Path | None, lut: Path | None, energy: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Fit a twin to a file of labels or to a latency table, write it to a folder, and return its card.

    Raises UsageInvalid unless exactly one of both is given, and what reading and fitting raise.
    """
    if (labels is None) == (lut is None) or (energy and lut is None):
        raise errors.one_source()
    twin: AccuracyTwin | LatencyTwin
    if labels is not None:
        from ofa.train import labelled

        genomes, top1 = labelled.read(labels, space)
        twin = accuracy.fit(space, genomes, top1, precision=labelled.precision_of(labels, space), seed=seed)
        source = labels
    else:
        from ofa.lut import format as formats
        from ofa.lut import shelf

        assert lut is not None
        place = shelf.place(lut)
        twin = tables.fit(space, formats.read(place), quantity="energy" if energy else "latency", seed=seed)
        source = place / formats.HEADER
    twin.card["parents"] = [files.parent(source, relative_to=out)]
    twin.save(out)
    return twin.card
