"""Folders of one stage each, as the verbs leave them: of the simulated device, or labelled simulated and made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from virtual import SPACE, measure, phone

from harness.appraise import Appraisal
from harness.artefacts import Artefacts
from harness.networks import middle
from harness.plan import Rounds
from harness.prepare import bench_plan
from harness.reduce import Conditions
from harness.verify import Verdict, Verification
from ofa import files
from ofa.lut.write import write as write_table
from ofa.space.ops import ops_of
from ofa.space.sample import random
from report_fixtures import run_folder

QUIET = Conditions(
    basis="wall_p10_ns",
    foreign_cores=0.0,
    stolen_cores=0.0,
    wall_over_cpu=1.0,
    reference_ns={"hot": 1e6},
    reference_spread={"hot": 0.01},
)


def bench(folder: Path, *, count: int = 8, rounds: int = 3, seed: int = 3, **parts: Any) -> Path:
    """Measure some networks and all of their ops on a simulated device; a quarter of the networks is held out."""
    device = phone(folder.with_name(f"{folder.name}-files"), **parts)
    subnets = [SPACE.subnet(genome) for genome in random(SPACE, count, np.random.default_rng(1))]
    plan = bench_plan(
        device,
        "simulated",
        Artefacts(device.transport.files),
        ops=list({op.key: op for subnet in subnets for op in ops_of(subnet)}.values()),
        networks=[(subnet, "holdout" if place % 4 == 3 else "fit") for place, subnet in enumerate(subnets)],
        reference=middle(SPACE),
        seed=seed,
        rounds=rounds,
        protocol=Rounds(rounds_most=rounds, batch_files=40),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_table(measure(device, plan, folder), folder / "lut", allow_simulated=True)
    return folder


def verified(folder: Path) -> Path:
    """Measure as `bench` does, and leave it as the journal of a verification beside its verdicts."""
    bench(folder, count=2)
    (folder / "journal.sqlite").rename(folder / "simulated-0123456789ab.sqlite")
    shutil.rmtree(folder / "lut")
    return verify(folder)


def train(folder: Path) -> Path:
    """Write what `ofa train` and `ofa label` leave in a folder, with two phases; its accuracies are made up."""
    run_folder.supernet(folder, np.random.default_rng(4))
    lines = [json.loads(line) for line in (folder / "supernet/metrics.jsonl").read_text().splitlines()]
    told = [line | {"phase": "full" if line["step"] < 600 else "elastic"} for line in lines]
    files.write_atomic(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in told))
    (folder / "supernet/metrics.jsonl").unlink()
    (folder / "supernet").rmdir()
    run_folder.labels(folder, np.random.default_rng(5))
    card = json.loads((folder / "twins/accuracy/card.json").read_text())
    (folder / "twins/accuracy/card.json").unlink()
    files.write_atomic(folder / "accuracy/card.json", json.dumps(card | {"schema": "accuracy-twin/1"}))
    recipe = {"name": "demo", "batch": 64, "space": SPACE.id, "phases": [{"name": "full"}, {"name": "elastic"}]}
    files.write_atomic(folder / "recipe.json", files.readable_json(recipe))
    return folder


def search(folder: Path, *, shift: float = 0.0, device: str = "") -> Path:
    """Write a front as `ofa search --front --out` keeps it; of two devices where one is named."""
    rng = np.random.default_rng(6)
    front = []
    for place, under in enumerate(np.linspace(0.4, 1.2, 6).tolist()):
        latency_ms = 0.95 * under
        told = latency_ms if not device else {"another": 3.0 - latency_ms, device: latency_ms}
        point = {
            "under": under,
            "id": f"{place:012x}",
            "subnet": {"id": f"{place:012x}"} | run_folder.subnet(4 * place, rng),
            "accuracy": 70.0 + shift + 5.0 * place,
            "accuracy_lo": 69.0 + shift + 5.0 * place,
            "accuracy_hi": 71.0 + shift + 5.0 * place,
            "latency_ms": told,
            "limits": {device or "latency": latency_ms} | ({"another": 3.0 - latency_ms} if device else {}),
            "upper_bound": 71.5 + shift + 5.0 * place,
        }
        front.append(point)
    facts = {"points": front, "hypervolume": 7.5, "bound_reason": "an exact dynamic programme", "evaluations": 900}
    over = {device or "latency": 1.3}
    change = {"gene": "s2.b1.kernel", "was": 3.0, "becomes": 5.0}
    why = {
        "costs": {device or "latency": {"stem": 0.2, "s1.b0": 0.5, "head": 0.3}},
        "changes": [change | {"points": 0.4, "over": over}, change | {"becomes": 7.0, "points": -0.25, "over": {}}],
    }
    found = facts | {"why": why, "precision": "fp32", "assumed": [], "tables": [{"simulated": True}]}
    files.write_atomic(folder / "front.json", files.readable_json(found))
    return folder


def verify(folder: Path) -> Path:
    """Write what `ofa verify` keeps of two files with a prediction, one of somebody else's, and one that failed."""
    verdicts = (
        _verdict("quick.onnx", 0.5, 0.51),
        _verdict("slow.onnx", 1.5, 1.4),
        _verdict("a-network-of-somebody-else.onnx", 2.0, None),
        _verdict("odd.onnx", None, None, reason="the runtime does not know the operator 'Odd'"),
    )
    found = Verification(
        device="simulated-phone",
        runtime="simulated",
        verdicts=verdicts,
        speed=1.02,
        floor_pct=0.7,
        conditions=QUIET,
        plan="0" * 64,
        sessions=(),
    )
    files.write_atomic(
        folder / "verify.json", files.readable_json(Appraisal(found=found, lut=None, subnets={}).facts())
    )
    return folder


def _verdict(name: str, measured_ms: float | None, predicted_ms: float | None, reason: str = "") -> Verdict:
    known = measured_ms is not None

    def times(factor: float) -> float | None:
        return None if measured_ms is None else factor * measured_ms

    return Verdict(
        name=name,
        file="0" * 64,
        size_bytes=1000,
        status="ok" if known else "failed",
        predicted_ms=predicted_ms,
        measured_ms=measured_ms,
        lo_ms=times(0.98),
        hi_ms=times(1.02),
        error_pct=None,
        as_timed_ms=measured_ms,
        init_ms=5.0 if known else None,
        first_ms=times(1.2),
        p95_ms=times(1.05),
        peak_rss_mib=25.0 if known else None,
        rounds=5 if known else 0,
        flags=(),
        session="",
        reason=reason,
    )
