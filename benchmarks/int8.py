"""What int8 costs in accuracy and gains in latency: 50 subnets as fp32 and as int8 files, in two runtimes.

For the tiny MobileNetV3 (h-swish, squeeze-excite) and its lite form (ReLU6, no squeeze-excite), each trained by
``supernet_cifar10.py`` (arms ``sandwich`` and ``lite``, of one ``--share``). Top-1 is that of the files in their
runtimes on test images; int8 ranges come from training images. Latencies of the two files of a subnet are taken in
turn, on one thread.

    python benchmarks/int8.py --data FOLDER --tiny RUN --lite RUN
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal

import numpy as np
import torch
from cifar10 import WANTED, read
from record import record
from supernet_cifar10 import IMAGES, subnets

from ofa import score
from ofa.graphs import run as runtimes
from ofa.graphs.export import export
from ofa.nn.supernet import Supernet, build, extract
from ofa.space.core import Subnet
from ofa.train import checkpoint, data, evaluate, folder, runs
from ofa.train.data import Images

NETWORKS = 50
TEST_STRIDE = 4
CALIBRATION_IMAGES = 256
TURNS, CALLS = 7, 40
FORMS: dict[Literal["onnx", "tflite"], runtimes.Runtime] = {"onnx": "onnxruntime", "tflite": "litert"}


def main() -> None:
    """Export, test and time all files, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=WANTED)
    parser.add_argument("--tiny", type=Path, required=True, help="run folder of arm sandwich")
    parser.add_argument("--lite", type=Path, required=True, help="run folder of arm lite")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: family(run, given.data) for name, run in (("tiny", given.tiny), ("lite", given.lite))}
    what = f"{NETWORKS} subnets of two spaces as fp32 and int8 files: top-1, ranks, latency"
    record("int8", what, found, "--data FOLDER --tiny RUN --lite RUN")


def family(run: Path, images: Path) -> dict[str, Any]:
    """Return what int8 does to the subnets of one supernet, by runtime."""
    recipe = runs.recipe_of(run)
    divided = data.divided(read(images / "cifar10_train.npz", IMAGES), recipe)
    space = recipe.search_space(channels=3, classes=10)
    supernet = build(space)
    supernet.load_state_dict(checkpoint.load(run / folder.CHECKPOINT).model)
    source = read(images / "cifar10_test_dev.npz")
    shown = Images(source=source, indices=np.arange(0, len(source), TEST_STRIDE), mean=divided.mean, std=divided.std)
    rows = [one(supernet, subnet, divided, shown) for subnet in subnets(space)[:NETWORKS]]
    return {"space": space.id, "test_images": len(shown)} | {name: table(rows, name) for name in FORMS.values()}


def one(supernet: Supernet, subnet: Subnet, divided: data.Data, shown: Images) -> dict[str, Any]:
    """Export one subnet in all forms; return top-1 and latency of each, by runtime and precision."""
    calibration = divided.images("calibration")
    plain = extract(supernet, subnet, evaluate.statistics(supernet, subnet, calibration))
    ranges = torch.cat(list(calibration.batches(subnet.resolution)))[:CALIBRATION_IMAGES].contiguous().numpy()
    row: dict[str, Any] = {"id": subnet.id}
    with tempfile.TemporaryDirectory() as name:
        for form, runtime in FORMS.items():
            calls = {}
            for precision in ("fp32", "int8"):
                path = Path(name) / f"{precision}.{form}"
                export(plain, subnet, path, form, precision=precision, calibration=ranges)
                calls[precision] = runtimes.load(path, runtime)
            row[runtime] = {
                precision: {
                    "top1": top1(call, shown, subnet.resolution),
                    "bytes": (Path(name) / f"{precision}.{form}").stat().st_size,
                }
                for precision, call in calls.items()
            }
            for precision, ms in latencies(calls, shown, subnet.resolution).items():
                row[runtime][precision]["ms"] = ms
    return row


def top1(call: runtimes.Run, shown: Images, resolution: int) -> float:
    """Return a file's top-1 on the test images, percent."""
    named = [call(np.ascontiguousarray(x.numpy())).argmax(1) for x in shown.batches(resolution)]
    return float((np.concatenate(named) == shown.labels).mean() * 100)


def latencies(calls: dict[str, runtimes.Run], shown: Images, resolution: int) -> dict[str, float]:
    """Return the latency of each file for one image, ms: the median over turns of the fastest call of a burst."""
    image = np.ascontiguousarray(next(iter(shown.batches(resolution)))[:1].numpy())
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            burst = []
            for _ in range(CALLS):
                began = time.perf_counter()
                call(image)
                burst.append(time.perf_counter() - began)
            taken[name].append(min(burst[3:]) * 1e3)
    return {name: median(values) for name, values in taken.items()}


def table(rows: list[dict[str, Any]], runtime: str) -> dict[str, Any]:
    """Return one line of the table."""
    fp32, int8 = ([row[runtime][precision] for row in rows] for precision in ("fp32", "int8"))
    losses = [before["top1"] - after["top1"] for before, after in zip(fp32, int8, strict=True)]
    ratios = [after["ms"] / before["ms"] for before, after in zip(fp32, int8, strict=True)]
    return {
        "mean_fp32_top1": round(mean(one["top1"] for one in fp32), 2),
        "mean_loss_points": round(mean(losses), 2),
        "largest_loss_points": round(max(losses), 2),
        "spearman_fp32_int8": round(
            score.spearman(np.array([one["top1"] for one in fp32]), np.array([one["top1"] for one in int8])), 4
        ),
        "median_latency_ratio_int8_to_fp32": round(median(ratios), 3),
        "latency_ratios_5_to_95_pct": [round(float(v), 3) for v in np.percentile(ratios, (5, 95))],
        "mean_size_ratio": round(mean(b["bytes"] / a["bytes"] for a, b in zip(fp32, int8, strict=True)), 3),
    }


if __name__ == "__main__":
    main()
