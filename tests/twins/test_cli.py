"""The verbs for twins, through the command line: labels and tables in, cards out, whatever is wrong said plainly."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ofa.files import write_atomic
from ofa.lut import format
from ofa.space import sample
from ofa.space.mobilenet_v3 import mobilenet_v3_tiny
from ofa.train.labelled import COLUMNS

from .test_tables import table

Run = Callable[..., tuple[int, str, str]]
TINY = mobilenet_v3_tiny(1.0, 1, 10)
SPACE = ("mobilenet_v3_tiny", "--channels", "1", "--classes", "10")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Write labels of 40 subnets, as `ofa label` does."""
    genomes = sample.random(TINY, 40, np.random.default_rng(0))
    lines = [",".join(COLUMNS)]
    for genome in genomes:
        subnet = TINY.subnet(genome)
        top1 = 50 + 10 * sum(subnet.depths) / 12 + subnet.resolution / 4
        lines.append(f"{subnet.id},{bytes(subnet.genome).hex()},{subnet.resolution},{top1:.4f},0.5,1000,int8")
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_labels_become_a_twin_that_shows_its_card(run: Run, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "twin"
    code, printed, err = run("twins", "fit", *SPACE, "--labels", str(labels), "--out", str(out), "--json")
    assert code == 0, err
    card = json.loads(printed)
    assert (card["samples"], card["precision"], card["space"]) == (40, "int8", TINY.id)
    assert card["parents"][0]["path"].endswith("labels.csv")
    code, printed, _ = run("twins", "show", str(out), "--json")
    assert code == 0
    assert json.loads(printed) == card
    code, printed, _ = run("twins", "show", str(out))
    assert code == 0 and "base+boosted" in printed


def test_labels_of_another_space_are_not_to_be_deleted(run: Run, labels: Path, tmp_path: Path) -> None:
    for more in (("--classes", "4"), ("--space", "mobilenet_v3", "--classes", "10")):
        space = more if "--space" in more else ("--space", "mobilenet_v3_tiny", "--channels", "1", *more)
        code, _, err = run("twins", "fit", *space, "--labels", str(labels), "--out", str(tmp_path / "twin"))
        assert code == 3 and "try: name the space of the training they are of" in err, err


@pytest.mark.parametrize(
    ("error", "inside", "half_width", "told"),
    [
        (5.0, 0.9, 9.0, "knows nothing of how networks differ"),
        (4.4, 0.19, 9.0, "tells resolutions apart, not networks: inside one it ranks nothing (Spearman 0.19"),
        (4.4, -0.378, 4.4, "ranks nothing (Spearman -0.38"),
        (4.4, 0.2, 4.6, "its 90 % interval is ± 4.6 points, and the labels' own scatter is 4.5"),
        (4.4, None, 4.6, "tells little of which network is better"),
        (4.4, 0.2, 4.5, ""),
        (4.4, None, None, ""),
    ],
)
def test_a_twin_that_learned_too_little_to_choose_by_is_doubted(
    error: float,
    inside: float | None,
    half_width: float | None,
    told: str,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of several reasons the gravest is said."""
    scores = {"rmse_points": error, "spearman_within_resolution": inside}
    card = {"schema": "accuracy-twin/3", "label_sd": 4.5, "chosen": "base", "models": {"base": scores}}
    card["interval"] = {"coverage": 0.9, "half_width_points": half_width}
    monkeypatch.setattr("ofa.twins.saved.load", lambda path: SimpleNamespace(card=card))
    monkeypatch.setattr("ofa.twins.saved.fit", lambda *_, **__: card)
    for verb in (("show", "twin"), ("fit", *SPACE, "--labels", "labels.csv", "--out", str(tmp_path / "twin"))):
        code, _, err = run("twins", *verb)
        assert code == 0 and told in err and err.count("warning: ") == bool(told), err


def test_a_twin_of_a_stale_table_says_so(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in format.render(table(30).sorted()).items():
        write_atomic(tmp_path / "lut" / name, content)
    monkeypatch.setattr("ofa.lut.shelf.warnings", lambda path: [f"'{path.name}' is stale"])
    code, _, err = run("twins", "fit", *SPACE, "--lut", str(tmp_path / "lut"), "--out", str(tmp_path / "twin"))
    assert code == 0 and "warning: 'lut' is stale" in err


@pytest.mark.parametrize("more", [(), ("--energy",)])
def test_a_table_becomes_a_twin(run: Run, tmp_path: Path, more: tuple[str, ...]) -> None:
    for name, content in format.render(table(30, energy=True).sorted()).items():
        write_atomic(tmp_path / "lut" / name, content)
    out = tmp_path / "twin"
    code, printed, err = run("twins", "fit", *SPACE, "--lut", str(tmp_path / "lut"), *more, "--out", str(out), "--json")
    assert code == 0, err
    card = json.loads(printed)
    assert (card["quantity"], card["device"]) == ("energy" if more else "latency", "board")
    code, printed, _ = run("twins", "show", str(out))
    assert code == 0 and card["chosen"] in printed


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 2, "exactly one of --labels and --lut"),
        (("--labels", "l.csv", "--lut", "t"), 2, "exactly one of --labels and --lut"),
        (("--labels", "absent.csv"), 3, "there is no such file"),
        (("--labels", "absent.csv", "--energy"), 2, "--energy goes with --lut"),
        (("--lut", "absent", "--by-latency", "absent"), 2, "--by-latency with --labels"),
        (("--lut", "absent"), 3, "absent"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    run: Run, tmp_path: Path, options: tuple[str, ...], code: int, words: str
) -> None:
    found, out, err = run("twins", "fit", *SPACE, *options, "--out", str(tmp_path / "twin"))
    assert (found, out) == (code, "")
    assert words in " ".join(err.split()) and "Traceback" not in err
    assert not (tmp_path / "twin").exists()


def test_labels_of_two_precisions_are_refused(run: Run, labels: Path, tmp_path: Path) -> None:
    text = labels.read_text().splitlines()
    text[1] = text[1].replace("int8", "fp32")
    labels.write_text("\n".join(text) + "\n")
    code, _, err = run("twins", "fit", *SPACE, "--labels", str(labels), "--out", str(tmp_path / "twin"))
    assert code == 3 and "several precisions" in " ".join(err.split())


@pytest.mark.parametrize("content", ["{}", "[1]", '{"schema": "accuracy-twin/1"}', '{"schema": "latency-twin/9"}', "{"])
def test_a_folder_that_holds_no_twin_of_ours_is_refused(run: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "card.json").write_text(content)
    code, out, err = run("twins", "show", str(tmp_path))
    assert (code, out) == (3, "")
    assert "why" in err and "try" in err and "Traceback" not in err


@pytest.mark.slow
def test_errors_are_told_by_latency_where_a_table_prices_the_labels(run: Run, labels: Path, tmp_path: Path) -> None:
    for name, content in format.render(table(30).sorted()).items():
        write_atomic(tmp_path / "lut" / name, content)
    command = ("twins", "fit", *SPACE, "--labels", str(labels), "--by-latency", str(tmp_path / "lut"))
    code, printed, err = run(*command, "--out", str(tmp_path / "twin"), "--json")
    assert code == 0, err
    bins = json.loads(printed)["latency_bins"]
    assert len(bins) > 1


def test_a_table_that_lacks_ops_of_labels_is_refused(run: Run, labels: Path, tmp_path: Path) -> None:
    lut = table(30)
    fewer = dataclasses.replace(lut, rows=lut.rows[: len(lut.rows) // 2])
    for name, content in format.render(fewer.sorted()).items():
        write_atomic(tmp_path / "lut" / name, content)
    command = ("twins", "fit", *SPACE, "--labels", str(labels), "--by-latency", str(tmp_path / "lut"))
    code, _, err = run(*command, "--out", str(tmp_path / "twin"))
    assert code == 3 and not (tmp_path / "twin").exists(), err
