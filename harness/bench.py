"""Measures a search space on a device with one runtime: plan, rounds, table; whole networks beside its ops."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import ofa.space as spaces
from harness import journal as journals
from harness import plan as plans
from harness.artefacts import Artefacts
from harness.inventory import Device
from harness.plan import Plan, Rounds, RuntimeName, Way
from harness.prepare import Split, bench_plan
from harness.reduce import conditions, table
from harness.session import OnProgress, quiet, run
from ofa.lut.check import checked
from ofa.lut.format import Lut
from ofa.lut.write import write
from ofa.space.core import Genomes, SearchSpace, Subnet
from ofa.space.index import index_of, ops_in

PLAN, JOURNAL, TABLE = "plan.json", "journal.sqlite", "lut"
# How many random networks stand behind each one that is measured: more reach further towards the ends.
CANDIDATES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much is measured: rounds (``rounds_most`` of what is not known well after ``rounds``), whole networks to fit
    a latency twin to and to hold out from it; with ``soak_s``, as hot as the device gets; ``way`` is how the runtime
    is used.
    """

    way: Way = field(default_factory=Way)
    fit: int
    holdout: int
    rounds: int
    rounds_most: int = 15
    soak_s: int = 0
    seed: int


def bench(
    space: SearchSpace,
    *,
    device: Device,
    runtime: RuntimeName,
    folder: Path,
    scope: Scope,
    on_progress: OnProgress = quiet,
) -> Lut:
    """Measure every op of a space and some whole networks, and write plan, journal and table into ``folder``.

    The same call resumes what was interrupted; complete rounds are kept, and what is finished is not measured again.
    Raises DeviceLost, MeasurementRefused, and FileInvalid where the folder holds the journal of another plan.
    """
    plan = plan_of(space, device=device, runtime=runtime, scope=scope, on_progress=on_progress)
    with journals.resume(folder / JOURNAL, plan) as journal:
        plans.write(plan, folder / PLAN)
        run(plan, device=device, journal=journal, on_progress=on_progress)
        found = conditions(journal, max_foreign_cores=device.profile.calm.max_foreign_cores)
        lut = table(journal, found)
    write(lut, folder / TABLE, allow_simulated=lut.simulated)
    return checked(folder / TABLE)


def plan_of(
    space: SearchSpace,
    *,
    device: Device,
    runtime: RuntimeName,
    scope: Scope,
    on_progress: OnProgress = quiet,
) -> Plan:
    """Return the plan of `bench`; the files it names are built or found in the device's cache."""
    genomes = spread(space, scope.fit + scope.holdout, np.random.default_rng(scope.seed))
    splits: list[Split] = [*["fit"] * scope.fit, *["holdout"] * scope.holdout]  # type: ignore[list-item]
    order = np.random.default_rng([scope.seed, 1]).permutation(len(splits))
    networks = [(space.subnet(genome), splits[place]) for genome, place in zip(genomes, order, strict=True)]
    return bench_plan(
        device,
        runtime,
        Artefacts(device.transport.files),
        ops=ops_in(space),
        networks=networks,
        reference=middle(space),
        way=scope.way,
        seed=scope.seed,
        rounds=scope.rounds,
        protocol=Rounds(rounds_most=scope.rounds_most, soak_s=scope.soak_s),
        on_progress=on_progress,
    )


def spread(space: SearchSpace, count: int, rng: np.random.Generator) -> Genomes:
    """Return ``count`` distinct random genomes uint8[count, G] whose MACs are spread on a log scale.

    Random networks crowd in the middle of a space; a calibration on them alone would say little about its ends.
    """
    if not count:
        return np.zeros((0, len(space.genes)), dtype=np.uint8)
    index = index_of(space)
    drawn = spaces.sample.unique(spaces.sample.random(space, CANDIDATES * count, rng))
    logs = np.log(index.sum(drawn, index.values(lambda op: float(op.macs))))
    drawn, logs = drawn[np.argsort(logs, kind="stable")], np.sort(logs)
    places = np.searchsorted(logs, np.linspace(logs[0], logs[-1], count))
    # Where the ends are thin, two targets may meet at one network: each takes the next that is free.
    for at in range(1, count):
        places[at] = max(places[at], places[at - 1] + 1)
    for at in range(count - 1, -1, -1):
        places[at] = min(places[at], len(drawn) - count + at)
    return drawn[places]


def middle(space: SearchSpace) -> Subnet:
    """Return the network in the middle of every gene's choices: what each round is divided by."""
    genome = ((space.cardinalities + 1) // 2).astype(np.uint8)
    return space.subnet(space.canonical(genome[None])[0])
