"""How long measuring takes where each network is a process of its own: a few runs timed, and counted over a plan."""

from __future__ import annotations

import json
from dataclasses import dataclass
from secrets import token_hex

from harness.artefacts import Artefacts
from harness.footprint import of_file
from harness.inventory import Device
from harness.networks import middle
from harness.plan import Plan, RuntimeName, Way
from harness.prepare import bench_plan
from harness.session import PATIENCE_S, Ask, OnProgress, measure_round, quiet
from ofa.files import MEBIBYTE
from ofa.space.core import SearchSpace

UNREADABLE = "unreadable"
# Canaries are timed before and after: there is one state only.
TURNS = 2
# A program holds a file, and its weights once more as its kernels want them.
COPIES = 2
KIB_PER_MIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What ``runs`` took, one after another, s each; the memory of one that ran the middle network, MiB, and the size
    of that network's file."""

    runs: int
    run_s: float
    middle_mib: float | None
    middle_bytes: int

    def seconds_of(self, plan: Plan, rounds: int) -> float:
        """Return how long so many rounds of all items of a plan take."""
        return rounds * sum(runs_of(plan, batch) * self.run_s + plan.protocol.soak_s for batch in plan.batches(0))

    def memory_s(self, plan: Plan, wanted: bool) -> float:
        """Return how long asking for the memory of each network takes; nothing where the program tells none."""
        files = {item.file for item in plan.items if item.kind == "network"}
        return (1 + len(files)) * self.run_s if wanted and self.middle_mib is not None else 0.0

    def most_mib(self, plan: Plan) -> int | str:
        """Return the memory of the process that runs the largest file of a plan, MiB; "unreadable" where nobody
        knows."""
        if self.middle_mib is None:
            return UNREADABLE
        largest = max(item.size_bytes for item in plan.items)
        return round(self.middle_mib + COPIES * max(0, largest - self.middle_bytes) / MEBIBYTE)


def runs_of(plan: Plan, batch: list[int]) -> int:
    """Return how many processes one batch starts: its hot items, the reference among them and at the end, canaries."""
    hot = sum(plan.items[index].state == "hot" for index in batch)
    return hot + -(-hot // plan.protocol.reference_every) + bool(hot) + TURNS * len(plan.canaries)


def walk_of(
    space: SearchSpace, *, device: Device, runtime: RuntimeName, way: Way, on_progress: OnProgress = quiet
) -> Walk:
    """Return how fast a program gets through networks on a device: one round of the middle one and the bare ones.

    Its files are built and kept. Raises what `prepare.bench_plan` raises, DeviceLost, and MeasurementRefused where the
    device does not cool.
    """
    network = middle(space)
    artefacts = Artefacts(device.transport.files)
    plan = bench_plan(
        device, runtime, artefacts, ops=(), networks=[(network, "fit")], reference=network, way=way, seed=0, rounds=1,
        on_progress=on_progress,
    )  # fmt: skip
    items = tuple(range(len(plan.items)))
    ask = Ask(plan=plan, number=0, items=items, device=device, patience_s=PATIENCE_S, run=token_hex())
    found = measure_round(ask, lambda text, share: on_progress(round(100 * share), 100, "timing probes"))
    said = json.loads(found.batches[-1][1])
    runs = sum(runs_of(plan, batch) for batch in plan.batches(0))
    memory = of_file(device, runtime, plan.reference.file, plan.way)
    kib = memory.peak_rss_kib
    return Walk(
        runs=runs,
        run_s=float(said["timed_s"]) / runs,
        middle_mib=None if kib is None else kib / KIB_PER_MIB,
        middle_bytes=plan.reference.size_bytes,
    )
