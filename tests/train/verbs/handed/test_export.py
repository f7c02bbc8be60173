"""The verb that exports: a model file or a bundle, of any subnet of a run, with the latency to expect of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ofa.files import sha256_file
from ofa.lut import write as tables
from ofa.lut.format import Lut
from ofa.lut.header import Header
from ofa.lut.rows import Row
from ofa.space.core import SearchSpace, Subnet
from ofa.space.index import index_of

from ..conftest import Refuse, Run, everything_in, json_of, training
from .conftest import CORNER, Bundle, Check, copied, exporting, fails, said_in, say

pytestmark = pytest.mark.slow


def table_of(space: SearchSpace, **changes: Any) -> Lut:
    """Return a table whose every op takes 10 us."""
    header: dict[str, Any] = {
        "device": "board", "runtime": "onnxruntime", "runtime_version": "1.0", "precision": "fp32", "conditions": "1t",
        "environment": {"threads": 1}, "protocol": {"rounds": 9}, "simulated": True, "created": "2026-01-01",
    }  # fmt: skip
    rows = [Row(op.key, "cold", "ok", 10_000, 9_000, 12_000, None, None, 9, (), "s") for op in index_of(space).ops]
    return Lut(header=Header(**(header | changes)), rows=tuple(rows), networks=(), sessions=({"id": "s"},))


def test_the_latency_to_expect_is_that_of_the_table(
    run: Run, painted: Path, colours: Path, colour_space: SearchSpace, tmp_path: Path, check: Check, refuse: Refuse
) -> None:
    tables.write(table_of(colour_space), tmp_path / "lut", allow_simulated=True)
    out = tmp_path / "handed"
    code, text, err = run(*exporting(painted, colours, out, "--bundle", "--lut", str(tmp_path / "lut"), "--json"))
    assert code == 0, err
    found = said_in(out)["expected"]["latency"]
    assert json_of(text)["latency"] == found and json_of(text)["bundle"] == str(out)
    ops = len([*colour_space.corner(CORNER).depths, "stem", "head"])
    assert found["ms"] == pytest.approx(0.01 * ops) and found["lo_ms"] == pytest.approx(0.009 * ops)
    assert (found["source"], found["device"], found["environment"]) == ("sum", "board", {"threads": 1})
    assert found["table_sha256"] == sha256_file(tmp_path / "lut" / "lut.json") and found["simulated"] is True
    code, said, err = check(out, "onnx", "--time")
    assert code == 0 and f"expected     {0.01 * ops:.3f} ms" in said and "board, onnxruntime 1.0" in said, err
    more = ("--bundle", "--lut", str(tmp_path / "lut"))
    err = refuse(2, *exporting(painted, colours, tmp_path / "other", *more, "--format", "tflite"))
    assert "says nothing of tflite files" in err
    err = refuse(2, *exporting(painted, colours, tmp_path / "other", *more, "--precision", "int8"))
    assert "precisions differ" in err
    err = refuse(2, *exporting(painted, colours, tmp_path / "other", *more[1:]))
    assert "--lut cannot be used without --bundle" in err


def test_a_model_alone_is_written_beside_others_and_tested_by_its_sidecar(
    run: Run, painted: Path, colours: Path, colour_space: SearchSpace, tmp_path: Path, refuse: Refuse
) -> None:
    out, subnet = tmp_path / "models", colour_space.corner("min")
    code, text, err = run(*exporting(painted, colours, out, "--split", "test", "--json", subnet="min"))
    assert code == 0, err
    facts = json_of(text)
    assert facts["model"] == str(out / f"{subnet.id}.onnx") and facts["bundle"] is None and facts["parity"] <= 1e-4
    assert {path.name for path in out.iterdir()} == {f"{subnet.id}.onnx", f"{subnet.id}.onnx.json"}
    (row,) = json_of(run("eval", facts["model"], "--data", str(colours), "--json")[1])
    assert (row["top1"], row["images"]) == (facts["top1"]["top1"], 40)
    before = everything_in(out)
    err = refuse(2, *exporting(painted, colours, out, subnet="min"))
    assert "is there already" in err and "--replace" in err
    assert run(*exporting(painted, colours, out, "--replace", subnet="min"))[0] == 0
    assert everything_in(out) == before, "the same subnet of the same weights is the same file"


def test_a_bundle_replaces_nothing_but_a_bundle_and_that_only_when_told(
    run: Run, painted: Path, colours: Path, tmp_path: Path, bundle: Bundle, refuse: Refuse
) -> None:
    out = copied(bundle("onnx", "fp32"), tmp_path / "handed")
    command = exporting(painted, colours, out, "--bundle", subnet="min")
    assert "holds a bundle already" in refuse(2, *command)
    assert run(*command, "--replace")[0] == 0
    assert said_in(out)["origin"]["subnet_id"] != said_in(bundle("onnx", "fp32"))["origin"]["subnet_id"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    command = exporting(painted, colours, tmp_path / "mine", "--bundle", "--replace")
    assert "no bundle's" in refuse(2, *command)
    assert not list(tmp_path.glob(".*")), "nothing half-made is left beside"


def test_what_fails_leaves_nothing(
    painted: Path, colours: Path, tmp_path: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that fails its own check is not handed over: here its golden answers are moved on the way to disk."""
    from ofa.graphs.bundle.golden import Golden

    arrays = Golden.arrays
    monkeypatch.setattr(Golden, "arrays", lambda self: arrays(dataclasses.replace(self, outputs=self.outputs + 1)))
    err = refuse(7, *exporting(painted, colours, tmp_path / "handed", "--bundle"))
    assert "fails its own check" in err and "answers golden image 0 otherwise" in err


def subnet_file(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_subnets_are_named_in_many_ways(
    run: Run, painted: Path, colours: Path, colour_space: SearchSpace, tmp_path: Path, refuse: Refuse
) -> None:
    def json_for(subnet: Subnet) -> dict[str, Any]:
        return {"id": subnet.id} | subnet.to_json()

    small, tall = colour_space.corner("min", 16), colour_space.corner("max", 16)
    answer = {"best": {"subnet": json_for(small), "accuracy": 1.0}, "top": [{"subnet": json_for(tall)}], "cpu_s": 1.0}
    front = [{"under": 1, "subnet": json_for(small)}, {"under": 2, "subnet": json_for(tall)}]
    files = {
        subnet_file(tmp_path / "one.json", small.to_json()): (),
        subnet_file(tmp_path / "answer.json", answer): (),
        subnet_file(tmp_path / "front.json", front): ("--id", small.id),
    }
    for number, (name, more) in enumerate(files.items()):
        code, text, err = run(*exporting(painted, colours, tmp_path / str(number), *more, "--json", subnet=name))
        assert code == 0, err
        assert json_of(text)["subnet"] == small.id and json_of(text)["resolution_px"] == 16
    name = str(tmp_path / "answer.json")
    code, text, _ = run(*exporting(painted, colours, tmp_path / "top", "--id", tall.id, "--json", subnet=name))
    assert code == 0 and json_of(text)["subnet"] == tall.id
    several = exporting(painted, colours, tmp_path / "x", subnet=str(tmp_path / "front.json"))
    assert small.id in (err := refuse(2, *several)) and "--id" in err
    assert "holds no subnet 'abc'" in refuse(2, *several, "--id", "abc")
    assert "no subnet is named" in refuse(2, *exporting(painted, colours, tmp_path / "x", subnet=None))
    assert "there is no subnet 'absent.json'" in refuse(
        2, *exporting(painted, colours, tmp_path / "x", subnet="absent.json")
    )


def test_a_fine_tuned_run_needs_no_subnet_and_takes_no_other(
    run: Run, painted: Path, colours: Path, colour_space: SearchSpace, tmp_path: Path, refuse: Refuse
) -> None:
    tuned, name = tmp_path / "tuned", subnet_file(tmp_path / "one.json", colour_space.corner("min", 16).to_json())
    finetune = ("finetune", str(painted), "--subnet", name, "--data", str(colours), "--out", str(tuned))
    assert run(*finetune, "--epochs", "0.25")[0] == 0
    code, text, err = run(*exporting(tuned, colours, tmp_path / "models", "--json", subnet=None))
    assert code == 0 and json_of(text)["subnet"] == colour_space.corner("min", 16).id, err
    err = refuse(3, *exporting(tuned, colours, tmp_path / "models", subnet="max"))
    assert "is not the one that was fine-tuned" in err


def test_grey_images_have_no_channels_to_swap(run: Run, once: Path, shown: Path, tmp_path: Path, check: Check) -> None:
    out = tmp_path / "handed"
    code, _, err = run(*exporting(once, shown, out, "--bundle"))
    assert code == 0 and "exchanged channels" not in err, err
    facts = said_in(out)
    assert facts["input"]["channel_order"] == "grey" and facts["golden"]["swapped_channels"] is None
    assert check(out, "onnx")[0] == 0
    err = run(*exporting(once, shown, tmp_path / "x", "--split", "holdout"))[2]
    assert "Traceback" not in err


def test_photographs_are_cut_as_in_training_and_colourless_ones_are_warned_of(
    run: Run, photographs: Path, tmp_path: Path, check: Check
) -> None:
    """They are grey pictures in three equal channels: nobody could notice that two of them were exchanged."""
    out = tmp_path / "handed"
    begin = training(photographs, tmp_path / "run", "--skip-corrupt", batch=20, holdout=0, calibration=20, workers=0)
    assert run(*begin, "--set", "mean=[0.5]", "--set", "std=[0.25]")[0] == 0
    command = exporting(tmp_path / "run", photographs, out, "--bundle", "--skip-corrupt")
    code, _, err = run(*command)
    assert code == 0 and "no golden image tells exchanged channels" in err, err
    facts = said_in(out)
    assert facts["preprocessing"]["cut"] == "middle" and facts["preprocessing"]["round_to_8_bits"] is True
    assert facts["golden"]["from"] == "training images" and facts["golden"]["swapped_channels"]["told"] is False
    code, _, err = check(out, "onnx")
    assert code == 0, err
    say(out, preprocessing={"cut": "none"})
    fails(check(out, "onnx"), 7, "is not prepared as it was")
    err = run(*exporting(tmp_path / "run", photographs, tmp_path / "x", "--split", "holdout", "--skip-corrupt"))[2]
    assert "held no images back" in err
