"""An archive makes a run's files again byte for byte, elsewhere; it tells of nobody, and notices what was changed."""

from __future__ import annotations

import getpass
import gzip
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import searchable

import harness
import ofa.space as spaces
from harness import journal as journals
from harness.appraise import add, appraise
from harness.archive import packages, tarball
from harness.archive.discretion import blanked
from harness.archive.listing import LISTING, LOCK, Held, Listing
from harness.archive.make import archive
from harness.archive.replay import replay
from harness.bench import Scope, bench
from harness.inventory import simulated
from harness.simulation.machine import Machine
from harness.tables import AGAIN_JOURNAL, JOURNAL, TABLE
from ofa import files
from ofa.errors import FileInvalid, UsageInvalid, VerificationFailed
from ofa.lut.format import read
from ofa.space import sample

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(harness.__file__).parents[1]
SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
# In parts, since no file of ours may hold one.
SOMEBODY = "/".join(("", "home", "esme"))
TABLES = [f"{TABLE}/{name}" for name in ("lut.json", "networks.csv", "ops.csv", "sessions.jsonl")]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of a few ops and networks on a simulated phone."""
    folder = tmp_path_factory.mktemp("measured")
    subnets = tuple(SPACE.subnet(genome) for genome in sample.random(SPACE, 3, np.random.default_rng(0)))
    device = simulated(folder / "files", machine=Machine(), own_process=False)
    scope = Scope(rounds=2, rounds_most=2, seed=3, subnets=subnets)
    bench(SPACE, device=device, runtime="simulated", folder=folder / "run", scope=scope)
    return folder / "run"


def unpacked(path: Path, into: Path) -> tuple[Listing, dict[str, bytes]]:
    """Return the listing of an archive and its files, those of models too."""
    listing = tarball.unpack(path, into)
    return listing, {
        held.path: (into / held.path).read_bytes() for held in listing.files if (into / held.path).exists()
    }


def repacked(path: Path, listing: Listing, contents: dict[str, bytes]) -> Path:
    """Write an archive of some files that lists them as they are."""
    held = [
        Held(path=name, sha256=files.sha256_bytes(data), size_bytes=len(data))
        for name, data in sorted(contents.items())
    ]
    files.write_atomic(path, tarball.packed(listing.model_copy(update={"files": tuple(held)}), contents))
    return path


def changed(journal: Path, statement: str) -> None:
    """Change a journal behind its guards."""
    with sqlite3.connect(journal) as database:
        guards = list(database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
        for name, _ in guards:
            database.execute(f"DROP TRIGGER {name}")
        assert database.execute(statement).rowcount
        for _, sql in guards:
            database.execute(sql)
    database.close()


def elsewhere(home: Path, *arguments: str, threads: str = "2", seed: str = "7") -> tuple[int, Any, str]:
    """Run a command in another process, at another place, with no cache, another hash seed and number of threads."""
    env = {"PATH": os.defpath, "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
    env |= {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    command = [sys.executable, "-m", "harness.cli", *arguments]
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


@pytest.mark.slow
def test_tables_and_fronts_are_made_again_elsewhere(run: Run, measured: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(measured, folder)
    place = searchable.inputs(tmp_path / "inputs")
    search = ("search", *searchable.asked(place), "--out", str(folder / "found"), "--front", "--points", "2")
    assert run(*search)[0] == 0
    code, out, err = run("archive", str(folder), "--out", str(tmp_path / "a.tar.gz"), "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["makes"] == [*TABLES, "found/front.json"] and facts["seeds"] == [0, 3] and not facts["left_out"]
    assert run("archive", str(folder), "--out", str(tmp_path / "b.tar.gz"))[0] == 0
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    before = {name: (folder / name).read_bytes() for name in facts["makes"]}
    shutil.rmtree(folder)
    shutil.rmtree(place)
    (tmp_path / "home").mkdir()
    code, told, err = elsewhere(
        tmp_path / "home", "replay", str(tmp_path / "a.tar.gz"), "--json", "--out", str(tmp_path / "made")
    )
    assert code == 0, err
    assert told["same"] and told["files"] == [{"file": name, "same": True} for name in facts["makes"]]
    assert {name: (tmp_path / "made" / name).read_bytes() for name in facts["makes"]} == before
    assert told["versions_that_differ"] == []
    with pytest.raises(UsageInvalid, match="not empty"):
        replay(tmp_path / "a.tar.gz", out=tmp_path / "made")


@pytest.mark.slow
def test_a_changed_journal_makes_another_table(measured: Path, tmp_path: Path) -> None:
    archive(measured, tmp_path / "a.tar.gz")
    listing, contents = unpacked(tmp_path / "a.tar.gz", tmp_path / "files")
    slower = "UPDATE samples SET wall_p10_ns = wall_p10_ns * 2 WHERE item = 0"
    changed(tmp_path / "files" / JOURNAL, slower)
    contents[JOURNAL] = (tmp_path / "files" / JOURNAL).read_bytes()
    path = repacked(tmp_path / "b.tar.gz", listing, contents)
    (tmp_path / "home").mkdir()
    code, told, err = elsewhere(tmp_path / "home", "replay", str(path), "--json")
    assert code == 7 and not told["same"] and "does not make its files again: lut/lut.json, lut/ops.csv" in err
    same = {row["file"]: row["same"] for row in told["files"]}
    assert same == dict.fromkeys(TABLES, True) | {"lut/ops.csv": False, "lut/lut.json": False}
    row = next(row for row in told["files"] if row["file"] == "lut/ops.csv")
    lines = contents["lut/ops.csv"].decode().splitlines()
    assert row["archived"] == lines[row["line"] - 1] and row["made"].split(",")[:2] == row["archived"].split(",")[:2]
    assert row["made"] != row["archived"]
    # Nor is a run archived whose table its journal does not make.
    shutil.copytree(measured, tmp_path / "run")
    changed(tmp_path / "run" / JOURNAL, slower)
    with pytest.raises(VerificationFailed, match=r"lut/ops\.csv") as caught:
        archive(tmp_path / "run", tmp_path / "c.tar.gz")
    assert caught.value.hints and not (tmp_path / "c.tar.gz").exists()


@pytest.mark.slow
def test_added_networks_are_made_again_and_stay_when_a_run_goes_on(measured: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(measured, folder)
    drawn = sample.random(SPACE, 5, np.random.default_rng(0))
    device = simulated(tmp_path / "files", machine=Machine(), own_process=False)
    before = read(folder / TABLE)
    found = appraise(
        [],
        subnets=[SPACE.subnet(genome) for genome in drawn[3:]],
        device=device,
        runtime="simulated",
        folder=tmp_path / "tried",
        lut=before,
        rounds=2,
    )
    assert add(found, folder / TABLE).startswith("2 networks")
    table = read(folder / TABLE)
    assert len(table.networks) == len(before.networks) + 2
    archive(folder, tmp_path / "a.tar.gz")
    assert {"added.csv", "added.jsonl"} <= set(unpacked(tmp_path / "a.tar.gz", tmp_path / "files")[1])
    (tmp_path / "home").mkdir()
    code, told, err = elsewhere(tmp_path / "home", "replay", str(tmp_path / "a.tar.gz"), "--json")
    assert code == 0 and told["same"], err
    scope = Scope(rounds=2, rounds_most=2, seed=3, subnets=tuple(map(SPACE.subnet, drawn[:3])))
    assert bench(SPACE, device=device, runtime="simulated", folder=folder, scope=scope) == table
    for name in ("added.csv", "added.jsonl"):
        (folder / name).unlink()
    assert bench(SPACE, device=device, runtime="simulated", folder=folder, scope=scope) == table
    # A table with networks that an earlier version added, and kept nowhere else, is refused with what to do.
    for name in ("added.csv", "added.jsonl"):
        (folder / name).unlink()
    with pytest.raises(VerificationFailed, match=r"lut/networks\.csv") as caught:
        archive(folder, tmp_path / "b.tar.gz")
    assert "--add" in caught.value.hints[0]
    assert add(replace(found, lut=table), folder / TABLE).startswith("0 networks")
    archive(folder, tmp_path / "b.tar.gz")
    (folder / "added.jsonl").write_text("")
    with pytest.raises(FileInvalid, match=r"added\.csv|networks\.csv"):
        archive(folder, tmp_path / "c.tar.gz")


@pytest.mark.slow
def test_an_archive_tells_of_nobody(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "weatherwax")
    monkeypatch.setattr(platform, "node", lambda: "lancre.example")
    folder = tmp_path / "run"
    shutil.copytree(measured, folder)
    # An unfinished run has no table yet; the archive makes it.
    shutil.rmtree(folder / TABLE)
    secrets = (str(folder), "/opt/granny/models", "10.11.12.13", "weatherwax", "lancre", SOMEBODY)
    with journals.open_journal(folder / JOURNAL) as journal:
        journal._append({"failures": [(0, 1, 1, f"unsupported: {' and '.join(secrets)}: no such kernel")]})
    archive(folder, tmp_path / "a.tar.gz")
    held = gzip.decompress((tmp_path / "a.tar.gz").read_bytes())
    for secret in (*secrets, str(tmp_path), getpass.getuser(), platform.node()):
        assert secret.encode() not in held, secret
    assert b"no such kernel" in held
    assert replay(tmp_path / "a.tar.gz", out=tmp_path / "made")["same"]
    # The words are blanked, the row that they are the reason of is not.
    statuses = {row.key: row.status for row in read(tmp_path / "made" / TABLE).rows}
    with journals.open_journal(folder / JOURNAL) as journal:
        assert statuses[journal.plan.items[1].key] == "unsupported"


@pytest.mark.slow
def test_a_file_that_names_a_home_folder_is_refused(run: Run, tmp_path: Path) -> None:
    place = searchable.inputs(tmp_path / "inputs")
    card = json.loads((place / "twin" / "card.json").read_text())
    card["parents"] = [{"path": f"../..{SOMEBODY}/labels.csv", "sha256": "0" * 64}]
    (place / "twin" / "card.json").write_text(files.readable_json(card))
    search = ("search", *searchable.asked(place), "--out", str(tmp_path / "found"), "--front", "--points", "1")
    assert run(*search)[0] == 0
    code, _, err = run("archive", str(tmp_path / "found"), "--out", str(tmp_path / "a.tar.gz"))
    assert code == 3 and "inputs/accuracy/card.json" in err and SOMEBODY in err and "try:" in err
    assert not (tmp_path / "a.tar.gz").exists()


@pytest.mark.slow
def test_small_model_files_are_kept_and_damaged_ones_left_out(measured: Path, tmp_path: Path) -> None:
    cache = measured.parent / "files"
    facts = archive(measured, tmp_path / "a.tar.gz", artefacts=(tmp_path / "none", cache))
    listing = tarball.unpack(tmp_path / "a.tar.gz", tmp_path / "files")
    kept = [held for held in listing.files if held.path.startswith("artefacts/")]
    assert len(kept) == facts["artefacts"] > 20 and facts["artefacts_left_out"] == listing.artefacts_left_out == 0
    assert all(held.path.endswith(held.sha256) for held in kept) and not (tmp_path / "files" / "artefacts").exists()
    shutil.copytree(cache, tmp_path / "cache")
    (tmp_path / "cache" / kept[0].sha256).write_bytes(b"damaged")
    again = archive(measured, tmp_path / "b.tar.gz", artefacts=(tmp_path / "cache",))
    assert again["artefacts_left_out"] == 1 and again["artefacts"] == len(kept) - 1
    assert again["artefacts_left_out_for"] == {"not kept on this computer any more": 1}


@pytest.mark.slow
def test_other_versions_are_told(measured: Path, tmp_path: Path) -> None:
    archive(measured, tmp_path / "a.tar.gz")
    listing, contents = unpacked(tmp_path / "a.tar.gz", tmp_path / "files")
    pins = packages.pins(contents[LOCK], tmp_path)
    assert pins == packages.installed() and {"numpy", "scipy", "pydantic-core"} <= set(pins) and "torch" not in pins
    contents[LOCK] = packages.lock_text(pins | {"numpy": "1.0", "absent": "2.0"}).encode()
    made_with = listing.made_with.model_copy(update={"python": "3.6.1"})
    path = repacked(tmp_path / "b.tar.gz", listing.model_copy(update={"made_with": made_with}), contents)
    differ = {row["package"]: (row["archived"], row["here"]) for row in replay(path)["versions_that_differ"]}
    assert differ == {
        "numpy": ("1.0", pins["numpy"]),
        "absent": ("2.0", None),
        "python": ("3.6.1", platform.python_version()),
    }
    contents[LOCK] = b"numpy>=2\n"
    with pytest.raises(FileInvalid, match="cannot be used") as caught:
        replay(repacked(tmp_path / "c.tar.gz", listing, contents))
    assert "name==version" in caught.value.why


@pytest.mark.slow
def test_a_journal_is_copied_whole_into_equal_bytes(measured: Path, tmp_path: Path) -> None:
    for name in (JOURNAL, AGAIN_JOURNAL):
        with journals.open_journal(measured / name) as journal:
            for copy in ("one", "two"):
                journals.copied(journal, tmp_path / copy / name, blanked)
            with journals.open_journal(tmp_path / "one" / name) as copied:
                assert copied.plan == journal.plan and copied.sessions() == journal.sessions()
                assert copied.samples() == journal.samples() and copied.references() == journal.references()
                assert copied.batches() == journal.batches() and copied.footprints() == journal.footprints()
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_folder_without_a_run_is_refused(run: Run, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        code, _, err = run("archive", str(path), "--out", str(tmp_path / "a.tar.gz"))
        assert code == 3 and "nothing that could be made again" in err and "try:" in err
    assert not (tmp_path / LISTING).exists()


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("dlopen(/usr/lib/x/libfoo.so): no such file", "dlopen(PATH): no such file"),
        ("at 192.168.1.20:5555 in '/data/local/tmp/ofa'", "at ADDRESS in 'PATH'"),
        ("unsupported: op 3/4 of and/or 1.2.3", "unsupported: op 3/4 of and/or 1.2.3"),
    ],
)
def test_free_texts_lose_places_and_nothing_else(text: str, public: str) -> None:
    assert blanked(text) == public


def test_the_lock_holds_what_a_bench_host_and_a_search_ask_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["search"], *extras["bench"]]
    names = {packages.normal(found.group()) for line in asked if (found := packages.REQUIRED.match(line))}
    assert names == set(packages.ROOTS)
