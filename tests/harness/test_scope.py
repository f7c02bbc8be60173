"""What a bench measures when it is not a whole space: the ops of some subnets, or whole networks alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from harness.bench import Scope, bench
from harness.inventory import simulated
from harness.simulation.machine import Machine
from ofa.estimate import estimator
from ofa.lut import fill, heldout
from ofa.space.index import index_of
from ofa.space.ops import ops_of

pytestmark = pytest.mark.slow

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)


def test_the_ops_of_some_subnets_and_no_others(tmp_path: Path) -> None:
    device = simulated(tmp_path / "files", machine=Machine(seed=1), own_process=False)
    drawn = tuple(SPACE.subnet(genome) for genome in spaces.sample.random(SPACE, 8, np.random.default_rng(3)))
    scope = Scope(fit=0, holdout=0, rounds=2, rounds_most=2, seed=0, again=False, memory=False, subnets=drawn)
    lut = bench(SPACE, device=device, runtime="simulated", folder=tmp_path / "run", scope=scope)
    wanted = {op.key for subnet in drawn for op in ops_of(subnet)}
    assert {row.key for row in lut.rows if row.key[0] != "@"} == wanted
    assert len(wanted) < len(index_of(SPACE).ops)
    assert {row.id: row.split for row in lut.networks} == {subnet.id: "fit" for subnet in drawn}
    found = heldout.predicted(lut, SPACE, np.stack([subnet.array for subnet in drawn]))
    assert found is not None
    measured = {row.id: (row.ns or 0) / 1e6 for row in lut.networks}
    assert found[1] == pytest.approx([measured[subnet.id] for subnet in drawn], rel=0.1)


def test_of_named_subnets_some_are_held_out_between_the_smallest_and_the_largest(run: Any, tmp_path: Path) -> None:
    drawn = tuple(SPACE.subnet(genome) for genome in spaces.sample.random(SPACE, 8, np.random.default_rng(3)))
    scope = Scope(holdout=4, rounds=2, seed=0, subnets=drawn)
    networks = scope.networks_of(SPACE)
    assert [subnet for subnet, _ in networks] == list(drawn)
    by_macs = sorted(networks, key=lambda one: sum(op.macs for op in ops_of(one[0])))
    assert "".join(split[0] for _, split in by_macs) == "fhfhhfhf"
    (tmp_path / "subnets.json").write_text(json.dumps([subnet.to_json() for subnet in drawn]))
    line = ["bench", "--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10", "--runtime", "simulated"]
    line += ["--device", "simulated-phone", "--out", str(tmp_path / "run"), "--subnets", str(tmp_path / "subnets.json")]
    line += ["--rounds", "2", "--rounds-most", "2", "--no-again"]
    code, _, err = run(*line, "--holdout", "7")
    assert code == 2 and "7 of 8 subnets cannot be held out" in err and "--holdout" in err
    code, _, err = run(*line, "--fit", "4")
    assert code == 2 and "'--fit' does not go with '--subnets'" in err
    code, out, err = run(*line, "--holdout", "3", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["networks"] == {"fit": 5, "holdout": 3, "verify": 0} and facts["holdout"]["networks"] == 3


def test_a_subnet_that_is_named_twice_is_measured_once(run: Any, tmp_path: Path) -> None:
    drawn = [SPACE.subnet(genome).to_json() for genome in spaces.sample.random(SPACE, 4, np.random.default_rng(3))]
    (tmp_path / "subnets.json").write_text(json.dumps([*drawn, *drawn[:3]]))
    line = ["bench", "--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10", "--runtime", "simulated"]
    line += ["--device", "simulated-phone", "--out", str(tmp_path / "run"), "--subnets", str(tmp_path / "subnets.json")]
    code, out, err = run(*line, "--dry-run", "--json")
    assert code == 0 and json.loads(out)["networks"] == 4, err
    code, _, err = run(*line, "--holdout", "3")
    assert code == 2 and "3 of 4 subnets cannot be held out" in err


def test_whole_networks_alone_make_a_table_that_prices_others(tmp_path: Path) -> None:
    device = simulated(tmp_path / "files", machine=Machine(seed=1), own_process=False)
    scope = Scope(fit=60, holdout=20, rounds=3, rounds_most=3, seed=0, memory=False, ops=False)
    lut = bench(SPACE, device=device, runtime="simulated", folder=tmp_path / "run", scope=scope)
    assert {row.key for row in lut.rows} == {"@session", "@io"} and len(lut.networks) == 80
    said = heldout.of_table(lut)
    assert said["calibration"]["chosen"] == "networks"
    assert said["holdout"]["mape_pct"] < said["holdout"]["flops_only_mape_pct"] < 20
    filled = fill.fill(lut, SPACE)
    held = [row for row in lut.networks if row.split == "holdout"]
    genomes = np.array([list(bytes.fromhex(row.genome)) for row in held], dtype=np.uint8)
    ms = estimator(filled, SPACE).predict(genomes)
    assert float(np.mean(np.abs(ms / np.array([(row.ns or 0) / 1e6 for row in held]) - 1))) < 0.08


def test_the_command_takes_subnets_of_the_space_it_names(run: Any, tmp_path: Path) -> None:
    drawn = [SPACE.subnet(genome).to_json() for genome in spaces.sample.random(SPACE, 2, np.random.default_rng(3))]
    (tmp_path / "subnets.json").write_text(json.dumps(drawn))
    line = [
        "bench",
        "--space",
        "mobilenet_v3_tiny",
        "--device",
        "simulated-phone",
        "--runtime",
        "simulated",
        "--dry-run",
    ]
    options = ["--out", str(tmp_path / "run"), "--subnets", str(tmp_path / "subnets.json"), "--json"]
    code, _, err = run(*line, *options)
    assert code == 2 and "is of space 'mobilenet_v3_tiny-w1.0-c1-n10'" in err and "Traceback" not in err
    code, out, err = run(*line, *options, "--channels", "1", "--classes", "10")
    assert code == 0, err
    keys = {op.key for entry in drawn for op in ops_of(spaces.core.from_json(SPACE, entry))}
    facts = json.loads(out)
    assert facts["rows"] == 2 * len(keys) + 2 and facts["networks"] == 2
