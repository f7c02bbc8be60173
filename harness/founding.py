"""A new lab's folder: its list of devices, a place for tables, what CI runs on them. Nothing is ever overwritten."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.places import FOLDER_VARIABLE, KNOWN_HOSTS, LAB, devices_folder
from ofa.files import write_atomic

TEMPLATES = Path(__file__).resolve().parent / "lab_files"
# Where each file of the templates goes; under plain names there, so that they rule nothing in our own repository.
FILES = {
    LAB: "lab.toml",
    ".gitignore": "gitignore",
    "luts/README.md": "luts.md",
    "ci/check-tables.sh": "check-tables.sh",
    "ci/diff-tables.sh": "diff-tables.sh",
    ".github/workflows/tables.yml": "tables.yml",
}


def founded(folder: Path) -> dict[str, Any]:
    """Make the files of a lab that are not there, and say which were, and what to do next; raises FileInvalid."""
    written, kept = [], []
    for name, content in _contents():
        place = folder / name
        if place.exists() or place.is_symlink():
            kept.append(name)
            continue
        write_atomic(place, content)
        written.append(name)
    return {"folder": str(folder), "written": written, "kept": kept, "next": next_steps(folder)}


def _contents() -> Iterator[tuple[str, bytes]]:
    """Yield every file of a lab with what is in it."""
    for name, template in FILES.items():
        yield name, (TEMPLATES / template).read_bytes()
    yield KNOWN_HOSTS, b""


def next_steps(folder: Path) -> list[str]:
    """Return what to type after a lab's folder was made, in this order."""
    cd = f"cd {shlex.quote(str(folder))}"
    return [
        f"{cd} && export {FOLDER_VARIABLE}=$PWD   # in your shell's start file, too",
        f"edit {LAB}: take the '#' away in front of what you have; kinds are in {devices_folder() / 'profiles'}",
        "ofa doctor bench   # what this computer lacks",
        "ofa devices trust NAME; ofa devices check NAME   # for a device over SSH",
        "ofa bench --space mobilenet_v3 --device NAME --out runs/NAME --dry-run   # minutes and memory",
        "ofa lut build runs/NAME; ofa lut index luts   # then, after one 'git init': git add . && git commit",
    ]
