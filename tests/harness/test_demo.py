"""The demo in small: every stage leaves its file, interrupts lose nothing, what is chosen was never seen."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import journal as journals
from harness import plan as plans
from harness import ship
from harness.bench import Scope
from harness.demo import RUNTIMES, SHARES, Settings, demo
from harness.inventory import this_computer
from harness.report import read as reads
from ofa import console
from ofa.errors import FileInvalid, MeasurementRefused
from ofa.files import sha256_file
from ofa.lut.check import check
from ofa.lut.format import read
from ofa.train import checkpoint, labelled, recipes, schedule

pytestmark = pytest.mark.slow
PACKAGES = ("torch", "sklearn", "xgboost", "onnx", "onnxruntime", "ai_edge_litert", "plotly", "jinja2")


def small() -> Settings:
    """Return settings under which a demo takes seconds."""
    phases = schedule.sandwich(epochs=1, learning_rate=1e-2, warmup_epochs=0.25, random=1)
    recipe = dataclasses.replace(recipes.demo(), phases=phases, batch=16, corner_steps=8, log_steps=2)
    return Settings(
        recipe=recipe,
        training_images=128,
        labels=22,
        label_rounds=2,
        labels_a_round=2,
        calibration_images=64,
        label_images=128,
        test_images=128,
        scope=Scope(fit=10, holdout=4, rounds=2, rounds_most=2, seed=0, again=False, memory=False),
        verify_rounds=2,
        population=24,
        generations=2,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Run the small demo once, without an interrupt."""
    for package in PACKAGES:
        pytest.importorskip(package, reason=f"the package '{package}' is not installed")
    folder = tmp_path_factory.mktemp("run") / "demo"
    return folder, demo(folder, small())


def test_the_summary_has_what_its_readers_expect(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = whole
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert {"wall_s", "accuracy_spread", "models", "rows"} <= set(summary)
    assert len(summary["accuracy_spread"]) == 2 and summary["accuracy_spread"][0] <= summary["accuracy_spread"][1]
    assert [row["runtime"] for row in summary["rows"]] == [name for name in RUNTIMES for _ in SHARES]
    for row in summary["rows"]:
        assert row["device"] == "this-computer" and row["subnet"]["space"] == "mobilenet_v3_tiny-w1.0-c1-n10"
        assert 0 < row["measured_lo_ms"] <= row["measured_ms"] <= row["measured_hi_ms"]
        assert row["measured_on_other_ms"] > 0 and row["predicted_ms"] < row["budget_ms"]
        assert 0 <= row["measured_top1"] <= 100
    for name in RUNTIMES:
        rows = [row for row in summary["rows"] if row["runtime"] == name]
        front = json.loads((folder / name / "front.json").read_text())
        low, high = front["extremes_ms"]
        assert [row["budget_ms"] for row in rows] == pytest.approx([low + share * (high - low) for share in SHARES])
        assert all(point["accuracy_lo"] < point["accuracy"] < point["accuracy_hi"] for point in front["points"])
        for one, row in zip(front["chosen"], rows, strict=True):
            assert one["upper_bound"] >= one["accuracy"] == row["predicted_top1"]
            assert one["accuracy_hi"] == row["predicted_hi_top1"]


def test_what_is_chosen_was_neither_labelled_nor_calibrated_with(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = whole
    space = small().recipe.search_space(channels=1, classes=10)
    seen = {space.subnet(genome).id for genome in labelled.read(folder / "labels.csv", space)[0]}
    for name in RUNTIMES:
        seen |= {item.key.rpartition(":")[2] for item in plans.read(folder / name / "plan.json").items if item.genome}
    assert len(seen) >= 38 and not seen & {row["subnet_id"] for row in summary["rows"]}


def test_every_file_is_there_and_the_report_misses_nothing(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = whole
    assert check(folder)["valid"] and len(check(folder)["tables"]) == len(RUNTIMES)
    run = reads.gather(folder)
    assert not run.missing and not run.broken and not run.simulated
    assert all(bench.networks and bench.floor_percent is not None for bench in run.benches)
    assert (folder / "report.html").stat().st_size > 1 << 20
    named = [parent for fact in run.files for parent in fact.parents]
    assert len(named) >= 7 and {parent.state for parent in named} == {"same"}
    for row in summary["rows"]:
        for suffix in (".onnx", ".tflite"):
            model = folder / "models" / f"{row['subnet_id']}{suffix}"
            facts = json.loads(model.with_name(model.name + ".json").read_text())
            assert facts["file"]["sha256"] == sha256_file(model) and facts["parity"]["max_difference"] <= 1e-4


def test_the_report_names_the_files_that_are_there(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = whole
    found = re.search(r'<script[^>]*id="run"[^>]*>(.*?)</script>', (folder / "report.html").read_text(), re.S)
    assert found is not None
    named = json.loads(found[1])["files"]
    assert {"run.json", "summary.json", "verify.json"} <= set(named)
    for name, digest in named.items():
        assert sha256_file(folder / name) == digest, name


def test_labels_of_another_supernet_are_refused(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(whole[0], folder)
    facts = json.loads((folder / "labels.csv.json").read_text())
    (folder / "labels.csv.json").write_text(json.dumps(facts | {"checkpoint_sha256": "0" * 64}))
    before = (folder / "labels.csv").read_bytes()
    with pytest.raises(FileInvalid, match="file of labels") as caught:
        demo(folder, small())
    assert "checkpoint_sha256" in caught.value.why and (folder / "labels.csv").read_bytes() == before


def test_a_table_of_another_runtime_version_is_not_verified_against(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = whole
    lut = read(folder / "litert" / "lut")
    older = lut.header.model_copy(update={"environment": lut.header.environment | {"runtime_version": "1.0"}})
    device = this_computer(folder / ".files")
    plan = plans.read(folder / "litert" / "plan.json")
    ship.same_conditions(device, plan, lut, folder)
    with pytest.raises(MeasurementRefused, match="no longer as it was") as caught:
        ship.same_conditions(device, plan, dataclasses.replace(lut, header=older), folder)
    assert "runtime_version" in caught.value.why and str(folder) in str(caught.value)


def test_measured_accuracy_is_that_of_the_file_in_its_runtime(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = whole
    from ofa.train import data, digits

    row = summary["rows"][0]
    path = folder / "models" / f"{row['subnet_id']}.onnx"
    images = data.Images.all_of(digits.source("test", 128, 3), (0.25,), (0.25,))
    assert ship.tested_top1(path, "onnxruntime", images, row["subnet"]["resolution"]) == row["measured_top1"]


def test_a_finished_demo_trains_and_measures_nothing_again(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = whole
    kept = [folder / "supernet/checkpoint.pt", folder / "labels.csv", *(folder / "models").iterdir()]
    before = {path: (sha256_file(path), path.name == "labels.csv" or path.stat().st_mtime_ns) for path in kept}
    again = demo(folder, small())
    assert again["rows"] == summary["rows"] and again["models"] == summary["models"]
    again_there = {path: (sha256_file(path), path.name == "labels.csv" or path.stat().st_mtime_ns) for path in kept}
    assert before == again_there


def test_interrupts_anywhere_lose_nothing(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes again and again, after a growing number of steps of progress; in the end all is there, once."""
    shown = console.progress
    left = [1]

    @contextmanager
    def impatient(what: str, total: int) -> Iterator[Any]:
        with shown(what, total) as advance:

            def count(*arguments: Any, **named: Any) -> None:
                advance(*arguments, **named)
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt

            yield count

    monkeypatch.setattr("ofa.console.progress", impatient)
    patience = [1, 8, 40, 160, 330, 0]
    for steps in patience:
        left[0] = steps
        with pytest.raises(KeyboardInterrupt) if steps else nullcontext():
            demo(tmp_path / "demo", small())
    mine, theirs = (checkpoint.load(folder / "supernet/checkpoint.pt") for folder in (tmp_path / "demo", whole[0]))
    assert mine.step == theirs.step and all((mine.model[name] == theirs.model[name]).all() for name in theirs.model)
    for name in ("supernet/metrics.jsonl", "labels.csv"):
        assert sha256_file(tmp_path / "demo" / name) == sha256_file(whole[0] / name), name
    # What the twin of the second round foretold is known again, though it was interrupted.
    own, other = (
        json.loads((folder / "twins/accuracy/card.json").read_text()) for folder in (tmp_path / "demo", whole[0])
    )
    assert own["interval"] == other["interval"] and own["interval"]["foretold"] == 2
    for name in RUNTIMES:
        with journals.open_journal(tmp_path / "demo" / name / "journal.sqlite") as journal:
            assert journal.complete_rounds() == {0, 1}
            assert len(journal.samples()) == 2 * len(journal.plan.items)


def test_a_demo_is_made_again_from_its_archive(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    from harness.archive.make import archive

    folder, _ = whole
    facts = archive(folder, tmp_path / "demo.tar.gz", artefacts=(folder / ".files",))
    fronts = [f"{name}/front.json" for name in sorted(RUNTIMES)]
    assert facts["makes"][-2:] == fronts and len(facts["makes"]) == 10 and not facts["left_out"]
    # In a process of its own: what labelling and training left in this one is not there.
    command = [sys.executable, "-m", "harness.cli", "replay", str(tmp_path / "demo.tar.gz"), "--out", "made"]
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONPATH": str(Path(harness.__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in facts["makes"]:
        assert (tmp_path / "made" / name).read_bytes() == (folder / name).read_bytes()
