"""The best of a search tried for real: labelled on its supernet, measured here, and chosen by that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import ofa.space as spaces
from ofa.lut.format import read
from ofa.lut.write import write
from ofa.train import labelled
from tests import inputs

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]
TINY = ("--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10")
SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)

pytest.importorskip("onnxruntime", reason="the package 'onnxruntime' is not installed")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images, a training, its labels and twin, a made-up table of this computer, and a search."""
    from harness import cli

    place = tmp_path_factory.mktemp("searched")

    def command(*words: str) -> None:
        with pytest.raises(SystemExit) as ending:
            cli.main(words)
        assert ending.value.code == 0, words

    inputs.images(place / "images")
    inputs.training(command, place / "images", place / "run")
    labels = ("--out", str(place / "run" / "labels.csv"), "-n", "24")
    command("label", str(place / "run"), "--data", str(place / "images"), *labels)
    command("twins", "fit", *TINY, "--labels", str(place / "run" / "labels.csv"), "--out", str(place / "twin"))
    inputs.table(place / "pixel")
    lut = read(place / "pixel")
    here = {"device": "this-computer", "runtime": "onnxruntime", "runtime_version": "1.0", "conditions": "cpu-1t"}
    write(replace(lut, header=lut.header.model_copy(update=here)), place / "table")
    asked = ("--accuracy", str(place / "twin"), "--lut", str(place / "table"), "--under", "5ms")
    command("search", *TINY, *asked, "--top", "3", "--out", str(place / "best"))
    # As measured by a device that does not exist.
    lut = read(place / "table")
    write(
        replace(lut, header=lut.header.model_copy(update={"device": "simulated-phone", "runtime": "simulated"})),
        place / "no-files",
    )
    other = ("--accuracy", str(place / "twin"), "--lut", str(place / "no-files"), "--under", "5ms")
    command("search", *TINY, *other, "--top", "3", "--out", str(place / "simulated"))
    command("search", *TINY, *asked, "--front", "--points", "2", "--out", str(place / "front"))
    return place


def choosing(place: Path, search: str = "best", *more: str) -> tuple[str, ...]:
    return ("choose", str(place / search), "--run", str(place / "run"), "--data", str(place / "images"), *more)


@pytest.mark.slow
def test_the_choice_is_made_on_labels_and_times_and_not_made_twice(run: Run, searched: Path) -> None:
    few = ("--rounds", "2", "--allow-load", "--json")
    code, out, err = run(*choosing(searched, "best", *few))
    assert code == 0, err
    facts = json.loads(out)
    assert facts == json.loads((searched / "best" / "choice.json").read_text())
    kept = json.loads((searched / "best" / "front.json").read_text())
    assert {one["id"] for one in facts["networks"]} == {one["subnet"]["id"] for one in kept["top"]}
    assert kept["top"][0]["subnet"]["id"] == kept["chosen"][0]["id"], "the best is the first of those that differ"
    genomes, top1 = labelled.read(searched / "run" / "labels.csv", SPACE)
    labels = {SPACE.subnet(genome).id: value for genome, value in zip(genomes, top1.tolist(), strict=True)}
    assert all(one["measured"]["top1"] == labels[one["id"]] for one in facts["networks"])
    assert facts["chosen"] == facts["networks"][0]["id"] and facts["networks"][0]["over"] == []
    within = [one["measured"]["top1"] for one in facts["networks"] if not one["over"]]
    assert within == sorted(within, reverse=True)
    for one in facts["networks"]:
        reading = one["measured"]["limits"]["latency"]
        assert 0 < reading["lo"] <= reading["value"] <= reading["hi"]
    assert facts["units"] == {"latency": "ms"} and facts["images"] > 0
    # All of it is there: nothing is measured or labelled again.
    journals = {path: path.read_bytes() for path in (searched / "best" / "this-computer").glob("*.sqlite")}
    assert journals and run(*choosing(searched, "best", *few))[1] == out
    assert {path: path.read_bytes() for path in journals} == journals
    assert len(labelled.read(searched / "run" / "labels.csv", SPACE)[0]) == len(genomes)
    out, err = run(*choosing(searched, "best", *few[:-1]))[1:]
    assert "latency ≤ 5 ms" in out and "±" in out and f"{facts['images']} images" in err


@pytest.mark.slow
def test_what_nothing_can_be_chosen_from_is_refused(refuse: Refuse, searched: Path, tmp_path: Path) -> None:
    assert "it holds a front" in refuse(2, *choosing(searched, "front"))
    assert "--lut" in refuse(2, *choosing(searched, "best", "--add"))
    before = (searched / "run" / "labels.csv").read_bytes()
    assert "runtime 'simulated' of its table runs no such file" in refuse(2, *choosing(searched, "simulated"))
    assert (searched / "run" / "labels.csv").read_bytes() == before, "it is known before anything is labelled"
    bare = tmp_path / "bare"
    shutil.copytree(searched / "run", bare)
    for name, change in (("recipe.json", {"holdout": 0}), ("data.json", {"held_back": 0})):
        (bare / name).write_text(json.dumps(json.loads((bare / name).read_text()) | change))
    named = ("choose", str(searched / "best"), "--run", str(bare), "--data", str(searched / "images"))
    assert "held no images back" in refuse(2, *named, "--out", str(tmp_path / "chosen"))
    assert not list((tmp_path / "chosen").rglob("*.onnx")), "it is known before anything is exported or measured"
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in (searched / "best").rglob("*"):
        if path.is_file() and ("inputs" in path.parts or path.name == "request.json"):
            target = broken / path.relative_to(searched / "best")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (broken / "front.json").write_text('{"chosen": [{"id": "a"}]}')
    asked = ("choose", str(broken), "--run", str(searched / "run"), "--data", str(searched / "images"))
    assert "is not the answer of a search for one network" in refuse(3, *asked)
    assert not (broken / "choice.json").exists()
