"""What every test may ask for: where the real data is, and a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep every test out of the cache folder of whoever runs it."""
    monkeypatch.setenv("OFA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of real measurements that some tests are checked against; it is no part of the project."""
    folder = os.environ.get("OFA_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data needed: set OFA_TEST_DATA to its folder")
    return Path(folder).resolve()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs one command and returns its exit code, output and messages."""
    monkeypatch.setenv("OFA_LOG", "")

    from harness import cli

    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ending:
            cli.main(arguments)
        out, err = capsys.readouterr()
        assert isinstance(ending.value.code, int)
        return ending.value.code, out, err

    return command
