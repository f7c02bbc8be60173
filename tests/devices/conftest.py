"""The Pythons the agent must run under, and a way to speak to it as a host would."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

AGENT = Path(__file__).parents[2] / "devices" / "agent"
OLD_PYTHONS = ("3.6", "3.8")


@cache
def find_python(version: str) -> str:
    """Return an interpreter of a version from PATH or pyenv, or skip."""
    if version == "this":
        return sys.executable
    candidates = [str(path) for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    candidates += [found for found in [shutil.which(f"python{version}")] if found]
    for candidate in candidates:
        if subprocess.run([candidate, "-c", ""], capture_output=True, timeout=30).returncode == 0:
            return candidate
    pytest.skip(f"no CPython {version} on PATH or in ~/.pyenv/versions")


@pytest.fixture(params=["this", *(pytest.param(version, marks=pytest.mark.slow) for version in OLD_PYTHONS)])
def python(request: pytest.FixtureRequest) -> str:
    return find_python(request.param)


@pytest.fixture(scope="session")
def agent_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from harness.artefacts import agent_archive

    return agent_archive(tmp_path_factory.mktemp("archive"))


Exchange = Callable[..., tuple[list[dict[str, Any]], int]]


@pytest.fixture
def exchange(agent_archive: Path, tmp_path: Path) -> Exchange:
    """Send raw bytes to a fresh agent and return (records, exit code) once its input has ended."""

    def run(python: str, raw: bytes, **environment: str) -> tuple[list[dict[str, Any]], int]:
        # A file and no pipe: of a pipe that its writer has closed the agent says that the host is gone, and leaves.
        said = tmp_path / "requests"
        said.write_bytes(raw)
        with said.open("rb") as requests:
            ended = subprocess.run(
                [python, str(agent_archive), "--files", str(tmp_path)],
                stdin=requests, capture_output=True, timeout=60, env={**os.environ, **environment},
            )  # fmt: skip
        lines = ended.stdout.splitlines()
        assert b"Traceback" not in ended.stdout
        return [json.loads(line) for line in lines], ended.returncode

    return run


@pytest.fixture
def inside(python: str) -> Callable[[str], Any]:
    """Run a snippet among the agent's modules under one of the Pythons; it prints one JSON value."""

    def run(snippet: str) -> Any:
        code = f"import sys; sys.path.insert(0, {str(AGENT)!r}); import json\n{snippet}"
        ended = subprocess.run([python, "-c", code], capture_output=True, timeout=60)
        assert ended.returncode == 0, ended.stderr.decode()
        return json.loads(ended.stdout.splitlines()[-1])

    return run
