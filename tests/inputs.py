"""Small inputs under the names that examples use: images, a training, tables, a model file, what others published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import ofa.space as spaces
from ofa.graphs import ir, onnx
from ofa.lut.format import Header, Lut, NetworkRow, Row
from ofa.lut.write import write
from ofa.space import sample
from ofa.space.index import ops_in
from ofa.space.ops import ops_of

Command = Callable[..., object]

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
FEW = {"batch": 16, "holdout": 20, "calibration": 16, "corner_steps": 0}


def images(folder: Path) -> None:
    """Write a folder of images: 100 to train on and 20 to test with, grey, 16 px, ten classes."""
    folder.mkdir(parents=True)
    for seed, (split, count) in enumerate((("train", 100), ("test", 20))):
        rng = np.random.default_rng(seed)
        labels = np.arange(count) % 10
        shown = rng.integers(0, 80, (count, 16, 16, 1), dtype=np.uint8) + 17 * labels[:, None, None, None]
        np.savez(folder / f"{split}.npz", images=shown.astype(np.uint8), labels=labels)


def classes(folder: Path) -> None:
    """Write ten pictures of each of two classes, in folders that nobody has divided yet."""
    for name in ("cat", "black dog"):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (16, 16), (20 * number, 0, 0)).save(folder / name / f"{number} of 10.png")


def training(command: Command, data: Path, out: Path) -> None:
    """Train a few steps on images."""
    settings = [word for key, value in FEW.items() for word in ("--set", f"{key}={value}")]
    command("train", "--recipe", "demo", "--data", str(data), "--out", str(out), "--epochs-scale", "0.1", *settings)


def subnets(folder: Path) -> None:
    """Write one subnet of the tiny space."""
    (folder / "subnet.json").write_text(json.dumps(TINY.corner("max").to_json()))


def table(out: Path, session: str = "first", threads: int = 1) -> None:
    """Write a table of the tiny space: every op hot and cold, 24 networks, one session that says its reference."""
    rng = np.random.default_rng(0)
    ns = {op.key: int((op.macs / 10 + 2000) * rng.uniform(0.7, 1.4)) for op in ops_in(TINY)}
    rows = tuple(
        Row(key, state, "ok", value, value - 9, value + 9, value, value, 3, (), session)
        for key, hot_ns in ns.items()
        for state, value in (("hot", hot_ns), ("cold", 2 * hot_ns))
    )
    networks = []
    for number, genome in enumerate(sample.random(TINY, 24, rng)):
        subnet, split = TINY.subnet(genome), "fit" if number < 18 else "holdout"
        total = int(1.1 * sum(ns[op.key] for op in ops_of(subnet)))
        names = (TINY.id, subnet.id, bytes(subnet.genome).hex(), split, "ok")
        networks.append(NetworkRow(*names, total, total, total, None, None, 3, (), session))
    header = Header(
        device="pixel-8",
        runtime="litert",
        runtime_version="2.1.0",
        precision="fp32",
        conditions=f"xnnpack-{threads}t",
        environment={"threads": threads},
        protocol={"rounds": 3},
        simulated=False,
        created="2026-02-28",
    )
    sessions = ({"id": session, "reference_ns": {"hot": 50_000, "cold": 100_000}},)
    write(Lut(header=header, rows=rows, networks=tuple(networks), sessions=sessions), out)


def run_folder(command: Command, folder: Path) -> None:
    """Measure the ops of one subnet on the simulated device."""
    few = ("--subnets", str(folder / "subnet.json"), "--fit", "0", "--holdout", "0", "--no-again")
    rounds = ("--rounds", "2", "--rounds-most", "2", "--device", "simulated-phone", "--runtime", "simulated")
    tiny = ("--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10")
    command("bench", *tiny, *few, *rounds, "--out", str(folder / "runs" / "measured"))


def model(path: Path) -> None:
    """Write a small network as an ONNX file that knows nothing of us."""
    path.write_bytes(onnx.write(ir.graph_of(ops_of(TINY.corner("min")))))


def published_table(folder: Path) -> None:
    """Write a table as Once-for-All publishes one."""
    from tests.lut.conftest import means_of, yaml

    folder.mkdir()
    (folder / "lut.yaml").write_text(yaml(means_of(spaces.load("mobilenet_v3", width=1.2).corner("max", 224))))


def published_checkpoint(path: Path) -> None:
    """Write random weights under the names of a published checkpoint."""
    import torch

    from ofa.nn.weights import published_shapes

    generator = torch.Generator().manual_seed(0)
    shapes = published_shapes(spaces.load("mobilenet_v3"))
    torch.save({"state_dict": {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}}, path)
