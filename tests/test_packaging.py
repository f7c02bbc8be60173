"""What an installed copy is made of: light extras, pins for everything, and the agent inside the wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from harness.needs import PACKAGES

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTION_OF = {
    "sklearn": "scikit-learn",
    "xgboost": "xgboost-cpu",
    "ai_edge_litert": "ai-edge-litert",
    "PIL": "pillow",
}


def names_in(requirements: list[str]) -> set[str]:
    """Return the distributions some requirements name, those of our own extras included."""
    names: set[str] = set()
    for requirement in requirements:
        if extras := re.fullmatch(r"ofa-lab\[(.+)\]", requirement):
            for extra in extras[1].split(","):
                names |= names_in(PROJECT["optional-dependencies"][extra])
        else:
            names.add(re.split(r"[^\w.-]", requirement)[0].lower())
    return names


def test_only_training_brings_torch() -> None:
    extras = PROJECT["optional-dependencies"]
    assert {extra for extra, wanted in extras.items() if "torch" in names_in(wanted)} == {"train", "demo", "dev"}
    assert names_in(PROJECT["dependencies"]) == {
        "numpy",
        "platformdirs",
        "pydantic",
        "rich",
        "scipy",
        "threadpoolctl",
        "typer",
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_in_the_extra_the_message_names(package: str) -> None:
    extra = PACKAGES[package].extra
    assert DISTRIBUTION_OF.get(package, package) in names_in(PROJECT["optional-dependencies"][extra])


def test_everything_is_pinned_exactly() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), "a pin is one name and one version"
    pinned = {pin.partition("==")[0].lower() for pin in pins}
    wanted = names_in(PROJECT["dependencies"]) | names_in(PROJECT["optional-dependencies"]["dev"])
    assert wanted <= pinned
    assert pins == sorted(pins, key=str.lower) and len(pinned) == len(pins)


def test_the_readme_has_both_commands() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    for job in ("demo", "tests"):
        found = [line for line in lines if re.search(rf"tox run -e {job}$", line)]
        assert len(found) == 1 and found[0].startswith("python3 -m pip ")


@pytest.mark.slow
def test_the_wheel_carries_the_agent_and_the_profiles(tmp_path: Path) -> None:
    """Built from a copy, unpacked, and run from elsewhere: nothing of the checkout may be needed."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "tests", "__pycache__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=copy, check=True, capture_output=True)
    shutil.rmtree(copy)
    (wheel,) = (tmp_path / "dist").glob("ofa_lab-*-py3-none-any.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    inside = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    carried = {
        path.relative_to(ROOT / "devices")
        for room in ("agent", "profiles")
        for path in files_in(ROOT / "devices" / room)
    }
    assert carried and {f"harness/_devices/{path.as_posix()}" for path in carried} <= inside
    templates = {path.relative_to(ROOT).as_posix() for path in files_in(ROOT / "harness" / "lab_files")}
    assert templates and templates <= inside
    assert not [name for name in inside if name.startswith(("tests/", "devices/", "luts/"))]

    code = "import sys; sys.path.insert(0, sys.argv[1]); from harness import places; print(places.devices_folder())"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(site)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == site / "harness" / "_devices"


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder, without what Python leaves behind."""
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_the_aarch64_userland_is_only_for_those_who_ask() -> None:
    tox = (ROOT / "tox.ini").read_text()
    assert "[testenv:aarch64]" in tox and re.search(r"^env_list = tests$", tox, re.MULTILINE)
    assert "aarch64" not in (ROOT / ".ci" / "run").read_text()
    # Whoever runs all tests must not find it there: only this environment sets the variable that asks for it.
    assert tox.count("OFA_AARCH64") == 1
