"""Writes a bundle: the files beside the model, a list of all their hashes, and the check run on what was written."""

from __future__ import annotations

import importlib.resources
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ofa.files import readable_json, sha256_file, write_atomic
from ofa.graphs.bundle import errors
from ofa.graphs.bundle.checker import BUNDLE, CHECK, SUMS
from ofa.graphs.bundle.contents import GOLDEN
from ofa.graphs.bundle.golden import Golden

CHECK_S = 600.0


def check_free(folder: Path, *, replace: bool) -> None:
    """Raise UsageInvalid where a folder holds a bundle that may not be replaced, or anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / BUNDLE).is_file() or not (folder / SUMS).is_file():
        raise errors.folder_of_others(folder)
    if not replace:
        raise errors.bundle_there(folder)


def write(folder: Path, bundle: Mapping[str, Any], golden: Golden) -> None:
    """Write everything but the model and its sidecar, which are there already, and check it all.

    Raises VerificationFailed where the check that goes with it fails.
    """
    write_atomic(folder / GOLDEN, golden.arrays())
    write_atomic(folder / BUNDLE, readable_json(bundle))
    write_atomic(folder / CHECK, importlib.resources.files(__package__).joinpath("checker.py").read_bytes())
    names = sorted(path.name for path in folder.iterdir())
    write_atomic(folder / SUMS, "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names))
    prove(folder)


def prove(folder: Path) -> None:
    """Run a bundle's own check in a process of its own; raise VerificationFailed with what it says where it fails."""
    try:
        done = subprocess.run(
            [sys.executable, "-B", CHECK],
            cwd=folder,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired as fault:
        raise errors.check_fails(folder, f"it did not end in {CHECK_S:g} s") from fault
    if done.returncode:
        raise errors.check_fails(folder, done.stderr)
