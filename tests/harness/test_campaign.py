"""Several devices measured at once give what each gives alone; one that fails is named, and the others are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from virtual import SPACE

from harness.lab import FOLDER_VARIABLE, LAB
from ofa.lut.check import checked
from ofa.space import sample

pytestmark = pytest.mark.slow
SCOPE = ["--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10", "--runtime", "simulated"]
SCOPE += ["--subnets", "two.json", "--rounds", "2", "--rounds-most", "2", "--no-again"]
THREE = """
[groups.rack]
max_parallel = 1
[devices.one]
kind = "simulated-phone"
group = "rack"
simulation = { seed = 1 }
[devices.two]
kind = "simulated-phone"
group = "rack"
simulation = { seed = 2, call_noise = 0.02 }
[devices.broken]
kind = "simulated-phone"
simulation = { seed = 3, die_after_calls = 100 }
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / LAB).write_text(THREE)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "lab"))
    # The ops of two networks are measured, not all that the space has.
    two = [SPACE.subnet(genome).to_json() for genome in sample.random(SPACE, 2, np.random.default_rng(0))]
    (tmp_path / "two.json").write_text(json.dumps(two))
    monkeypatch.chdir(tmp_path)


def caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """Begin with devices that nobody has worked on: a simulated one keeps with its files how warm it is."""
    monkeypatch.setenv("OFA_CACHE", str(tmp_path / name))


def test_at_once_is_as_one_by_one(lab: None, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caches(monkeypatch, tmp_path, "at once")
    code, out, err = run(
        "bench", *SCOPE, "--device", "one", "--device", "two", "--out", str(tmp_path / "both"), "--json"
    )
    assert code == 0, err
    assert [row["result"] for row in json.loads(out)["devices"]] == ["measured", "measured"]
    caches(monkeypatch, tmp_path, "alone")
    for name in ("one", "two"):
        code, out, err = run("bench", *SCOPE, "--device", name, "--out", str(tmp_path / name))
        assert code == 0, err
        assert f"ofa lut build {tmp_path / name}" in err.replace("\n", "") and "protocol." not in out
        alone, beside = checked(tmp_path / name / "lut"), checked(tmp_path / "both" / name / "lut")
        values = [[(row.key, row.state, row.ns, row.lo, row.hi) for row in lut.rows] for lut in (alone, beside)]
        assert values[0] == values[1]
        networks = [[(row.id, row.ns) for row in lut.networks] for lut in (alone, beside)]
        assert networks[0] == networks[1]
    one, two = (checked(tmp_path / name / "lut") for name in ("one", "two"))
    assert [row.ns for row in one.rows] != [row.ns for row in two.rows], "they are two devices"


def test_one_that_fails_stops_no_other(lab: None, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caches(monkeypatch, tmp_path, "cache")
    names = ["--device", "one", "--device", "broken"]
    code, _, err = run("bench", *SCOPE, *names, "--out", str(tmp_path / "run"))
    said = " ".join(err.split())
    assert code == 4 and "1 of 2 devices were not measured: 'broken'" in said and "Traceback" not in err
    assert str(tmp_path / "run" / "one" / "lut") in err.replace("\n", "")
    assert checked(tmp_path / "run" / "one" / "lut").rows and not (tmp_path / "run" / "broken" / "lut").exists()
