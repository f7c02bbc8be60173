"""A training's folder: what it says of the code that wrote it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ofa.train import folder


@pytest.mark.parametrize("ours", [True, False], ids=["our checkout", "installed inside another"])
def test_the_commit_is_that_of_this_code(ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment inside another project's checkout would sign our weights with that project's commit."""
    own = tmp_path / "packages" / "folder.py"
    own.parent.mkdir()
    own.write_text("")
    (tmp_path / "theirs.txt").write_text("theirs\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    for words in (["init", "-q"], ["add", "." if ours else "theirs.txt"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(folder, "__file__", str(own))
    folder.git_id.cache_clear()
    try:
        found = folder.git_id()
    finally:
        folder.git_id.cache_clear()
    assert len(found) == (12 if ours else 0)
