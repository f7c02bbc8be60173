"""Every space from plan to verdict: ten random subnets estimated from a table, exported, run, and compared.

For each space beside MobileNetV3 w1.0 and each runtime: the ops of thirty random subnets of one resolution are
measured, and twenty of the subnets whole; these calibrate the sums that price the other ten, which are exported
(random weights) and verified. Each part can be interrupted and run again.

    python benchmarks/spaces.py --out FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import record

import ofa.space as spaces
from harness.appraise import appraise
from harness.bench import Scope, bench
from harness.inventory import this_computer
from harness.plan import RuntimeName
from ofa import score
from ofa.graphs.export import Format, export
from ofa.nn.supernet import build
from ofa.space.core import SearchSpace, Subnet

SPACES: tuple[tuple[str, float], ...] = (
    ("mobilenet_v3", 1.2),
    ("mobilenet_v3_lite", 1.0),
    ("mobilenet_v3_tiny", 1.0),
    ("mobilenet_v3_tiny_lite", 1.0),
    ("proxyless", 1.3),
    ("resnet50", 1.0),
)
RUNTIMES: Mapping[RuntimeName, Format] = {"onnxruntime": "onnx", "litert": "tflite"}
FITTED, VERIFIED = 20, 10
WANTED_PX = 160
SCOPE: dict[str, Any] = {
    "fit": 0,
    "holdout": 0,
    "rounds": 3,
    "rounds_most": 3,
    "seed": 0,
    "again": False,
    "memory": False,
}


def main() -> None:
    """Take every space through every runtime, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where plans, journals, tables and files are kept")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name, width in SPACES:
        space = spaces.load(name, width=width)
        found[space.id] = {runtime: of_space(space, runtime, given.out / space.id) for runtime in RUNTIMES}
    record("spaces", "ten random subnets of every space: estimated, exported, run, compared", found)


def of_space(space: SearchSpace, runtime: RuntimeName, folder: Path) -> dict[str, Any]:
    """Return how far the estimates of one space's subnets are from what their files take with one runtime."""
    resolution = min(space.resolutions, key=lambda px: abs(px - WANTED_PX))
    drawn = subnets(space, resolution)
    fitted, verified = tuple(drawn[:FITTED]), tuple(drawn[FITTED:])
    device = this_computer(folder.parent / ".files")
    scope = Scope(**SCOPE, subnets=fitted, beside=verified)
    lut = bench(space, device=device, runtime=runtime, folder=folder / runtime, scope=scope)
    files = [exported(subnet, folder / "models", RUNTIMES[runtime]) for subnet in verified]
    appraisal = appraise(files, device=device, runtime=runtime, folder=folder / runtime / "verify", lut=lut)
    verdicts = [verdict for verdict in appraisal.found.verdicts if verdict.measured_ms and verdict.predicted_ms]
    predicted = np.array([verdict.predicted_ms for verdict in verdicts], dtype=np.float64)
    measured = np.array([verdict.measured_ms for verdict in verdicts], dtype=np.float64)
    return {
        "resolution": resolution,
        "ops": len({row.key for row in lut.rows if row.key[0] != "@"}),
        "verified": len(verdicts),
        "of": VERIFIED,
        "mape_pct": round(score.mape_pct(predicted, measured), 2),
        "worst_pct": round(100 * float(np.max(np.abs(predicted / measured - 1))), 2),
        "spearman": round(score.spearman(predicted, measured), 3),
        "floor_pct": None if appraisal.found.floor_pct is None else round(appraisal.found.floor_pct, 2),
        "measured_ms": [round(float(measured.min()), 3), round(float(measured.max()), 3)],
    }


def subnets(space: SearchSpace, resolution: int) -> list[Subnet]:
    """Return random subnets of one resolution."""
    drawn = spaces.sample.random(space, 4 * (FITTED + VERIFIED), np.random.default_rng(0))
    drawn[:, space.at("resolution")] = 1 + space.resolutions.index(resolution)
    return [space.subnet(genome) for genome in spaces.sample.unique(space.canonical(drawn))[: FITTED + VERIFIED]]


def exported(subnet: Subnet, folder: Path, form: Format) -> Path:
    """Return the file of a subnet with random weights, made where it is not there yet."""
    path = folder / f"{subnet.id}.{form}"
    if not path.with_name(path.name + ".json").exists():
        export(build(subnet.space, seed=0), subnet, path, form)
    return path


if __name__ == "__main__":
    main()
