"""Gather what a run folder holds, stage by stage; a stage that is absent or broken is left out and said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import nothing_to_report
from harness.report import calibration, provenance
from harness.report.parse import Choice, Front, Label, Step, number
from harness.report.parse import choices as parse_choices
from harness.report.parse import front as parse_front
from harness.report.parse import labels as parse_labels
from harness.report.parse import steps as parse_steps
from ofa import files
from ofa.errors import FileInvalid
from ofa.lut.check import checked
from ofa.lut.format import Lut

MAX_BYTES = 64 * files.MEBIBYTE
_SIMULATED_IN = ("transport", "source", "status", "kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One device with one runtime: its folder in the run, and what that holds.

    ``label`` is what people read; ``floor_percent`` is what two measurements of one network differ by.
    """

    device: str
    runtime: str
    label: str
    table: Lut | None
    card: dict[str, Any] | None
    front: Front | None
    choices: tuple[Choice, ...]
    networks: tuple[calibration.Compared, ...]
    floor_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything the page shows. ``missing`` names absent stages, ``broken`` says which inputs could not be read."""

    name: str
    facts: dict[str, Any]
    wall_s: float | None
    spread: tuple[float, float] | None
    models: dict[str, Any]
    choices: tuple[Choice, ...]
    benches: tuple[Bench, ...]
    labels: tuple[Label, ...]
    steps: tuple[Step, ...]
    accuracy_card: dict[str, Any] | None
    files: tuple[provenance.FileFact, ...]
    files_left_out: int
    missing: tuple[str, ...]
    broken: tuple[str, ...]
    simulated: bool


class _Reader:
    """Reads one run folder and remembers what was missing, broken or simulated."""

    def __init__(self, folder: Path) -> None:
        """Start on a run folder."""
        self.folder = folder
        self.missing: list[str] = []
        self.broken: list[str] = []
        self.simulated = False

    def json(self, name: str) -> dict[str, Any] | None:
        """Return a JSON object of the run, or None."""
        path = self.folder / name
        if not path.is_file():
            self.missing.append(name)
            return None
        try:
            found = files.read_json(path, max_bytes=MAX_BYTES, what="file")
        except FileInvalid as fault:
            self.broken.append(f"{name}: {fault.why or fault.what}")
            return None
        if not isinstance(found, dict):
            self.broken.append(f"{name}: it holds no JSON object")
            return None
        self.simulated = self.simulated or says_simulated(found)
        return found

    def text(self, name: str) -> str | None:
        """Return a text file of the run, or None."""
        path = self.folder / name
        if not path.is_file():
            self.missing.append(name)
            return None
        try:
            return files.read_capped(path, max_bytes=MAX_BYTES, what="file").decode()
        except (FileInvalid, UnicodeDecodeError) as fault:
            self.broken.append(f"{name}: {fault}")
            return None

    def skipped(self, name: str, count: int, of: str) -> None:
        """Remember lines of a file that could not be read."""
        if count:
            self.broken.append(f"{name}: {count} {of} could not be read and {'is' if count == 1 else 'are'} left out")

    def table(self, name: str) -> Lut | None:
        """Return a latency table of the run, or None."""
        path = self.folder / name
        if not (path / "lut.json").is_file():
            self.missing.append(name)
            return None
        try:
            found = checked(path)
        except FileInvalid as fault:
            self.broken.append(f"{name}: {fault.what}: {fault.why}")
            return None
        self.simulated = self.simulated or found.simulated
        return found

    def networks(self, twin: str, table: Lut | None) -> tuple[calibration.Compared, ...]:
        """Return the networks of a table beside what a twin of the run says of them."""
        try:
            return calibration.compare(self.folder / twin, table) if table else ()
        except FileInvalid as fault:
            self.broken.append(f"{twin}: {fault.why or fault.what}")
            return ()


def gather(folder: Path) -> Run:
    """Read a run folder; raise FileInvalid only where it holds nothing that could be shown."""
    folder = Path(folder)
    reader = _Reader(folder)
    run_facts = reader.json("run.json")
    summary = reader.json("summary.json") or {}
    rows, skipped = parse_choices(summary.get("rows"))
    reader.skipped("summary.json", skipped, "rows")
    label_rows, skipped = parse_labels(reader.text("labels.csv"))
    reader.skipped("labels.csv", skipped, "rows")
    metric_rows, skipped = parse_steps(reader.text("supernet/metrics.jsonl"))
    reader.skipped("supernet/metrics.jsonl", skipped, "lines")
    accuracy_card = reader.json("twins/accuracy/card.json")
    models = summary.get("models")
    benches = _benches(reader, rows)
    if run_facts is None and not (summary or benches or label_rows or metric_rows or accuracy_card):
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
        benches=benches,
        labels=label_rows,
        steps=metric_rows,
        accuracy_card=accuracy_card,
        files=listed,
        files_left_out=left_out,
        missing=tuple(reader.missing),
        broken=tuple(reader.broken),
        simulated=reader.simulated,
    )


def _benches(reader: _Reader, rows: tuple[Choice, ...]) -> tuple[Bench, ...]:
    """Return one bench for each runtime of the summary or with a folder that holds a table, twin or front."""
    named = {row.runtime: row.device for row in rows}
    places = {name: f"{name}/" if _plain(name) else None for name in [*named, *_folders(reader.folder)]}
    if not places and _is_bench(reader.folder):
        places = {"": ""}
    tables = {name: None if place is None else reader.table(f"{place}lut") for name, place in places.items()}
    devices = {name: named.get(name) or (table.header.device if table else "") for name, table in tables.items()}
    # With one device, its name in every label would only be noise.
    floors = calibration.floors(reader.json("verify.json"))
    several = len(set(devices.values())) > 1
    benches = []
    for name, place in places.items():
        device, table = devices[name], tables[name]
        runtime = name or (table.header.runtime if table else reader.folder.resolve().name)
        benches.append(
            Bench(
                device=device,
                runtime=runtime,
                label=f"{device} / {runtime}" if several and device and runtime not in device else runtime,
                table=table,
                card=None if place is None else reader.json(f"{place}twin/card.json"),
                front=None if place is None else parse_front(reader.json(f"{place}front.json")),
                choices=tuple(row for row in rows if row.runtime == runtime),
                networks=reader.networks(f"{place}twin", table),
                floor_percent=floors.get(runtime),
            )
        )
    return tuple(benches)


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders of a run that are benches, sorted."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in found if path.is_dir() and not path.is_symlink() and _is_bench(path))


def _is_bench(folder: Path) -> bool:
    """Say whether a folder holds a table, twin or front: a folder of the demo's, or that of `ofa bench` itself."""
    return any((folder / mark).is_file() for mark in ("lut/lut.json", "twin/card.json", "front.json"))


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


def says_simulated(value: Any) -> bool:
    """Say whether a JSON value declares, anywhere inside, that it comes from the simulated device."""
    if isinstance(value, dict):
        return any(
            (key == "simulated" and bool(item))
            or (key in _SIMULATED_IN and item == "simulated")
            or says_simulated(item)
            for key, item in value.items()
        )
    return isinstance(value, list) and any(says_simulated(item) for item in value)
