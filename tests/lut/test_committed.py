"""The tables of this repository: each is whole, of a real device of a kind we measured, and close to its networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ofa.space as spaces
from harness.inventory import load_profile
from ofa import estimate
from ofa.lut import check, heldout, index
from ofa.lut.format import Lut
from ofa.search import find
from ofa.search.request import Target, request
from ofa.space import sample
from ofa.space.index import index_of
from ofa.twins import accuracy

ROOT = Path(__file__).parents[2] / "luts"
TABLES = [pytest.param(folder, id=str(folder.relative_to(ROOT))) for folder in check.find(ROOT)]


def read(folder: Path) -> Lut:
    """Return a table that says of itself what its rows say."""
    return check.checked(folder)


def test_the_list_of_tables_is_what_is_there() -> None:
    index.refuse(index.index(ROOT))


@pytest.mark.parametrize("folder", TABLES)
def test_a_table_is_of_a_real_device_that_was_measured_here(folder: Path) -> None:
    lut = read(folder)
    assert not lut.simulated and load_profile(lut.header.device).measured_by_us
    assert {row.status for row in lut.rows} <= {"ok", "noisy"}


@pytest.mark.parametrize("folder", TABLES)
def test_sums_are_close_to_networks_that_were_held_out(folder: Path) -> None:
    said = heldout.of_table(read(folder))["holdout"]
    assert said is not None and said["networks"] >= 101
    floor = said["floor_mape_pct"]
    assert 0 < floor <= 4 and said["mape_pct"] <= max(3.0, 1.2 * floor)
    assert said["spearman"] >= 0.99 and said["within_10_pct"] >= 98 and said["worst_pct"] <= 20
    assert said["within_resolution_spearman"] >= said["floor_within_resolution_spearman"] - 0.03


@pytest.mark.slow
def test_a_search_on_a_real_table_keeps_latency_and_resident_memory(tmp_path: Path) -> None:
    folder = TABLES[0].values[0]
    assert isinstance(folder, Path)
    lut, space = read(folder), spaces.load("mobilenet_v3")
    genomes = sample.random(space, 200, np.random.default_rng(0))
    top1 = 60 + 5 * np.log(index_of(space).sum(genomes, index_of(space).values(lambda op: float(op.macs) + 1e6)) / 1e8)
    accuracy.fit(space, genomes, top1, precision=lut.header.precision).save(tmp_path / "twin")
    ms = float(np.median(estimate.sums(lut, space, genomes, "hot")))
    target = Target(name="here", paths=(folder,), at_most_ms=ms)
    free = request(space, str(tmp_path / "twin"), [target], {}, warn=lambda text: None)
    best = find(space, free.accuracy, free.limits, seed=0, population=64, generations=3).best
    resident = request(space, str(tmp_path / "twin"), [target], {"resident memory": 1e12}, warn=lambda text: None)
    loose = next(limit for limit in resident.limits if limit.name == "resident memory")
    at_most = 0.97 * float(loose.predict(best.subnet.array[None])[0])
    tight = request(space, str(tmp_path / "twin"), [target], {"resident memory": at_most}, warn=lambda text: None)
    found = find(space, tight.accuracy, tight.limits, seed=0, population=64, generations=3).best
    assert found.values["resident memory"] <= at_most * (1 + 1e-9) and found.accuracy <= best.accuracy + 1e-9
    assert found.values[tight.limits[0].name] <= ms * (1 + 1e-9)
