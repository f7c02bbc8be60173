"""Twins as folders, whatever they speak of: fitted from files that verbs name, and loaded by what their card says."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa import console, files
from ofa.space.core import Genomes, SearchSpace
from ofa.twins import accuracy, errors, foretold, latency, store, tables
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """How labels are added along the twin's own fronts: so often, so many each, of a training run and its images."""

    count: int
    each: int
    run: Path
    data: str


def fit(
    space: SearchSpace,
    out: Path,
    *,
    labels: Path | None,
    lut: Path | None,
    energy: bool = False,
    seed: int = 0,
    rounds: Rounds | None = None,
    by_latency: Path | None = None,
) -> dict[str, Any]:
    """Fit a twin to a file of labels or to a latency table, write it to a folder; return its card, read again.

    With ``rounds`` the file of labels grows; with ``by_latency``, a table, the card tells errors by what the table's
    sums say of the labelled networks, too. Raises UsageInvalid unless exactly one of both files is given, and what
    reading, labelling and fitting raise.
    """
    if (labels is None) == (lut is None) or (energy and lut is None):
        raise errors.one_source()
    if labels is None and (rounds is not None or by_latency is not None):
        raise errors.one_source()
    twin: AccuracyTwin | LatencyTwin
    if labels is not None:
        from ofa.train import labelled

        if not labels.exists():
            raise errors.labels_absent(labels)
        if rounds is not None:
            grow(space, labels, rounds, seed=seed)
        genomes, top1 = labelled.read(labels, space)
        known = foretold.read(labels, space)
        said = np.array([known.get(bytes(genome), np.nan) for genome in genomes])
        precision = labelled.precision_of(labels, space)
        latency_ms = None if by_latency is None else _priced(space, by_latency, genomes)
        twin = accuracy.fit(space, genomes, top1, foretold=said, precision=precision, latency_ms=latency_ms, seed=seed)
        source = labels
    else:
        from ofa.lut import format as formats
        from ofa.lut import shelf

        assert lut is not None
        place = shelf.place(lut)
        for line in shelf.warnings(place):
            console.warn(line)
        twin = tables.fit(space, formats.read(place), quantity="energy" if energy else "latency", seed=seed)
        source = place / formats.HEADER
    twin.card["parents"] = [files.parent(source, relative_to=out)]
    twin.save(out)
    # The whole twin, not its card alone: one that cannot be read again is told of here, and not by the search after.
    return load(out, space).card


def _priced(space: SearchSpace, path: Path, genomes: Genomes) -> NDArray[np.float64]:
    """Return what a table's sums say of genomes, ms; raises SpaceMismatch where it does not price all their ops."""
    from ofa import estimate
    from ofa.lut import format as formats
    from ofa.lut import shelf

    lut = formats.read(shelf.place(path))
    return estimate.price(lut, [space.subnet(genome) for genome in genomes], estimate.state_of(lut, space))


def grow(space: SearchSpace, labels: Path, rounds: Rounds, *, seed: int) -> None:
    """Add labels to a file, in rounds along fronts of a twin fitted to all before; what it gained stays in it.

    What these twins foretold of the added networks is kept beside it. The labels are made by `ofa label` in a process
    of its own, since twins do without torch. Raises UsageInvalid where it fails.
    """
    from ofa.search.active import along_front
    from ofa.train import labelled
    from ofa.twins import rounds as active

    def label(genomes: Genomes) -> NDArray[np.float64]:
        known = _known(labels, space)
        if lacking := [genome for genome in genomes if bytes(genome) not in known]:
            _label(space, labels, rounds, np.stack(lacking))
            known = _known(labels, space)
        return np.array([known[bytes(genome)] for genome in genomes])

    genomes, _ = labelled.read(labels, space)
    said = foretold.read(labels, space)

    def keep(more: Genomes, top1: NDArray[np.float64]) -> None:
        said.update(zip(map(bytes, more), top1.tolist(), strict=True))
        foretold.write(labels, space, said)

    active.gather(
        space,
        genomes,
        label,
        # By how many there are: rounds that are asked for later make up other devices.
        lambda twin, seen, number: along_front(space, twin, seen, rounds.each, seed=seed + len(seen)),
        rounds=rounds.count,
        seed=seed,
        # Some may have been foretold and never labelled, where a round was interrupted.
        grown=any(bytes(genome) in said for genome in genomes),
        keep=keep,
    )


def _known(labels: Path, space: SearchSpace) -> dict[bytes, float]:
    """Return the top-1, percent, of every genome in a file of labels."""
    from ofa.train import labelled

    genomes, top1 = labelled.read(labels, space)
    return {bytes(genome): float(value) for genome, value in zip(genomes, top1, strict=True)}


def _label(space: SearchSpace, labels: Path, rounds: Rounds, genomes: Genomes) -> None:
    """Label some subnets; the progress is shown, what the verb prints at its end is not."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "subnets.json"
        files.write_atomic(wanted, files.readable_json([space.subnet(genome).to_json() for genome in genomes]))
        command = ["label", str(rounds.run), "--data", rounds.data, "--out", str(labels), "--subnets", str(wanted)]
        done = subprocess.run([_program(), *command, "--json"], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise errors.not_labelled(rounds.run, done.returncode)


def _program() -> str:
    """Return the path of this program: beside the Python that runs it, or where the shell finds it."""
    beside = Path(sys.executable).with_name("ofa")
    return str(beside) if beside.exists() else shutil.which("ofa") or "ofa"
