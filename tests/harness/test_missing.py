"""A table that lacks rows is completed: only those are measured, as cold as the others were, and merged with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ofa.space as spaces
from harness.bench import Scope, bench, plan_of
from harness.cli import main
from harness.inventory import Device, simulated
from harness.simulation.machine import Machine
from harness.tables import TABLE
from ofa.errors import UsageInvalid
from ofa.lut.check import checked
from ofa.lut.format import Lut, Row
from ofa.lut.write import write
from ofa.space.index import ops_in

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
SCOPE = Scope(fit=2, holdout=2, rounds=2, rounds_most=2, seed=0, again=False)
OPS = ops_in(SPACE)
# Both states of one op, the cold one of another, a failed one, and an overhead.
LACKING = {(OPS[3].key, "hot"), (OPS[3].key, "cold"), (OPS[40].key, "cold"), ("@io", "hot")}
FAILED = (OPS[7].key, "hot")


def phone(folder: Path, **parts: Any) -> Device:
    return simulated(folder / "files", machine=Machine(**parts), own_process=False)


def holed(row: Row) -> Row:
    """Return the row that failed where it is the one that should have."""
    if row[:2] != FAILED:
        return row
    return row._replace(status="failed", ns=None, lo=None, hi=None, cpu_ns=None, wall_ns=None, rounds=0)


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Device, Path, Lut]:
    """Return a device, a table of it that lacks rows, and that table whole."""
    folder = tmp_path_factory.mktemp("partial")
    device = phone(folder)
    whole = bench(SPACE, device=device, runtime="simulated", folder=folder / "run", scope=SCOPE)
    kept = replace(whole, rows=tuple(holed(row) for row in whole.rows if row[:2] not in LACKING))
    write(kept, folder / "part", allow_simulated=True)
    return device, folder / "part", whole


@pytest.mark.slow
def test_only_what_is_missing_is_measured_and_can_be_merged(partial: Any, tmp_path: Path) -> None:
    device, path, whole = partial
    scope = replace(SCOPE, fit=0, holdout=0, seed=9, missing_from=checked(path))
    lut = bench(SPACE, device=device, runtime="simulated", folder=tmp_path / "run", scope=scope)
    assert {row[:2] for row in lut.rows} == LACKING | {FAILED} and not lut.networks
    with pytest.raises(SystemExit) as ended:
        main(["lut", "merge", str(path), str(tmp_path / "run" / TABLE), "--out", str(tmp_path / "merged"), "--json"])
    assert not ended.value.code
    merged = checked(tmp_path / "merged")
    assert {row[:2] for row in merged.rows} == {row[:2] for row in whole.rows}
    assert all(row.status in ("ok", "noisy") for row in merged.rows) and len(merged.networks) == 4
    before = {row[:2]: row.ns for row in whole.rows}
    for row in lut.rows:
        assert row.ns == pytest.approx(before[row[:2]], rel=0.06), row.key
    again = replace(scope, missing_from=merged)
    with pytest.raises(UsageInvalid, match="lacks nothing"):
        plan_of(SPACE, device=device, runtime="simulated", scope=again)


@pytest.mark.slow
def test_cold_ops_have_company_that_is_in_no_table(partial: Any) -> None:
    device, path, _ = partial
    scope = replace(SCOPE, fit=0, holdout=0, missing_from=checked(path))
    plan = plan_of(SPACE, device=device, runtime="simulated", scope=scope)
    wanted = {(item.key, item.state) for item in plan.items if item.kind != "company"}
    assert wanted == LACKING | {FAILED}
    cold = [item for item in plan.items if item.state == "cold"]
    # As many cold ops as share a batch where the whole space is measured: half of them.
    whole = plan_of(SPACE, device=device, runtime="simulated", scope=SCOPE)
    usual = {sum(whole.items[at].state == "cold" for at in batch) for batch in whole.batches(0)}
    assert len(plan.batches(0)) == 1 and {len(cold)} == usual == {130}
    assert len({item.key for item in cold}) == len(cold)
    with_networks = plan_of(SPACE, device=device, runtime="simulated", scope=replace(scope, fit=3))
    assert sum(item.kind == "network" for item in with_networks.items) == 3


@pytest.mark.slow
def test_a_table_of_other_conditions_is_refused(partial: Any, tmp_path: Path) -> None:
    device, path, _ = partial
    lut = checked(path)

    def refused(scope: Scope, on: Device = device) -> str:
        with pytest.raises(UsageInvalid, match="cannot be completed") as fault:
            plan_of(SPACE, device=on, runtime="simulated", scope=replace(scope, fit=0, holdout=0, missing_from=lut))
        return fault.value.why

    assert "protocol.rounds_most is 2, now 7" in refused(replace(SCOPE, rounds_most=7))
    assert "regime" in refused(replace(SCOPE, soak_s=60))
    assert "power_mode" in refused(SCOPE, phone(tmp_path, power_mode="saving"))
    other = replace(lut, header=lut.header.model_copy(update={"device": "another"}))
    with pytest.raises(UsageInvalid, match="cannot be completed"):
        plan_of(SPACE, device=device, runtime="simulated", scope=replace(SCOPE, missing_from=other))


@pytest.mark.slow
def test_what_completes_a_table_of_cpu_time_is_of_cpu_time_however_quiet_the_device_is(
    partial: Any, tmp_path: Path
) -> None:
    device, path, _ = partial
    lut = checked(path)
    assert lut.header.protocol["statistic"] == "wall_p10_ns"
    loaded = replace(
        lut, header=lut.header.model_copy(update={"protocol": {**lut.header.protocol, "statistic": "cpu_min_ns"}})
    )
    for table, statistic in ((lut, "wall_p10_ns"), (loaded, "cpu_min_ns")):
        scope = replace(SCOPE, fit=0, holdout=0, missing_from=table)
        found = bench(SPACE, device=device, runtime="simulated", folder=tmp_path / statistic, scope=scope)
        assert found.header.protocol["statistic"] == statistic
        assert all("cpu" in row.flags for row in found.rows) == (table is loaded)


def test_the_command_refuses_what_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--runtime", "simulated", "--device", "simulated-phone", "--missing-from", str(tmp_path / "none")]
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--space", "mobilenet_v3_tiny", *options, "--out", str(tmp_path / "out")])
    assert ended.value.code == 3 and "no latency table" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
