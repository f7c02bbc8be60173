"""Gather what a run folder holds, stage by stage; a stage that is absent or broken is left out and said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report import calibration, provenance
from harness.report.errors import no_run_folder, nothing_to_report
from harness.report.parse import Choice, Label, Step, number
from harness.report.parse import choices as parse_choices
from harness.report.parse import labels as parse_labels
from harness.report.parse import steps as parse_steps
from harness.report.reader import Reader
from harness.report.rounds import Rounds
from harness.report.searched import Front
from harness.report.searched import front as parse_front
from harness.report.trial import CHOICE, Trial
from harness.report.trial import trial as parse_trial
from harness.report.verified import Verification, verification
from harness.tables import JOURNAL
from ofa.lut.format import HEADER, Lut
from ofa.lut.validity import Record

LATENCY_TWIN, ACCURACY_TWIN = "latency-twin/", "accuracy-twin/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One device with one runtime: its folder in the run, and what that holds.

    ``label`` is what people read; ``floor_percent`` is what two measurements of one network differ by; ``rechecks`` are
    those of the table, oldest first; ``choices`` were chosen or, of a search whose networks were ``tried``, are these.
    """

    device: str
    runtime: str
    label: str
    table: Lut | None
    rechecks: tuple[Record, ...]
    card: dict[str, Any] | None
    front: Front | None
    choices: tuple[Choice, ...]
    tried: bool
    networks: tuple[calibration.Compared, ...]
    floor_percent: float | None
    rounds: Rounds | None
    alone: bool

    def titled(self, text: str) -> str:
        """Return the title of a figure, which names the bench only where there are several."""
        return text[:1].upper() + text[1:] if self.alone else f"{self.label}: {text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything the page shows. ``missing`` names absent stages, ``broken`` says which inputs could not be read.

    ``recipe`` and ``images`` are those of a training; ``latency_card`` is that of a twin which no bench has. Only a run
    of all stages, as a demo is, can miss some.
    """

    name: str
    facts: dict[str, Any]
    wall_s: float | None
    spread: tuple[float, float] | None
    models: dict[str, Any]
    choices: tuple[Choice, ...]
    trial: Trial | None
    benches: tuple[Bench, ...]
    labels: tuple[Label, ...]
    steps: tuple[Step, ...]
    recipe: dict[str, Any]
    accuracy_card: dict[str, Any] | None
    latency_card: dict[str, Any] | None
    verification: Verification | None
    verified_rounds: Rounds | None
    images: dict[str, Any]
    files: tuple[provenance.FileFact, ...]
    files_left_out: int
    missing: tuple[str, ...]
    broken: tuple[str, ...]
    simulated: bool


def gather(folder: Path) -> Run:
    """Read a run folder; raise FileInvalid only where it holds nothing that could be shown."""
    folder = Path(folder)
    if not folder.exists():
        raise no_run_folder(folder)
    reader = Reader(folder)
    run_facts = reader.json("run.json")
    summary = reader.json("summary.json") or {}
    rows, skipped = parse_choices(summary.get("rows"))
    reader.skipped("summary.json", skipped, "rows")
    label_rows, skipped = parse_labels(reader.text("labels.csv"))
    reader.skipped("labels.csv", skipped, "rows")
    log = reader.first(["supernet/metrics.jsonl", "metrics.jsonl"])
    metric_rows, skipped = parse_steps(reader.text(log))
    reader.skipped(log, skipped, "lines")
    cards = _twins(reader)
    accuracy_card = reader.json("twins/accuracy/card.json") or cards.get(ACCURACY_TWIN)
    models = summary.get("models")
    verified = reader.json("verify.json")
    tried = parse_trial(reader.json(CHOICE)) if (folder / CHOICE).is_file() else None
    benches = _benches(reader, rows, tried, calibration.floors(verified), cards.get(LATENCY_TWIN))
    session = verification(verified)
    if run_facts is None and not (summary or benches or label_rows or metric_rows or cards or accuracy_card or session):
        raise nothing_to_report(folder, reader.broken)
    facts = run_facts or {}
    listed, left_out = provenance.of(folder)
    return Run(
        name=str(facts.get("name") or folder.resolve().name),
        facts=facts,
        wall_s=number(summary.get("wall_s")),
        spread=_spread(summary.get("accuracy_spread"), label_rows),
        models=models if isinstance(models, dict) else {},
        choices=rows,
        trial=tried,
        benches=benches,
        labels=label_rows,
        steps=metric_rows,
        recipe=reader.beside(log, "recipe.json"),
        images=reader.beside(log, "data.json"),
        accuracy_card=accuracy_card,
        latency_card=None if any(bench.card for bench in benches) else cards.get(LATENCY_TWIN),
        verification=session,
        verified_rounds=reader.newest_rounds(session.runtime) if session else None,
        files=listed,
        files_left_out=left_out,
        missing=tuple(reader.missing) if run_facts is not None or summary else (),
        broken=tuple(reader.broken),
        # What a search was made from stands beside it, and may say what its answer does not.
        simulated=reader.simulated or any(fact.simulated for fact in listed),
    )


def _twins(reader: Reader) -> dict[str, dict[str, Any]]:
    """Return the card of the first twin of each kind that stands in a folder of the run, whatever it is called."""
    found: dict[str, dict[str, Any]] = {}
    for card in reader.cards().values() if reader.folder.is_dir() else ():
        for kind in (LATENCY_TWIN, ACCURACY_TWIN):
            if str(card.get("schema")).startswith(kind):
                found.setdefault(kind, card)
    return found


def _benches(
    reader: Reader,
    rows: tuple[Choice, ...],
    tried: Trial | None,
    floors: dict[str, float],
    card: dict[str, Any] | None,
) -> tuple[Bench, ...]:
    """Return one bench for each runtime of the summary or with a folder that holds a table, twin or front.

    ``card`` is that of a latency twin which no bench has in its own folder.
    """
    named = {row.runtime: row.device for row in rows}
    places = _places(reader.folder, named)
    tables = {
        name: (None, ()) if place is None else reader.table([f"{place}lut", place or "."])
        for name, place in places.items()
    }
    journals = {name: None if place is None else reader.rounds(f"{place}{JOURNAL}") for name, place in places.items()}
    devices = {name: named.get(name) or _of(tables[name][0], journals[name], "device") for name in places}
    # With one device, its name in every label would only be noise.
    several = len(set(devices.values())) > 1
    benches = []
    for name, place in places.items():
        device, (table, rechecks) = devices[name], tables[name]
        runtime = name or _of(table, journals[name], "runtime") or reader.folder.resolve().name
        own = None if place is None else reader.json(f"{place}twin/card.json")
        found = None if place is None else parse_front(reader.json(f"{place}front.json", listed="points"))
        own_rows = tuple(row for row in rows if row.runtime == runtime)
        trial_rows = tried.choices() if tried and not name else ()
        shown = found.device if found and found.device and not name and not table else runtime
        benches.append(
            Bench(
                device=device,
                runtime=runtime,
                label=_label(shown, device if several or not name else "", table),
                table=table,
                rechecks=rechecks,
                card=own or (card if table is not None and len(places) == 1 else None),
                front=found,
                choices=own_rows or trial_rows,
                tried=bool(trial_rows),
                networks=() if place is None else reader.networks(f"{place}twin", table),
                floor_percent=floors.get(runtime, calibration.floor_of(table)),
                rounds=journals[name],
                alone=len(places) == 1,
            )
        )
    return tuple(benches)


def _places(folder: Path, named: Iterable[str]) -> dict[str, str | None]:
    """Return where each bench stands in a run, by name: those ``named``, and those found; "" is the run itself."""
    places: dict[str, str | None] = {name: f"{name}/" if _plain(name) else None for name in [*named, *_folders(folder)]}
    itself = _is_bench(folder) or (folder / HEADER).is_file()
    return {"": "", **places} if itself else places


def _of(table: Lut | None, journal: Rounds | None, fact: str) -> str:
    """Return the device or runtime that a table is of, or else a journal; empty where there is neither."""
    known = table.header if table else journal
    return str(getattr(known, fact)) if known else ""


def _label(name: str, device: str, table: Lut | None) -> str:
    """Return what people read of a bench: its device where that says something, and its runtime."""
    runtime = table.header.runtime if table and table.header.runtime not in name else ""
    parts = [device if device not in name and name not in device else "", name, runtime]
    return " / ".join(dict.fromkeys(part for part in parts if part))


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders of a run that are benches, sorted."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in found if path.is_dir() and not path.is_symlink() and _is_bench(path))


def _is_bench(folder: Path) -> bool:
    """Say whether a folder holds a journal, table, twin or front: one of the demo's, or that of `ofa bench` itself."""
    return any((folder / mark).is_file() for mark in (JOURNAL, "lut/lut.json", "twin/card.json", "front.json"))


def _plain(name: str) -> bool:
    """Say whether a name out of a file is one folder's name, so that it cannot lead out of the run."""
    return name not in ("", ".", "..") and "/" not in name and "\\" not in name and "\0" not in name


def _spread(found: Any, rows: tuple[Label, ...]) -> tuple[float, float] | None:
    """Return the 5th and 95th percentile of subnet accuracy: the summary's, or that of the labels."""
    if isinstance(found, list) and len(found) == 2:
        low, high = number(found[0]), number(found[1])
        if low is not None and high is not None:
            return low, high
    if not rows:
        return None
    import numpy as np

    low, high = np.percentile([row.top1 for row in rows], [5, 95])
    return float(low), float(high)
