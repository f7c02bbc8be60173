"""The verb that measures: corners, given and random subnets, other weights, and exported files in their runtimes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from ofa.errors import PackageMissing
from ofa.graphs import run as runtimes
from ofa.graphs.export import export
from ofa.nn.supernet import extract
from ofa.space.core import Subnet
from ofa.train import checkpoint, evaluate, folder, runs
from ofa.train.ranks import Ranks
from ofa.train.runs import Trained

from .conftest import Opened, Refuse, Run, json_of, pictures

pytestmark = pytest.mark.slow

KEYS = {"subnet", "id", "resolution", "top1", "stderr", "images", "precision", "split", "weights"}


def measured(trained: Trained, subnet: Subnet, images: Path, part: str = "test") -> float:
    """Return what the library itself measures, percent."""
    shown = trained.images(part, str(images))
    return evaluate.top1(trained.supernet, subnet, trained.images("calibration", str(images)), shown)


def rows_of(run: Run, *arguments: str) -> list[dict[str, Any]]:
    code, out, err = run("eval", *arguments, "--json")
    assert code == 0, err
    rows: list[dict[str, Any]] = json_of(out)
    return rows


def test_corners_are_measured_on_test_images(run: Run, once: Path, shown: Path, library: Opened) -> None:
    space = library.last.supernet.space
    rows = rows_of(run, str(once), "--data", str(shown))
    assert [row["subnet"] for row in rows] == list(space.corners()) and all(set(row) == KEYS for row in rows)
    for row in rows:
        subnet = space.corner(row["subnet"])
        assert row["top1"] == pytest.approx(measured(library.last, subnet, shown), abs=1e-3)
        share = row["top1"] / 100
        assert row["stderr"] == pytest.approx(100 * (share * (1 - share) / 24) ** 0.5, abs=2e-3)
        assert (row["id"], row["resolution"], row["images"]) == (subnet.id, 32, 24)
        assert (row["split"], row["weights"], row["precision"]) == ("test", "last", "fp32")
    code, out, err = run("eval", str(once), "--data", str(shown))
    assert code == 0 and "top1" in out and "k3e6d3" in out and "Traceback" not in err


def test_images_held_back_are_measured_on_request(run: Run, once: Path, shown: Path, library: Opened) -> None:
    rows = rows_of(run, str(once), "--data", str(shown), "--split", "holdout")
    assert {(row["images"], row["split"]) for row in rows} == {(12, "holdout")}
    shallow = library.last.supernet.space.corner("k7e6d1")
    (row,) = (row for row in rows if row["subnet"] == "k7e6d1")
    assert row["top1"] == pytest.approx(measured(library.last, shallow, shown, "holdout"), abs=1e-3)


def test_subnets_of_a_file_are_measured(run: Run, once: Path, shown: Path, tmp_path: Path, library: Opened) -> None:
    space = library.last.supernet.space
    wanted = [space.corner("min", 16), space.corner("max", 20)]
    (tmp_path / "two.json").write_text(json.dumps([subnet.to_json() for subnet in wanted]))
    rows = rows_of(run, str(once), "--data", str(shown), "--subnets", str(tmp_path / "two.json"))
    assert [row["id"] for row in rows] == [subnet.id for subnet in wanted] == [row["subnet"] for row in rows]
    found = [measured(library.last, subnet, shown) for subnet in wanted]
    assert [row["top1"] for row in rows] == pytest.approx(found, abs=1e-3)
    (tmp_path / "one.json").write_text(json.dumps(wanted[0].to_json() | {"id": wanted[0].id}))
    (row,) = rows_of(run, str(once), "--data", str(shown), "--subnets", str(tmp_path / "one.json"))
    assert row == rows[0]


def test_random_subnets_are_those_of_the_seed(run: Run, once: Path, shown: Path) -> None:
    command = (str(once), "--data", str(shown), "--count", "2")
    first, again, other = (rows_of(run, *command, "--seed", seed) for seed in ("1", "1", "2"))
    assert first == again and len({row["id"] for row in first}) == 2
    assert {row["id"] for row in first} != {row["id"] for row in other}


@pytest.mark.parametrize("weights", ["last", "best", "ema"])
def test_weights_can_be_chosen(
    weights: Literal["last", "best", "ema"], run: Run, once: Path, shown: Path, tmp_path: Path, library: Opened
) -> None:
    opened: Trained = getattr(library, weights)
    subnet = opened.supernet.space.corner("k7e6d1", 16)
    (tmp_path / "one.json").write_text(json.dumps(subnet.to_json()))
    (row,) = rows_of(
        run, str(once), "--data", str(shown), "--subnets", str(tmp_path / "one.json"), "--weights", weights
    )
    assert row["weights"] == weights and row["top1"] == pytest.approx(measured(opened, subnet, shown), abs=1e-3)


def test_weights_are_those_that_their_names_say(once: Path, shown: Path, library: Opened) -> None:
    kept = {name: value.clone() for name, value in library.last.supernet.state_dict().items()}
    average, best = library.ema.supernet.state_dict(), library.best.supernet.state_dict()
    assert any(not kept[name].equal(average[name]) for name in kept)
    assert all(kept[name].equal(best[name]) for name in kept), "one phase, watched at its end alone"
    assert library.last.sha256 == library.ema.sha256 != library.best.sha256


@pytest.mark.parametrize(
    ("form", "runtime"),
    [("onnx", "onnxruntime"), ("tflite", "litert"), ("pytorch", "torch")],
)
def test_an_exported_file_is_as_right_as_its_subnet(
    form: Literal["onnx", "tflite", "pytorch"],
    runtime: runtimes.Runtime,
    run: Run,
    shown: Path,
    tmp_path: Path,
    library: Opened,
    refuse: Refuse,
) -> None:
    try:
        runtimes.version(runtime)
    except PackageMissing as fault:
        pytest.skip(fault.what)
    trained, subnet = library.last, library.last.supernet.space.corner("k7e6d1", 24)
    calibration = trained.images("calibration", str(shown))
    network = extract(trained.supernet, subnet, evaluate.statistics(trained.supernet, subnet, calibration))
    path = tmp_path / f"model.{ {'onnx': 'onnx', 'tflite': 'tflite', 'pytorch': 'pt'}[form] }"
    export(network, subnet, path, form, preprocessing=calibration.preprocessing())
    (row,) = rows_of(run, str(path), "--data", str(shown))
    assert row["top1"] == pytest.approx(measured(trained, subnet, shown), abs=1e-3) and row["images"] == 24
    assert (row["runtime"], row["resolution"], row["precision"]) == (runtime, 24, "fp32")
    assert row["file"] == str(path) and row["stderr"] > 0
    # The images are prepared as the sidecar says, and as nothing else: it is asked for a mean that is far off.
    sidecar = path.with_name(path.name + ".json")
    facts = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(facts | {"preprocessing": facts["preprocessing"] | {"mean": [40.0]}}))
    assert rows_of(run, str(path), "--data", str(shown))[0]["top1"] != row["top1"]
    for spoilt in ("{}", "[]", '{"preprocessing": {}}', '{"preprocessing": {"mean": "a", "std": [1]}}'):
        sidecar.write_text(spoilt)
        assert "does not say how to prepare" in refuse(3, "eval", str(path), "--data", str(shown))
    sidecar.unlink()
    assert "sidecar" in refuse(3, "eval", str(path), "--data", str(shown))


def test_a_file_is_refused_by_what_cannot_run_it(
    run: Run, shown: Path, tmp_path: Path, library: Opened, refuse: Refuse
) -> None:
    trained, subnet = library.last, library.last.supernet.space.corner("min", 16)
    calibration = trained.images("calibration", str(shown))
    path = tmp_path / "model.pt"
    export(trained.supernet, subnet, path, "pytorch", preprocessing=calibration.preprocessing())
    refuse(2, "eval", str(path), "--data", str(shown), "--runtime", "abacus")
    refuse(3, "eval", str(path), "--data", str(shown), "--runtime", "onnxruntime")
    images, labels = pictures(20, 0)
    np.savez(tmp_path / "test.npz", images=images, labels=labels % 2)
    err = refuse(3, "eval", str(path), "--data", str(tmp_path))
    assert "made for 4 classes, and the images have 2" in err


def test_unreadable_test_images_of_a_file_are_replaced_and_counted(
    run: Run, photographs: Path, tmp_path: Path, library: Opened
) -> None:
    trained, subnet = library.last, library.last.supernet.space.corner("min", 16)
    preprocessing = trained.images("calibration", "").preprocessing()
    export(trained.supernet, subnet, tmp_path / "model.pt", "pytorch", preprocessing=preprocessing)
    next((photographs / "val" / "class-2").iterdir()).write_bytes(b"torn")
    command = ("eval", str(tmp_path / "model.pt"), "--data", str(photographs))
    assert run(*command)[0] == 3
    code, _, err = run(*command, "--skip-corrupt", "--json")
    assert code == 0 and "1 unreadable image was replaced" in err


@pytest.mark.parametrize(
    "option", ["--subnets=one.json", "--count=2", "--split=holdout", "--weights=best", "--on=cpu", "--seed=0"]
)
def test_what_says_nothing_about_a_file_is_refused(option: str, shown: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    err = refuse(2, "eval", str(tmp_path / "model.onnx"), "--data", str(shown), option)
    assert f"{option.partition('=')[0]} cannot be used" in err


def test_options_that_exclude_each_other_are_refused(once: Path, shown: Path, tmp_path: Path, refuse: Refuse) -> None:
    measure = ("eval", str(once), "--data", str(shown))
    assert "--runtime cannot be used" in refuse(2, *measure, "--runtime", "torch")
    assert "--count cannot be used" in refuse(2, *measure, "--subnets", "one.json", "--count", "2")


def test_what_is_no_run_is_refused(shown: Path, tmp_path: Path, trained: Path, refuse: Refuse) -> None:
    assert "holds no training" in refuse(3, "eval", str(tmp_path), "--data", str(shown))
    assert f"such as '{trained}'" in " ".join(refuse(3, "eval", str(trained.parent), "--data", str(shown)).split())
    (trained / folder.CHECKPOINT).write_bytes(b"")
    assert "cannot be used" in refuse(3, "eval", str(trained), "--data", str(shown))
    (trained / folder.CHECKPOINT).unlink()
    assert f"no file '{folder.CHECKPOINT}'" in refuse(3, "eval", str(trained), "--data", str(shown))
    (trained / folder.RECIPE).write_text("{}")
    assert "cannot be used" in refuse(3, "eval", str(trained), "--data", str(shown))


def test_weights_that_were_not_kept_are_refused(shown: Path, trained: Path, refuse: Refuse) -> None:
    (trained / folder.BEST).unlink()
    err = refuse(3, "eval", str(trained), "--data", str(shown), "--weights", "best")
    assert "has kept no best weights" in err and "holdout" in err
    recipe = dataclasses.replace(runs.recipe_of(trained), ema_decay=None)
    (trained / folder.RECIPE).write_text(json.dumps(recipe.to_json()))
    found = checkpoint.load(trained / folder.CHECKPOINT)
    checkpoint.save(trained / folder.CHECKPOINT, dataclasses.replace(found, ema={}))
    err = refuse(3, "eval", str(trained), "--data", str(shown), "--weights", "ema")
    assert "has no averaged weights" in err and "ema_decay" in err


def test_other_images_and_other_classes_are_refused(shown: Path, once: Path, tmp_path: Path, refuse: Refuse) -> None:
    images, labels = pictures(60, 1)
    data = tmp_path / "images"
    data.mkdir()
    np.savez(data / "train.npz", images=images, labels=labels, classes=np.array(list("0123")))
    assert "trained on other images" in refuse(3, "eval", str(once), "--data", str(data))
    np.savez(data / "train.npz", images=images[labels < 3], labels=labels[labels < 3])
    assert "does not hold a supernet of" in refuse(3, "eval", str(once), "--data", str(data))
    (data / "train.npz").write_bytes((shown / "train.npz").read_bytes())
    np.savez(data / "test.npz", images=images[labels < 3], labels=labels[labels < 3])
    err = refuse(3, "eval", str(once), "--data", str(data))
    assert (
        "4 classes of training images are not the 3 of test images" in err and "'3' is only among the training" in err
    )
    np.savez(data / "test.npz", images=np.repeat(images, 3, axis=3), labels=labels)
    assert "have 3 channels, not 1" in refuse(2, "eval", str(once), "--data", str(data))
    assert "holds training images only" in refuse(2, "eval", str(once), "--data", str(shown / "train.npz"))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("[]", 3),
        ("{", 3),
        ("3", 3),
        ("[3]", 3),
        ('{"space": "proxyless-w1.3"}', 3),
        ('{"space": "mobilenet_v3_tiny-w1.0-c1-n4"}', 3),
    ],
)
def test_files_that_hold_no_subnet_are_refused(
    content: str, code: int, shown: Path, once: Path, tmp_path: Path, refuse: Refuse
) -> None:
    (tmp_path / "subnets.json").write_text(content)
    refuse(code, "eval", str(once), "--data", str(shown), "--subnets", str(tmp_path / "subnets.json"))
    refuse(3, "eval", str(once), "--data", str(shown), "--subnets", str(tmp_path / "absent.json"))


def test_only_the_first_of_many_processes_prints(
    run: Run, once: Path, shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Opened
) -> None:
    (tmp_path / "one.json").write_text(json.dumps(library.last.supernet.space.corner("min", 16).to_json()))
    command = ("eval", str(once), "--data", str(shown), "--subnets", str(tmp_path / "one.json"), "--json")
    assert json_of(run(*command)[1])

    @contextmanager
    def second(device: str | None, threads: int | None) -> Iterator[Ranks]:
        # What it measures itself is what the first process would bring.
        yield dataclasses.replace(Ranks(), rank=1)

    monkeypatch.setattr("ofa.train.ranks.joined", second)
    monkeypatch.setattr("ofa.train.accuracy.of_run", lambda *_, **__: [{"top1": 1.0}])
    assert run(*command) == (0, "", "")
