"""A training on colours, bundles made of it, and a check of them where nothing of ours can be imported."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ofa.errors import PackageMissing
from ofa.files import sha256_file
from ofa.graphs import run as runtimes
from ofa.space.core import SearchSpace
from ofa.train import runs

from ..conftest import training

COLOURS = ("red", "green", "blue", "none")
CORNER = "k7e6d1"
TESTED = ("--split", "test")
PACKAGES = {"onnx": ("onnxruntime", "onnxruntime"), "tflite": ("litert", "ai_edge_litert")}
# A Python that finds numpy and one runtime, and proves that it finds nothing of ours, runs the check of a bundle.
ALONE = """
import importlib.util, runpy, sys
sys.path.append(sys.argv[1])
assert not [name for name in ("ofa", "harness", "torch") if importlib.util.find_spec(name)]
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
Check = Callable[..., tuple[int, str, str]]
Bundle = Callable[[str, str], Path]


def coloured(count: int, seed: int, side: int = 20) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return noise uint8[count, side, side, 3] whose class is the channel that is brighter, or none, and the labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(COLOURS)
    images = rng.integers(0, 140, (count, side, side, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[..., label : label + 1] += 100
    return images, labels


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of colour images: 100 to train on, 40 to test on."""
    folder = tmp_path_factory.mktemp("colours")
    for name, count, seed in (("train", 100, 1), ("test", 40, 2)):
        images, labels = coloured(count, seed)
        np.savez(folder / f"{name}.npz", images=images, labels=labels, classes=np.array(COLOURS))
    return folder


@pytest.fixture(scope="session")
def painted(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training of twelve steps on them; tests only read it."""
    from harness import cli

    out = tmp_path_factory.mktemp("painted") / "run"
    with pytest.raises(SystemExit) as ending:
        cli.main(training(colours, out, "--epochs-scale", "3", batch=20, holdout=20, calibration=40))
    assert ending.value.code == 0
    return out


@pytest.fixture(scope="session")
def colour_space(painted: Path) -> SearchSpace:
    return runs.recipe_of(painted).search_space(channels=3, classes=len(COLOURS))


@pytest.fixture(scope="session")
def bundle(painted: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a function that gives the bundle of a form, made once; tests copy what they change."""
    from harness import cli

    made: dict[tuple[str, str], Path] = {}

    def of(form: str, precision: str) -> Path:
        try:
            runtimes.version("onnxruntime" if form == "onnx" else "litert")
        except PackageMissing as fault:
            pytest.skip(fault.what)
        if (form, precision) not in made:
            out = tmp_path_factory.mktemp("bundles") / f"{form}-{precision}"
            # What is printed here must not be taken for what the test's own command prints.
            with pytest.raises(SystemExit) as ending, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                cli.main(
                    exporting(painted, colours, out, "--bundle", "--format", form, "--precision", precision, *TESTED)
                )
            assert ending.value.code == 0
            made[form, precision] = out
        return made[form, precision]

    return of


def exporting(run: Path, data: Path, out: Path, *more: str, subnet: str | None = CORNER) -> list[str]:
    which = [] if subnet is None else ["--subnet", subnet]
    return ["export", str(run), "--data", str(data), *which, "--out", str(out), *more]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Return a function that runs a bundle's check with nothing but numpy and the runtime of the form."""

    def alone(folder: Path, form: str, *arguments: str) -> tuple[int, str, str]:
        packages = tmp_path / f"packages-{form}"
        packages.mkdir(exist_ok=True)
        numpy = Path(np.__file__).parent
        runtime = Path(__import__(PACKAGES[form][1]).__path__[0])
        for package in (numpy, numpy.with_name("numpy.libs"), runtime):
            if package.exists() and not (packages / package.name).exists():
                (packages / package.name).symlink_to(package)
        command = [sys.executable, "-I", "-S", "-B", "-c", ALONE, str(packages), str(folder / "check.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        # A runtime that tells how it begins is no fault.
        said = "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("INFO: "))
        return done.returncode, done.stdout, said

    return alone


def copied(folder: Path, into: Path) -> Path:
    into.mkdir(parents=True)
    for path in folder.iterdir():
        (into / path.name).write_bytes(path.read_bytes())
    return into


def sum_again(folder: Path) -> None:
    """Write SHA256SUMS for the files as they are now, as somebody does who changes them in good faith."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    (folder / "SHA256SUMS").write_text("".join(f"{sha256_file(folder / name)}  {name}\n" for name in names))


def said_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "bundle.json").read_text())
    return found


def say(folder: Path, **parts: Any) -> None:
    """Change parts of bundle.json, key by key where they are objects, and adjust the sums."""
    facts = said_in(folder)
    for name, part in parts.items():
        facts[name] = facts[name] | part if isinstance(part, dict) else part
    (folder / "bundle.json").write_text(json.dumps(facts))
    sum_again(folder)


def change_golden(folder: Path, **arrays: Callable[[Any], Any]) -> None:
    """Change arrays of golden.npz by name ("raw" is every raw image), and adjust the sums."""
    with np.load(folder / "golden.npz") as stored:
        found = {name: stored[name] for name in stored.files}
    for name in found:
        if (change := arrays.get(name.partition("_")[0])) is not None:
            found[name] = change(found[name])
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **found)
    (folder / "golden.npz").write_bytes(buffer.getvalue())
    sum_again(folder)


def fails(found: tuple[int, str, str], code: int, *words: str) -> None:
    assert found[0] == code, found
    assert found[2].startswith("error: ") and "  why: " in found[2] and "  try: " in found[2], found[2]
    assert "Traceback" not in found[2] and "all is as" not in found[1]
    for word in words:
        assert word in found[2], found[2]
