"""The verb that trains: what it leaves, how it goes on, what Ctrl-C says, and what a dry run does not do."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ofa.console import resume_line
from ofa.train import checkpoint, folder, loop, runs
from ofa.train.showing import watching

from .conftest import Opened, Refuse, Run, json_of, one_thread, pictures, training

pytestmark = pytest.mark.slow


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def same_weights(first: Path, second: Path) -> bool:
    mine, theirs = (checkpoint.load(run / folder.CHECKPOINT) for run in (first, second))
    return mine.step == theirs.step and all(torch.equal(mine.model[name], theirs.model[name]) for name in mine.model)


def test_steps_of_an_earlier_process_say_nothing_of_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ofa.console.PLAIN_PROGRESS_EVERY_S", -1.0)
    clock = iter(float(second) for second in (0, 20, 40))
    monkeypatch.setattr("ofa.console.time", SimpleNamespace(monotonic=lambda: next(clock)))
    with watching("demo", 400, 16, True) as tell:
        for step in (46, 47):
            facts = {"loss_first": 1.0, "loss_last": 1.0, "epoch": 1.0}
            tell(loop.Progress(step=step, steps=400, phase="full", loss=1.0, corners=None, facts=facts))
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("demo: 46 of 400, 20 s, about 7080 s left")
    assert said[1].startswith("demo: 47 of 400, 40 s, about 7060 s left")


def test_a_training_leaves_recipe_data_environment_log_and_weights(once: Path, shown: Path) -> None:
    assert runs.recipe_of(once) == runs.recipe_named(
        "demo",
        ["batch=16", "holdout=12", "calibration=12", "corner_steps=0", "log_steps=1", "ema_decay=0.5"],
        1.0,
    )
    facts = json.loads((once / folder.DATA).read_text())
    assert facts["classes"] == ["0", "1", "2", "3"] and facts["channels"] == 1 and facts["images"] == 60
    assert (facts["trained_on"], facts["held_back"], facts["calibration"]) == (48, 12, 12)
    assert facts["mean"] == [0.25] and facts["fingerprint"] == runs.opened(str(shown), "train").fingerprint
    (session,) = lines_of(once / folder.ENVIRONMENT)
    assert session["versions"]["torch"] == torch.__version__ and {"python", "numpy"} <= set(session["versions"])
    assert session["git"] == folder.git_id() and session["processes"] == 1 and session["began"].endswith("+00:00")
    log = lines_of(once / folder.METRICS)
    assert [line["step"] for line in log] == [1, 2, 3] and [line["epoch"] for line in log] == [0.3333, 0.6667, 1.0]
    assert all({"phase", "loss", "loss_first", "loss_last", "lr", "gradient_norm"} <= set(line) for line in log)
    assert set(log[-1]["corners"]) == {"max", "min", "k3e6d3", "k7e3d3", "k7e6d1", "min@16"}
    last, best = (checkpoint.load(once / name) for name in (folder.CHECKPOINT, folder.BEST))
    assert last.step == best.step == 3 and last.recipe == runs.recipe_of(once).id and last.samples == 48
    assert last.optimiser and last.ema and not best.optimiser and last.data == facts["fingerprint"]
    # The tail in the checkpoint is the log itself, so that either of them tells of the run.
    assert [json.loads(line)["step"] for line in last.tail] == [1, 2, 3]
    assert last.git == folder.git_id()


def test_a_second_training_needs_another_folder_or_resume(trained: Path, shown: Path, refuse: Refuse) -> None:
    err = refuse(2, *training(shown, trained, ema_decay=0.5))
    assert f"'{trained}' holds a training already" in err and "--resume" in err and "--out" in err
    (trained / folder.CHECKPOINT).replace(trained / folder.PREVIOUS)
    refuse(2, *training(shown, trained, ema_decay=0.5))


def test_another_recipe_does_not_go_on_in_the_folder(trained: Path, shown: Path, refuse: Refuse) -> None:
    err = refuse(3, *training(shown, trained, "--resume", ema_decay=0.25))
    assert "of another recipe" in err and "'ema_decay' was 0.5 and is 0.25" in err and "'batch'" not in err
    err = refuse(3, *training(shown, trained, "--resume", "--seed", "3", "--epochs-scale", "2", ema_decay=0.5))
    assert "'seed' was 0 and is 3" in err and "phase 'sandwich': 'epochs' was 1 and is 2 (--epochs-scale)" in err
    err = refuse(3, *training(shown, trained, "--resume", "--schedule", "progressive_shrinking", ema_decay=0.5))
    assert "'phases' was ['sandwich'] and is ['largest', " in err
    assert "'space' was " in refuse(3, *training(shown, trained, "--resume", ema_decay=0.5, space="proxyless"))


def test_resume_without_a_training_says_that_a_new_one_begins(shown: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run(*training(shown, tmp_path / "mistyped", "--resume"))
    assert code == 0 and "holds no training to go on with: a new one begins" in " ".join(err.split())


def test_threads_are_kept_with_the_run_and_looked_at_when_it_goes_on(
    trained: Path, shown: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number changes weights bit for bit: it is no reason to refuse another machine, and one to say so."""
    monkeypatch.setattr("ofa.train.ranks.busy_at_start", lambda: 0.0)
    (first,) = lines_of(trained / folder.ENVIRONMENT)
    before = first["cpu_threads"]
    resume = training(shown, trained, "--resume", ema_decay=0.5)
    assert "threads" not in run(*resume)[2]
    code, _, err = run(*resume, "--threads", str(before + 1))
    assert code == 0 and f"computed on {before} threads and goes on with {before + 1}" in " ".join(err.split())
    assert lines_of(trained / folder.ENVIRONMENT)[-1]["cpu_threads"] == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("verb", ["train", "finetune", "eval", "label"])
def test_busy_cores_are_told_by_every_verb_that_has_threads(
    verb: str, once: Path, shown: Path, tmp_path: Path, library: Opened, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads as far as they are told of: where cores are busy indeed, to compute on two takes minutes."""
    monkeypatch.setattr("ofa.train.ranks.busy_at_start", lambda: 0.9)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    one = tmp_path / "one.json"
    one.write_text(json.dumps(library.last.supernet.space.corner("min", 16).to_json()))
    run_and_data = (str(once), "--data", str(shown))
    command = {
        "train": training(shown, tmp_path / "new", "--dry-run"),
        "finetune": ["finetune", *run_and_data, "--subnet", str(one), "--out", str(tmp_path / "tuned"), "--dry-run"],
        "eval": ["eval", *run_and_data, "--subnets", str(one)],
        "label": ["label", *run_and_data, "--subnets", str(one), "--out", str(tmp_path / "labels.csv")],
    }[verb]
    code, _, err = run(*command)
    assert code == 0 and "90 % of the cores busy: 2 threads" in " ".join(err.split()), err


def test_other_images_do_not_go_on_in_the_folder(trained: Path, tmp_path: Path, refuse: Refuse) -> None:
    images, labels = pictures(60, 9)
    for part in ("train", "test"):
        np.savez(tmp_path / f"{part}.npz", images=images, labels=labels)
    err = refuse(3, *training(tmp_path, trained, "--resume", ema_decay=0.5))
    assert "trained on other images" in err


def test_a_finished_training_is_resumed_to_the_same_end(trained: Path, once: Path, shown: Path, run: Run) -> None:
    code, out, err = run(*training(shown, trained, "--resume", "--json", ema_decay=0.5))
    assert code == 0 and "Traceback" not in err
    facts = json_of(out)
    assert facts["step"] == 3 and facts["phase"] == "sandwich" and facts["loss"] > 0 and facts["corners"]["max"] >= 0
    assert facts["checkpoint"] == str(trained / folder.CHECKPOINT) and facts["log"] == str(trained / folder.METRICS)
    assert same_weights(trained, once) and len(lines_of(trained / folder.ENVIRONMENT)) == 2
    # Labels and fine-tuned networks know the checkpoint that they are from by its hash.
    for name in (folder.METRICS, folder.CHECKPOINT, folder.BEST):
        assert (trained / name).read_bytes() == (once / name).read_bytes()
    assert (trained / folder.PREVIOUS).exists() == (once / folder.PREVIOUS).exists()


def test_ctrl_c_says_the_very_line_that_goes_on(
    shown: Path, once: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a run's folder"
    command = training(shown, out, ema_decay=0.5)
    advance = loop.Training.advance

    def interrupted(self: loop.Training, batches: Any) -> dict[str, Any]:
        if self.state.step == 2:
            raise KeyboardInterrupt
        return advance(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "advance", interrupted)
        patch.setattr(sys, "argv", ["/usr/bin/ofa", *command])
        code, shown_out, err = run(*command)
    assert (code, shown_out) == (130, "") and "Traceback" not in err and "every finished step is safe" in err
    assert checkpoint.load(out / folder.CHECKPOINT).step == 2
    (line,) = re.findall(r"try: (.*)\n", err)
    assert line == "ofa " + shlex.join([*command, "--resume"]) and "'\"'\"'" in line
    code, _, err = run(*shlex.split(line)[1:])
    assert code == 0, err
    assert same_weights(out, once)
    assert (out / folder.METRICS).read_bytes() == (once / folder.METRICS).read_bytes()


def test_a_line_that_resumes_already_stays_as_it_is() -> None:
    words = ["/somewhere/ofa", "train", "--out", "my run", "--resume", "--set", "batch=8"]
    assert resume_line(words) == "ofa train --out 'my run' --resume --set batch=8"


def test_a_line_under_torchrun_starts_with_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    assert resume_line(["/somewhere/ofa", "train"]) == "torchrun ... --no-python ofa train --resume"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_real_processes_with_workers(number: signal.Signals, photographs: Path, tmp_path: Path) -> None:
    """It goes to the whole group, workers that decode images among it, as a terminal and a cluster send it."""
    out = tmp_path / "run"
    changes = {"batch": 8, "workers": 2, "space": "mobilenet_v3_tiny"}
    command = training(photographs, out, "--skip-corrupt", "--epochs-scale", "300", **changes)
    # A process inherits what ignores Ctrl-C, as a shell's background job does, and no handler of Python's.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *command],
        cwd=Path(loop.__file__).parents[2],
        env=one_thread(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    try:
        while not (out / folder.METRICS).exists() or len((out / folder.METRICS).read_text().splitlines()) < 3:
            assert process.poll() is None, process.stderr
        os.killpg(process.pid, number)
        shown, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, shown) == (130, "") and "Traceback" not in err, err
    assert f"try: ofa {shlex.join([*command, '--resume'])}\n" in err
    last = checkpoint.load(out / folder.CHECKPOINT)
    assert last.step >= 3 and lines_of(out / folder.METRICS)[-1]["step"] == last.step


def test_a_dry_run_says_what_would_be_and_writes_nothing(
    shown: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*training(shown, tmp_path / "run", "--dry-run", "--json", "--epochs-scale", "2"))
    assert code == 0 and all(line.startswith("trying steps: ") for line in err.splitlines()) and err
    facts = json_of(out)
    assert facts["steps"] == 6 and facts["batch"] == 16 and facts["recipe"] == "demo" and facts["memory_mib"] > 50
    assert facts["images"] == {"trained_on": 48, "held_back": 12} and facts["hours"] >= 0
    (phase,) = facts["phases"]
    assert phase["phase"] == "sandwich" and phase["steps"] == 6 and phase["subnets_a_step"] == 4
    code, out, _ = run(*training(shown, tmp_path / "run", "--dry-run"))
    assert code == 0 and all(word in out for word in ("hours", "memory_mib", "phases", "sandwich", "mobilenet_v3_tiny"))
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_can_be_printed_as_json(
    shown: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "backward", lambda *_: torch.full((3,), float("nan"), dtype=torch.float64))
    code, out, err = run(*training(shown, tmp_path / "run", "--json", holdout=0))
    assert code == 0, err
    assert json_of(out)["loss"] is None and json_of(out)["event"] == "skip"
    for line in (tmp_path / "run" / folder.METRICS).read_text().splitlines():
        assert json_of(line)["loss"] is None
