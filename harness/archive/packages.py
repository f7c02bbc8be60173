"""Which packages a table or a search is made with, and in which versions: a lock as pip reads it."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import harness
from harness.archive import errors
from harness.archive.listing import MadeWith

# What ofa-lab asks for beside torch: its own dependencies and those of its extras `search` and `bench`.
ROOTS = (
    "ai-edge-litert", "flatbuffers", "numpy", "onnx", "onnxruntime", "platformdirs", "pydantic", "rich", "scipy",
    "threadpoolctl", "typer", "xgboost-cpu",
)  # fmt: skip
PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})==([A-Za-z0-9][A-Za-z0-9.+!_-]{0,99})")
REQUIRED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What a requirement is for that nothing here has asked for.
ELSEWHERE = ("extra ==", "win32", "Windows")
HEADING = "# What made this archive, for 'pip install -r'; the Python it ran on stands in archive.json.\n"
GIT_S = 10


def installed() -> dict[str, str]:
    """Return the versions of the packages that matter and are installed, with those they need, by normal name."""
    found: dict[str, str] = {}
    waiting = list(ROOTS)
    while waiting:
        name = normal(waiting.pop())
        if name in found:
            continue
        try:
            known = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = known.version
        for line in known.requires or ():
            needed = REQUIRED.match(line)
            if needed is not None and not any(marker in line for marker in ELSEWHERE):
                waiting.append(needed.group())
    return dict(sorted(found.items()))


def normal(name: str) -> str:
    """Return the one name that pip knows a package by."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock_text(found: dict[str, str]) -> str:
    """Return packages as a file of pins."""
    return HEADING + "".join(f"{name}=={number}\n" for name, number in found.items())


def pins(data: bytes, archive: Path) -> dict[str, str]:
    """Return the packages of an archive's lock; raises FileInvalid."""
    try:
        lines = [line for line in data.decode("ascii").splitlines() if line and not line.startswith("#")]
    except ValueError as fault:
        raise errors.no_lock(archive) from fault
    matches = [PINNED.fullmatch(line) for line in lines]
    if not all(matches):
        raise errors.no_lock(archive)
    return {normal(found[1]): found[2] for found in matches if found is not None}


def differences(archived: dict[str, str], made_with: MadeWith) -> list[dict[str, Any]]:
    """Return what an archive was made with in another version than is here; None stands for "not installed"."""
    here, ours = installed(), made_here()
    rows = [
        {"package": name, "archived": archived.get(name), "here": here.get(name)}
        for name in sorted(set(archived) | set(here))
    ]
    rows += [
        {"package": label, "archived": getattr(made_with, field), "here": getattr(ours, field)}
        for label, field in (("python", "python"), ("ofa-lab", "ofa_lab"), ("ofa-lab's commit", "git"))
    ]
    return [row for row in rows if row["archived"] != row["here"]]


def made_here() -> MadeWith:
    """Return what would make an archive here."""
    try:
        own = version("ofa-lab")
    except PackageNotFoundError:
        own = "not installed"
    commit = _git("rev-parse", "HEAD")
    status = None if commit is None else _git("status", "--porcelain")
    return MadeWith(
        ofa_lab=own,
        python=platform.python_version(),
        git=commit,
        changed=None if status is None else bool(status),
    )


def _git(*arguments: str) -> str | None:
    """Return what git says of the checkout that this package stands in; None where it is none, or there is no git."""
    root = Path(harness.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False, timeout=GIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
