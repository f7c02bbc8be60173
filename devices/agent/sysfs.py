"""Reads the small files in which Linux says what it is: below a root, capped, as a value or as "unreadable"."""

import glob
import os
import re
from typing import Any, Dict, List, Optional, Union

UNREADABLE = "unreadable"
MOST_BYTES = 1 << 20
MOST_CHARACTERS = 200
MOST_NAME_CHARACTERS = 60
# What a line to the host must hold: a server has hundreds of cores, each with a clock and a cooling device of its own.
MOST_ENTRIES = 96
ROOT_VARIABLE = "OFA_AGENT_ROOT"

Reading = Union[str, int, float]


def root_of(root: Optional[str]) -> str:
    """Return the root given, else that of the environment variable, by which a recorded tree stands in for a device.

    What is measured so says "simulated" in its environment, and passes for no measurement.
    """
    return root or os.environ.get(ROOT_VARIABLE) or "/"


def below(root: str, path: str) -> str:
    """Return where a path lies below a root."""
    return os.path.join(root, path.lstrip("/"))


def text(root: str, path: str) -> Optional[str]:
    """Return a small file below ``root`` as stripped text, or None."""
    try:
        with open(below(root, path), "rb") as stream:
            return stream.read(MOST_BYTES).decode("utf-8", "replace").strip("\x00 \n\t")
    except OSError:
        return None


def word(root: str, path: str) -> Optional[str]:
    """Return the text of a file as far as it may stand in a record, or None where it is empty or unreadable."""
    return (text(root, path) or "")[:MOST_CHARACTERS] or None


def name(root: str, path: str) -> Optional[str]:
    """Return the text of a file as far as it may be a name in a record, or None."""
    return (text(root, path) or "")[:MOST_NAME_CHARACTERS] or None


def number(root: str, path: str) -> Optional[int]:
    """Return a file below ``root`` that holds one integer, or None."""
    content = text(root, path)
    try:
        return None if content is None else int(content)
    except ValueError:
        return None


def field(root: str, path: str, names: List[str]) -> Optional[str]:
    """Return the first ``name : value`` (or ``name=value``) of a file whose name is one of ``names``, in their
    order."""
    found: Dict[str, str] = {}
    for line in (text(root, path) or "").splitlines():
        for mark in (":", "="):
            said, separator, value = line.partition(mark)
            if separator:
                found.setdefault(said.strip().lower(), value.strip().strip('"'))
                break
    for wanted in names:
        if found.get(wanted.lower()):
            return found[wanted.lower()]
    return None


def paths(root: str, pattern: str) -> List[str]:
    """Return what matches a pattern below ``root``, as paths below it; numbers in names count as numbers."""
    found = glob.glob(below(glob.escape(root), pattern))
    return sorted((os.path.relpath(path, root) for path in found), key=by_number)


def by_number(path: str) -> List[Any]:
    """Return what to sort a name by: policy10 comes after policy2."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", path)]


def known(value: Any) -> Any:
    """Return the value, or "unreadable" where there is none."""
    return UNREADABLE if value is None or value == "" or value == [] or value == {} else value


def capped(entries: Dict[str, Any], most: int = MOST_ENTRIES) -> Dict[str, Any]:
    """Return as many entries as one record may hold, and in words how many were left out."""
    if len(entries) <= most:
        return entries
    kept = dict(list(entries.items())[:most])
    kept["left_out"] = "%d of %d" % (len(entries) - most, len(entries))
    return kept
