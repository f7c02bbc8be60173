"""The parts of a run that can be made again: which there are, what each needs, and making its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import added
from harness import journal as journals
from harness import plan as plans
from harness.archive import choice, errors
from harness.archive.discretion import blanked
from harness.archive.listing import MOST_BYTES, NAME, Part, made_by
from harness.tables import AGAIN_JOURNAL, AGAIN_PLAN, JOURNAL, PLAN, table_in
from ofa import files
from ofa.lut import format as formats
from ofa.lut import heldout
from ofa.search import asked as requests
from ofa.search import kept
from ofa.search.kept import CARD, FRONT, INPUTS, REQUEST

LABELS = ("labels.csv", "labels.csv.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What of a run can be made again, and files of it that cannot, each with its reason."""

    parts: tuple[Part, ...]
    left_out: tuple[str, ...]


def parts_of(run: Path) -> Found:
    """Return the parts of a run and of the folders in it, tables first, since choices rest on them.

    Raises FileInvalid where there is none, or one of them is damaged or has a name that an archive does not take.
    """
    if not run.is_dir():
        raise errors.nothing_to_archive(run)
    inside = sorted(path.name for path in run.iterdir() if path.is_dir() and not path.name.startswith("."))
    folders = ["", *(name for name in inside if name != INPUTS)]
    parts = [*_tables(run, folders)]
    left_out = []
    for name in folders:
        if not (run / name / FRONT).is_file():
            continue
        if name and not NAME.fullmatch(name):
            raise errors.name_refused(name)
        makes = made_by("search", name)
        if (run / name / REQUEST).is_file():
            seed = requests.read(run / name / REQUEST).seed
            parts.append(Part(kind="search", folder=name, seed=seed, makes=makes))
        elif name and (run / choice.ACCURACY / CARD).is_file() and (how := choice.asked(run, name)) is not None:
            parts.append(Part(kind="choice", folder=name, seed=how.seed, makes=makes))
        else:
            left_out.append(f"{makes[0]}: it does not say what was asked, since an earlier version wrote it")
    if not parts:
        raise errors.nothing_to_archive(run)
    return Found(parts=tuple(parts), left_out=tuple(left_out))


def _tables(run: Path, folders: list[str]) -> Iterator[Part]:
    """Yield the tables that a run holds measurements of."""
    from harness.inventory import load_profile

    for name in folders:
        if not ((run / name / PLAN).is_file() and (run / name / JOURNAL).is_file()):
            continue
        if name and not NAME.fullmatch(name):
            raise errors.name_refused(name)
        plan = plans.read(run / name / PLAN)
        yield Part(
            kind="table",
            folder=name,
            seed=plan.seed,
            device=plan.device,
            max_foreign_cores=load_profile(plan.device).calm.max_foreign_cores,
            makes=made_by("table", name),
        )


def stage(run: Path, part: Part, into: Path) -> None:
    """Copy what a part is made from, journals without their free texts; raises FileInvalid.

    What other parts make is not copied: it is there, since they come first.
    """
    if part.kind == "table":
        for plan, journal in ((PLAN, JOURNAL), (AGAIN_PLAN, AGAIN_JOURNAL)):
            source, target = part.within(run), part.within(into)
            if (source / journal).exists():
                _copy(source / plan, target / plan)
                with journals.open_journal(source / journal) as opened:
                    journals.copied(opened, target / journal, blanked)
        for name in added.FILES:
            if (part.within(run) / name).exists():
                _copy(part.within(run) / name, part.within(into) / name)
        return
    if part.kind == "search":
        names = [REQUEST, *(parent.path for parent in requests.read(part.within(run) / REQUEST).parents)]
        for name in names:
            _copy(part.within(run) / name, part.within(into) / name)
        return
    for folder in (choice.ACCURACY, f"{part.folder}/{choice.TWIN}"):
        for path in sorted((run / folder).iterdir()):
            if path.name in (CARD, "arrays.npz") or path.name.startswith("trees-"):
                _copy(path, into / folder / path.name)
    for name in (*LABELS, f"{part.folder}/{FRONT}"):
        _copy(run / name, into / name)


def again(folder: Path, part: Part) -> dict[str, bytes]:
    """Return the files that a part makes, by name, from what stands below a folder.

    Raises FileInvalid where that is damaged or lacking, and what measuring and searching raise of their files.
    """
    if part.kind == "table":
        assert part.max_foreign_cores is not None
        return dict(zip(part.makes, _table(part.within(folder), part.max_foreign_cores).values(), strict=True))
    if part.kind == "search":
        return {part.makes[0]: kept.again(part.within(folder))}
    return {part.makes[0]: choice.again(folder, part.folder)}


def _table(folder: Path, max_foreign_cores: float) -> dict[str, bytes]:
    """Return the files of the table of a measurement, by rising name."""
    lut = table_in(folder, max_foreign_cores=max_foreign_cores).sorted()
    return dict(sorted(formats.render(lut, heldout.of_table(lut)).items()))


def artefact_names(folder: Path, parts: tuple[Part, ...]) -> Mapping[str, int]:
    """Return the model files that the plans of some parts name, by SHA-256, with their sizes in bytes."""
    plan_files = [part.within(folder) / PLAN for part in parts if part.kind == "table"]
    found = [item for path in plan_files for item in plans.read(path).items if item.size_bytes]
    return {item.file: item.size_bytes for item in found}


def _copy(source: Path, target: Path) -> None:
    """Copy a file, of a size that an archive takes."""
    files.write_atomic(target, files.read_capped(source, max_bytes=MOST_BYTES, what="file of a run"))
