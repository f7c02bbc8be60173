"""A step of the elastic network beside the same networks taken out of it, and the calibration of a subnet.

    python benchmarks/train_step.py [--reference PATH] [--device cuda]

``--reference`` times a checkout of mit-han-lab/once-for-all in turn with ours; ``--device cuda`` adds a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from record import cpu_s, record
from reference_step import Request, loss, made, now_s
from torch import Tensor, nn

import ofa.space as spaces
from ofa.nn.blocks import Finish, batch_statistics
from ofa.nn.calibrate import calibrate, in_parts
from ofa.nn.regional import BUDGET, Regional
from ofa.nn.supernet import Supernet, build, extract
from ofa.space.core import SearchSpace, Subnet, from_json

RESOLUTION, BATCH, THREADS, REPEATS = 160, 32, 2, 5
CALIBRATION_IMAGES, CALIBRATION_BATCH, CALIBRATION_REPEATS = 64, 16, 5
GPU_RESOLUTION, GPU_BATCH, GPU_WARMUP, GPU_REPEATS = 224, 512, 3, 10
RANDOM = 3
STEP_OF = (
    f"MobileNetV3 w1.0, {BATCH} images of {RESOLUTION} px, {THREADS} threads, fp32: forward, two losses, backward; on "
    "one thread CPU time; plain is the same network taken out, in NCHW order; medians of "
    f"{REPEATS} rounds in which each kind has its turn; random is the mean of {RANDOM} subnets"
)
CALIBRATION_OF = (
    f"{CALIBRATION_IMAGES} images of {RESOLUTION} px, kernel 5, expand 4, depth 3; one thread, CPU time an image; "
    "forward is that of the calibrated network taken out, on the same images"
)


def main() -> None:
    """Measure what is asked for, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, metavar="PATH", help="a checkout of mit-han-lab/once-for-all")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    space = spaces.load("mobilenet_v3")
    supernet = build(space).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    reference = None if given.reference is None else Reference(given.reference)
    found = {
        **{
            name: {
                size: steps(supernet, subnets, reference, threads)
                for size, subnets in networks(space, RESOLUTION).items()
            }
            for name, threads in (("step", THREADS), ("step_on_one_thread", 1))
        },
        "step_of": STEP_OF,
        "calibration": calibration(supernet, middle(space), reference),
        "calibration_of": CALIBRATION_OF,
        "reference": "not run: needs a reference checkout (--reference PATH)" if reference is None else "in each part",
        "gpu": gpu(space) if given.device == "cuda" else "not run: needs a GPU (--device cuda)",
        "load_1min_before": load,
        # Threads that wait actively make each other wait where other work takes their cores.
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
    }
    options = "--reference PATH " * (reference is not None) + "--device cuda" * (given.device == "cuda")
    record("train_step", "a training step of the elastic network, slicing included; calibration", found, options)


class Reference:
    """A reference checkout in a process of its own."""

    def __init__(self, path: Path) -> None:
        script = Path(__file__).with_name("reference_step.py")
        command = [sys.executable, str(script), str(path.resolve(strict=True))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, task: str, subnet: Subnet, *, threads: int, images: int, batch: int) -> float:
        """Return the seconds a task takes there with the same subnet and images; ends this program where it fails."""
        assert self.process.stdin is not None and self.process.stdout is not None
        most = max(subnet.space.stages[0].depths)
        request = Request(
            task=task,
            threads=threads,
            resolution=subnet.resolution,
            images=images,
            batch=batch,
            ks=[kernel for stage in subnet.kernels for kernel in (*stage, *[3] * (most - len(stage)))],
            e=[int(expand) for stage in subnet.expands for expand in (*stage, *[3] * (most - len(stage)))],
            d=list(subnet.depths),
        )
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the reference checkout stopped; what it said stands above")
        return float(line)


def networks(space: SearchSpace, resolution: int) -> dict[str, list[Subnet]]:
    """Return the subnets to step through, by name."""
    genomes = spaces.sample.random(space, RANDOM, np.random.default_rng(0))
    column = space.at("resolution")
    largest = space.corner("max", resolution)
    genomes[:, column] = largest.genome[column]
    return {
        "largest": [largest],
        "random": [space.subnet(genome) for genome in genomes],
        "smallest": [space.corner("min", resolution)],
    }


def middle(space: SearchSpace) -> Subnet:
    """Return the subnet of middle kernels, expand ratios and depths."""
    facts = space.corner("max", RESOLUTION).to_json()
    stages = len(space.stages)
    return from_json(
        space, facts | {"depths": [3] * stages, "kernels": [[5] * 3] * stages, "expands": [[4] * 3] * stages}
    )


def steps(supernet: Supernet, subnets: Sequence[Subnet], reference: Reference | None, threads: int) -> dict[str, float]:
    """Time a step of some subnets, all kinds in turn; return seconds a step, and ratios of the rounds."""
    torch.set_num_threads(threads)
    taken: dict[str, list[float]] = {}
    for number in range(REPEATS + 1):
        found = [each(supernet, subnet, reference, threads) for subnet in subnets]
        for kind in found[0]:
            if number:  # the first round warms up
                taken.setdefault(kind, []).append(mean(seconds[kind] for seconds in found))
    summary = {f"{kind}_s": round(median(values), 4) for kind, values in taken.items()}
    for kind in (kind for kind in taken if kind != "elastic"):
        ratios = [own / other for own, other in zip(taken["elastic"], taken[kind], strict=True)]
        for name, pick in (("", median), ("_least", min), ("_most", max)):
            summary[f"ratio_to_{kind}{name}"] = round(pick(ratios), 3)
        # What other work on the machine disturbs least.
        summary[f"ratio_to_{kind}_of_fastest"] = round(min(taken["elastic"]) / min(taken[kind]), 3)
    return summary


def each(supernet: Supernet, subnet: Subnet, reference: Reference | None, threads: int) -> dict[str, float]:
    """Do one step of each kind; return how long each takes, s."""
    x, labels, teacher = made(BATCH, RESOLUTION)
    last = x.contiguous(memory_format=torch.channels_last)
    plain = extract(supernet, subnet).train()
    seconds = {
        "elastic": timed(supernet, lambda: supernet(last, subnet), labels, teacher),
        "plain": timed(plain, lambda: plain(x), labels, teacher),
    }
    plain = plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    seconds["plain_channels_last"] = timed(plain, lambda: plain(last), labels, teacher)
    if reference is not None:
        seconds["reference"] = reference.ask("step", subnet, threads=threads, images=BATCH, batch=BATCH)
    return seconds


def timed(network: nn.Module, run: Callable[[], Tensor], labels: Tensor, teacher: Tensor) -> float:
    """Return how long one step takes, s."""
    network.zero_grad(set_to_none=True)
    threads = torch.get_num_threads()
    began_s = now_s(threads)
    loss(run(), labels, teacher).backward()
    return now_s(threads) - began_s


def calibration(supernet: Supernet, subnet: Subnet, reference: Reference | None) -> dict[str, float]:
    """Measure a calibration and a forward pass, in turn; return CPU time an image, ms."""
    torch.set_num_threads(1)
    x = made(CALIBRATION_IMAGES, RESOLUTION)[0].contiguous(memory_format=torch.channels_last)
    batches = x.split(CALIBRATION_BATCH)
    plain = extract(supernet, subnet, calibrate(supernet, subnet, batches))
    plain = plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    taken: dict[str, list[float]] = {}
    for number in range(CALIBRATION_REPEATS + 1):
        seconds = {"calibrate": cpu_s(lambda: calibrate(supernet, subnet, batches), 1)}
        with torch.inference_mode():
            seconds["forward"] = cpu_s(lambda: [plain(part) for batch in batches for part in in_parts(batch)], 1)
        seconds["both"] = seconds["calibrate"] + seconds["forward"]
        if reference is not None:
            seconds["reference_calibrate"] = reference.ask(
                "calibrate", subnet, threads=1, images=CALIBRATION_IMAGES, batch=CALIBRATION_BATCH
            )
        for kind, value in seconds.items():
            if number:
                taken.setdefault(kind, []).append(value * 1e3 / CALIBRATION_IMAGES)
    return {f"{kind}_ms": round(median(values), 2) for kind, values in taken.items()}


def gpu(space: SearchSpace) -> dict[str, Any]:
    """Measure training throughput on a GPU in bfloat16, eager and with compiled tails; images made up, no optimiser."""
    supernet = build(space).to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]  # as above
    x, labels, _ = (value.to("cuda") for value in made(GPU_BATCH, GPU_RESOLUTION))
    x = x.contiguous(memory_format=torch.channels_last)
    named = networks(space, GPU_RESOLUTION)
    steps = {"largest": named["largest"], "sandwich": [*named["largest"], *named["smallest"], *named["random"][:2]]}
    found: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "images": GPU_BATCH, "px": GPU_RESOLUTION}
    regional = Regional()
    for mode, finish in (("eager", batch_statistics), ("compiled", regional)):
        for name, subnets in steps.items():
            taken = [on_gpu(supernet, subnets, finish, x, labels) for _ in range(GPU_WARMUP + GPU_REPEATS)][GPU_WARMUP:]
            seconds = median(second for second, _ in taken)
            found[f"{mode}_{name}"] = {
                "images_per_s": round(GPU_BATCH / seconds),
                "step_ms": round(seconds * 1e3, 1),
                "peak_gib": round(max(peak for _, peak in taken) / 2**30, 2),
            }
    return found | {"graphs": regional.graphs, "graphs_at_most": BUDGET}


def on_gpu(
    supernet: Supernet, subnets: Sequence[Subnet], finish: Finish, x: Tensor, labels: Tensor
) -> tuple[float, int]:
    """Do a step of all subnets, the first of which teaches the others; return its time, s, and peak memory, bytes."""
    supernet.zero_grad(set_to_none=True)
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    began_s = time.perf_counter()
    goal = labels
    for subnet in subnets:
        with torch.autocast("cuda", torch.bfloat16):
            logits = supernet(x, subnet, finish=finish)
        F.cross_entropy(logits.float(), goal).backward()
        if goal is labels:
            goal = logits.detach().float().softmax(1)
    torch.cuda.synchronize()
    return time.perf_counter() - began_s, torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    main()
