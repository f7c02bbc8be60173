"""A checkout of mit-han-lab/once-for-all that does what it is told: its package is called as ours, so it runs alone.

    python benchmarks/reference_step.py PATH

reads one request a line (JSON, see ``Request``) and answers each with the seconds it took.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

CLASSES = 1000


class Request(TypedDict):
    """What to do with which subnet: kernel and expand ratio of all 20 blocks, depth of all 5 stages.

    ``task`` is step or calibrate; ``batch`` images are calibrated with together.
    """

    task: str
    threads: int
    resolution: int
    images: int
    batch: int
    ks: list[int]
    e: list[int]
    d: list[int]


def made(images: int, resolution: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make up images float[n, 3, r, r], labels int64[n] and the logits of a teacher float[n, classes]."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, 3, resolution, resolution, generator=generator)
    labels = torch.randint(CLASSES, (images,), generator=generator)
    return x, labels, torch.randn(images, CLASSES, generator=generator)


def loss(logits: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
    """Return what every step here minimises: cross-entropy to the labels and to the teacher's probabilities."""
    return F.cross_entropy(logits, labels) + F.cross_entropy(logits, teacher.softmax(1))


def now_s(threads: int) -> float:
    """Return CPU time where there is one thread, which other work disturbs less, else the clock's, s."""
    return time.process_time() if threads == 1 else time.perf_counter()


def answer(network: Any, calibrate: Any, asked: Request) -> float:
    """Do what is asked, and return how long it took, s."""
    torch.set_num_threads(asked["threads"])
    x, labels, teacher = made(asked["images"], asked["resolution"])
    network.set_active_subnet(ks=asked["ks"], e=asked["e"], d=asked["d"])
    network.zero_grad(set_to_none=True)
    if asked["task"] == "calibrate":
        network.eval()
        batches = list(zip(x.split(asked["batch"]), labels.split(asked["batch"]), strict=True))
        began_s = now_s(asked["threads"])
        calibrate(network, batches)
    else:
        network.train()
        began_s = now_s(asked["threads"])
        loss(network(x), labels, teacher).backward()
    return now_s(asked["threads"]) - began_s


def main() -> None:
    """Build the checkout's MobileNetV3 supernet, and answer until there is nothing more to read."""
    sys.path.insert(0, sys.argv[1])
    answers, sys.stdout = sys.stdout, sys.stderr
    room = "ofa.imagenet_classification.elastic_nn"
    network = importlib.import_module(f"{room}.networks").OFAMobileNetV3(
        n_classes=CLASSES,
        bn_param=(0.1, 1e-5),
        dropout_rate=0.1,
        base_stage_width="proxyless",
        width_mult=1.0,
        ks_list=[3, 5, 7],
        expand_ratio_list=[3, 4, 6],
        depth_list=[2, 3, 4],
    )
    calibrate = importlib.import_module(f"{room}.utils").set_running_statistics
    for line in sys.stdin:
        answers.write(json.dumps(answer(network, calibrate, json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
