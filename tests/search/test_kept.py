"""A search in a run folder: its answer is made again byte for byte from what the folder holds, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from searchable import asked, inputs

from ofa.errors import FileInvalid
from ofa.files import sha256_file
from ofa.search import kept

Run = Callable[..., tuple[int, str, str]]

AGAIN = "import sys; from pathlib import Path; from ofa.search import kept; "
AGAIN += "sys.stdout.buffer.write(kept.again(Path(sys.argv[1])))"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inputs(tmp_path_factory.mktemp("inputs"))


def searched(run: Run, place: Path, out: Path, *more: str) -> dict[str, Any]:
    code, _, err = run("search", *asked(place), "--out", str(out), *more)
    assert code == 0 and f"wrote {out / 'front.json'}" in err, err
    found: dict[str, Any] = json.loads((out / "front.json").read_text())
    return found


def elsewhere(folder: Path, home: Path, threads: str, seed: str) -> bytes:
    """Make the answer again in another process, at another place, with another hash seed and number of threads."""
    env = {"PATH": os.defpath, "HOME": str(home), "PYTHONPATH": str(Path(kept.__file__).parents[2])}
    env |= {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    done = subprocess.run([sys.executable, "-c", AGAIN, str(folder)], cwd=home, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.slow
def test_a_front_is_made_again_byte_for_byte(run: Run, place: Path, tmp_path: Path) -> None:
    before_it = tmp_path / "before"
    shutil.copytree(place, before_it)
    found = searched(
        run, before_it, tmp_path / "run", "--front", "--points", "3", "--seed", "4", "--under-params", "120k"
    )
    assert (
        found["seed"] == 4 and found["request"]["points"] == 3 and found["request"]["limits"] == {"parameters": 1.2e5}
    )
    assert len(found["points"]) == 3 and found["points"][0]["id"] == found["points"][0]["subnet"]["id"]
    assert all(point["upper_bound"] >= point["accuracy"] for point in found["points"])
    assert all(round(point["upper_bound"], 6) == point["upper_bound"] for point in found["points"])
    for parent in found["parents"]:
        assert sha256_file(tmp_path / "run" / parent["path"]) == parent["sha256"]
    assert str(tmp_path) not in (tmp_path / "run" / "front.json").read_text()
    before = (tmp_path / "run" / "front.json").read_bytes()
    # Nothing is left where it was: not the inputs, not the run.
    shutil.rmtree(before_it)
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "home").mkdir()
    assert elsewhere(tmp_path / "moved", tmp_path / "home", "2", "1") == before
    assert elsewhere(tmp_path / "moved", tmp_path / "home", "1", "77") == before


@pytest.mark.slow
def test_a_search_that_finds_nothing_leaves_nothing(run: Run, place: Path, tmp_path: Path) -> None:
    known = (*asked(place)[:-1], "0.0001ms", "--out", str(tmp_path / "run"))
    assert run("search", *known)[0] == 6
    assert not (tmp_path / "run").exists()
    # What others keep there stays, and so does the answer of a search that found something before.
    (tmp_path / "run" / "inputs").mkdir(parents=True)
    (tmp_path / "run" / "inputs" / "note").write_text("mine")
    assert run("search", *known)[0] == 6
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["inputs", "note"]


@pytest.mark.slow
def test_a_search_that_was_stopped_gives_way_to_another(
    run: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ofa.search.answer.best", stopped)
        assert run("search", *asked(place), "--out", str(tmp_path / "run"))[0] != 0
    assert (tmp_path / "run" / "request.json").exists()
    assert searched(run, place, tmp_path / "run", "--seed", "1")["seed"] == 1
    assert kept.again(tmp_path / "run") == (tmp_path / "run" / "front.json").read_bytes()


@pytest.mark.slow
def test_one_network_is_kept_with_the_front_that_was_met(run: Run, place: Path, tmp_path: Path) -> None:
    found = searched(run, place, tmp_path / "run", "--top", "2")
    chosen = found["chosen"][0]
    assert chosen in [point | {"budget_ms": chosen["budget_ms"]} for point in found["points"]]
    assert len(found["top"]) == 2 and found["evaluations"] > 100 and "cpu_s" not in found
    assert kept.again(tmp_path / "run") == (tmp_path / "run" / "front.json").read_bytes()
    # The same request may be searched again, another one not in this folder.
    assert searched(run, place, tmp_path / "run", "--top", "2") == found
    code, _, err = run("search", *asked(place), "--out", str(tmp_path / "run"), "--seed", "1")
    assert code == 2 and "another search" in err and "--out" in err
    assert json.loads((tmp_path / "run" / "front.json").read_text()) == found
    path = tmp_path / "run" / "inputs" / "accuracy" / "card.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(FileInvalid, match="not the file that was searched with"):
        kept.again(tmp_path / "run")
    (tmp_path / "run" / "request.json").write_text('{"schema": "search-request/1", "seeds": 3}')
    with pytest.raises(FileInvalid, match="request"):
        kept.again(tmp_path / "run")
