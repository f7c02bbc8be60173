"""From `ofa bench` to a table with a program for a runtime: a stand-in that truly runs networks on this computer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ofa.space as spaces
from harness import bench as benches
from harness.artefacts import Artefacts
from harness.bench import Scope, bench, plan_of
from harness.cli import main
from harness.inventory import Device
from harness.native import devices
from harness.native.runner import Runner
from harness.native.transport import Native
from harness.plan import Rounds, Way
from harness.preview import preview
from harness.session import Ask, measure_round
from harness.tables import TABLE
from harness.walk import Walk, runs_of
from harness.ways import first_way
from ofa.errors import MeasurementRefused, UsageInvalid
from ofa.lut.check import check
from ofa.lut.format import read

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
OPTIONS = ["bench", "--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10"]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time shortly, and begin no round anew: how quiet this computer is, is not what is tested."""
    monkeypatch.setattr(benches, "Rounds", partial(Rounds, drift_most=10.0, hot_bursts=1))
    monkeypatch.setattr(devices, "Native", partial(Native, warm_s=0.01, run_s=0.02))


@pytest.mark.slow
def test_a_program_measures_whole_networks_hot_into_a_table_of_summaries(
    program: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFA_CACHE", str(tmp_path / "cache"))
    options = ["--runtime", "benchmark_model", "--program", str(program()), "--out", str(tmp_path / "run")]
    size = ["--fit", "2", "--holdout", "0", "--rounds", "1", "--rounds-most", "1", "--no-again", "--allow-load"]
    with pytest.raises(SystemExit) as ended:
        main([*OPTIONS, *options, *size])
    assert not ended.value.code
    lut = read(tmp_path / "run" / TABLE)
    assert check(tmp_path / "run" / TABLE)["valid"]
    # Without being asked for, no op is measured: each would be a process in every round.
    assert {row.key for row in lut.rows} == {"@session", "@io"} and {row.state for row in lut.rows} == {"hot"}
    assert len(lut.networks) == 2
    for row in lut.networks:
        assert row.status in ("ok", "noisy") and "summary" in row.flags and row.cpu_ns is None
        assert (row.peak_rss_kib or 0) > 1000 and (row.init_ns or 0) > 0
    assert lut.header.protocol["statistic"] == "wall_p5_ns" and lut.header.conditions == "xnnpack-1t"
    assert lut.header.environment["calls"] == "summary" and len(str(lut.header.environment["program_sha256"])) == 64
    # What takes twice the arithmetic takes longer, whichever rounds were disturbed.
    macs = {spaces.by_id(row.space).subnet(list(bytes.fromhex(row.genome))): row.ns or 0 for row in lut.networks}
    assert min(macs.values()) < max(macs.values())


@pytest.mark.slow
def test_single_calls_of_a_program_make_a_table_like_the_agents(beside: Callable[..., Device], tmp_path: Path) -> None:
    scope = Scope(fit=1, holdout=0, rounds=1, rounds_most=1, seed=0, ops=False, again=False, memory=False)
    lut = bench(SPACE, device=beside("ort_perf_test"), runtime="ort_perf_test", folder=tmp_path / "run", scope=scope)
    assert lut.header.protocol["statistic"] == "wall_p10_ns" and lut.header.environment["calls"] == "each"
    flags = [row.flags for row in lut.rows] + [row.flags for row in lut.networks]
    assert not any("summary" in own for own in flags) and lut.networks[0].ns


@pytest.mark.slow
def test_a_network_that_a_gpu_takes_in_part_is_a_row_without_a_time(
    beside: Callable[..., Device], tmp_path: Path
) -> None:
    scope = Scope(fit=3, holdout=0, rounds=1, rounds_most=1, seed=0, ops=False, again=False, memory=False)
    plan = plan_of(SPACE, device=beside(), runtime="benchmark_model", scope=scope)
    folder = Artefacts(beside().transport.files)
    others = [folder.path(name).stat().st_size for name in plan.canaries.values() if folder.path(name).exists()]
    sizes = sorted(item.size_bytes for item in plan.items if item.kind == "network")
    assert sizes[-1] > max(plan.reference.size_bytes, *others)
    device = beside(fault=f"partial {sizes[-1] - 1}")
    scope = replace(scope, way=Way(unit="gpu"))
    lut = bench(SPACE, device=device, runtime="benchmark_model", folder=tmp_path / "run", scope=scope)
    found = {row.status: row for row in lut.networks}
    assert found["unsupported"].ns is None and found["unsupported"].file_bytes == sizes[-1]
    assert [row.status for row in lut.networks].count("unsupported") == 1
    assert lut.header.conditions == "gpu-1t" and lut.header.environment["unit"] == "gpu"


def test_options_that_do_not_belong_together_are_refused(
    program: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run")]
    for options, said in (
        (["--runtime", "benchmark_model"], "give its path with '--program'"),
        (["--runtime", "benchmark_model", "--program", str(tmp_path / "none")], "there is no such file"),
        (["--runtime", "litert", "--program", str(program())], "runs inside the agent"),
        (
            ["--runtime", "benchmark_model", "--precision", "fp16", "--program", str(program())],
            "cannot be measured in fp16",
        ),
    ):
        with pytest.raises(SystemExit):
            main([*OPTIONS, *options, *out])
        assert said in capsys.readouterr().err and not (tmp_path / "run" / "plan.json").exists()


@pytest.mark.slow
def test_another_program_and_a_mask_of_no_core_are_refused(beside: Callable[..., Device], tmp_path: Path) -> None:
    device = beside()
    assert isinstance(device.transport, Native)
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho usage: other --speed=1\n")
    changed = replace(device, transport=replace(device.transport, program=other))
    scope = Scope(fit=1, holdout=0, rounds=1, seed=0, ops=False)
    with pytest.raises(MeasurementRefused) as refused:
        bench(SPACE, device=changed, runtime="benchmark_model", folder=tmp_path / "run", scope=scope)
    assert "is no benchmark_model; it said: usage: other" in refused.value.why and "--program" in refused.value.hints[0]
    for mask in ("0", "xyz", "", "-1", "f0; reboot"):
        with pytest.raises(UsageInvalid, match="names no cores"):
            replace(device.transport, mask=mask)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["benchmark_model", "trtexec"])
def test_what_is_foretold_counts_the_processes_that_are_started(
    beside: Callable[..., Device], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Any
) -> None:
    started: list[str] = []
    once = Runner._once

    def counted(self: Runner, file: str, *rest: Any, **more: Any) -> Any:
        started.append(file)
        return once(self, file, *rest, **more)

    monkeypatch.setattr(Runner, "_once", counted)
    device, way = beside(runtime), first_way(runtime)
    scope = Scope(fit=3, holdout=1, rounds=1, rounds_most=2, seed=0, ops=False, again=False, memory=False, way=way)
    facts = preview(SPACE, device=device, runtime=runtime, scope=scope)
    assert (facts["rows"], facts["networks"], facts["rounds"]) == (2, 4, {"least": 1, "most": 2})
    assert facts["minutes"]["most"] >= facts["minutes"]["least"] and " processes" not in facts["rough"]
    known = facts["batch_memory_mib"]
    assert known == "unreadable" if runtime == "trtexec" else known > 10
    assert not (tmp_path / "run").exists()
    plan = plan_of(SPACE, device=device, runtime=runtime, scope=scope)
    began = len(started)
    ask = Ask(plan=plan, number=0, items=tuple(range(6)), device=device, patience_s=60, run="x")
    measure_round(ask, lambda text, share: None)
    # Six items, the reference before the first of them and at the end, three canaries twice; where whole µs are told,
    # one that takes next to nothing tells nothing and goes after its first turn.
    foretold = sum(runs_of(plan, batch) for batch in plan.batches(0))
    assert foretold == 6 + 2 + 6 and foretold - (runtime == "benchmark_model") <= len(started) - began <= foretold
    walk = Walk(runs=1, run_s=2.0, middle_mib=None, middle_bytes=1)
    assert walk.seconds_of(plan, 3) == 3 * 14 * 2.0 and walk.memory_s(plan, True) == 0.0
