"""From a space to a table: what is measured, how networks are spread, and what the table says of its journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ofa.space as spaces
from harness import journal as journals
from harness import plan as plans
from harness.bench import Scope, bench
from harness.header import conditions_slug
from harness.inventory import Device
from harness.plan import Plan, Rounds
from harness.tables import JOURNAL, PLAN, TABLE
from ofa.errors import FileInvalid
from ofa.lut.check import check
from ofa.lut.format import read
from ofa.space.index import ops_in

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
OVERHEADS = {("@session", "hot"), ("@io", "hot")}
SCOPE = Scope(fit=6, holdout=3, rounds=2, rounds_most=2, seed=0)


@pytest.fixture
def measured(stand_in: Callable[..., Device], tmp_path: Path) -> tuple[Device, Path]:
    """Measure the tiny space on the stand-in agent, which gives item n of the plan n + 1 µs."""
    pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
    device = stand_in()
    bench(TINY, device=device, runtime="onnxruntime", folder=tmp_path, scope=SCOPE)
    return device, tmp_path


@pytest.mark.slow
def test_a_table_has_every_op_in_both_states_and_its_networks(measured: tuple[Device, Path]) -> None:
    lut = read(measured[1] / TABLE)
    plan = plans.read(measured[1] / PLAN)
    expected = {(op.key, state) for op in ops_in(TINY) for state in ("cold", "hot")} | OVERHEADS
    assert {(row.key, row.state) for row in lut.rows} == expected and len(lut.rows) == len(expected)
    assert [row.split for row in lut.networks].count("fit") == 6
    assert [row.split for row in lut.networks].count("holdout") == 3
    place: dict[tuple[str, str], int] = {(item.key, item.state): number for number, item in enumerate(plan.items)}
    for row in lut.rows:
        assert row.ns == pytest.approx(1000 * (place[row.key, row.state] + 1), rel=0.002), row
    for network in lut.networks:
        assert network.id == TINY.subnet(list(bytes.fromhex(network.genome))).id and network.space == TINY.id
    assert lut.header.protocol["rounds"] == 2 and lut.header.protocol["reference"] == plan.reference.key
    assert not lut.header.simulated and lut.sessions[0]["rounds"] == [1, 2]
    assert check(measured[1] / TABLE)["valid"]


@pytest.mark.slow
def test_the_same_call_measures_nothing_twice(measured: tuple[Device, Path]) -> None:
    device, folder = measured
    before = {name: (folder / TABLE / name).read_bytes() for name in ("lut.json", "ops.csv", "networks.csv")}
    bench(TINY, device=device, runtime="onnxruntime", folder=folder, scope=SCOPE)
    assert before == {name: (folder / TABLE / name).read_bytes() for name in before}
    with journals.open_journal(folder / JOURNAL) as journal:
        assert [journal.attempts_of(number) for number in range(2)] == [1, 1]


@pytest.mark.slow
def test_another_scope_does_not_continue_a_journal(measured: tuple[Device, Path]) -> None:
    device, folder = measured
    before = (folder / JOURNAL).read_bytes()
    with pytest.raises(FileInvalid, match="journal"):
        bench(
            TINY, device=device, runtime="onnxruntime", folder=folder, scope=Scope(fit=6, holdout=3, rounds=2, seed=1)
        )
    assert (folder / JOURNAL).read_bytes() == before
    assert plans.read(folder / PLAN).seed == SCOPE.seed


def test_conditions_name_what_differs(plan: Callable[..., Plan]) -> None:
    way = plan()
    hot = Rounds(soak_s=60)

    def slug(mode: str = "unreadable", **changes: object) -> str:
        return conditions_slug(way.model_copy(update=changes), {"power_mode": mode})

    assert slug(runtime="litert") == "xnnpack-1t"
    assert slug(runtime="litert", kernels="builtin", threads=2) == "builtin-2t"
    assert slug() == "cpu-1t" and slug(protocol=hot) == "cpu-1t-sustained"
    assert slug("MAXN (15 W)") == "cpu-1t-maxn_15_w" and slug("15w", protocol=hot) == "cpu-1t-15w-sustained"
    assert conditions_slug(way, {}) == "cpu-1t"
    assert slug(unit="gpu", kernels="tensorrt") == "tensorrt-1t" and slug(runtime="torch", unit="gpu") == "gpu-1t"
    assert slug(runtime="litert", unit="npu") == "npu-1t"
