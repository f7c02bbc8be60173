"""What a measurement would do, before it does it: rows, files, minutes and memory, from a few probes on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.again import plan_again
from harness.artefacts import Artefacts, File
from harness.bench import Scope, plan_of
from harness.gate import LOAD_PATIENCE_S, foreign_cores
from harness.inventory import Device
from harness.pace import Pace, pace_of, seconds_of
from harness.plan import NATIVE, FilePrecision, Plan, RuntimeName
from harness.protocol import Runtime
from harness.refusals import kept_busy
from harness.session import OnProgress, quiet
from harness.walk import walk_of
from harness.windows import refuse_without_source
from ofa.files import MEBIBYTE
from ofa.space.core import SearchSpace
from ofa.space.facts import peak_values
from ofa.space.ops import Op

BYTES = {"fp32": 4, "fp16": 2, "int8": 1, "int8_symmetric": 1}
# A runtime keeps the file and a copy of its weights, packed for its kernels.
COPIES = 2
# What a session or interpreter holds besides, as seen with LiteRT.
LOADED_MIB = 0.35
ROUGH = "from {count} probes, right within a factor of 2; building files, rests for cooling and lost rounds come on top"
ROUGH_WALK = (
    "from {count} runs of a process each, right within a factor of 2 where networks build or load as fast as the middle"
    " one; rests for cooling and lost rounds come on top"
)


@dataclass(frozen=True, slots=True)
class Foretold:
    """Stands for the files of a plan: those that are there, and others by their recipe and an estimated size."""

    artefacts: Artefacts
    ops: dict[str, tuple[Op, ...]] = field(default_factory=dict)
    lacking: set[str] = field(default_factory=set)

    def for_op(self, op: Op, runtime: Runtime, precision: FilePrecision = "fp32") -> File:
        """Return what is known of the file of one op."""
        return self.for_network([op], runtime, precision)

    def for_network(self, ops: Sequence[Op], runtime: Runtime, precision: FilePrecision = "fp32") -> File:
        """Return what is known of the file of ops one after another."""
        recipe, found = self.artefacts.foretell(ops, runtime, precision)
        if found is None:
            self.lacking.add(recipe)
            found = File(name=recipe, size_bytes=sum(op.params for op in ops) * BYTES[precision])
        self.ops[found.name] = tuple(ops)
        return found


def preview(
    space: SearchSpace,
    *,
    device: Device,
    runtime: RuntimeName,
    scope: Scope,
    on_progress: OnProgress = quiet,
) -> dict[str, Any]:
    """Return what `bench` with the same arguments would measure, how long it would take, and what a batch needs.

    Nothing is written but the files of a few probes, which the measurement needs as well. ``minutes`` are those of the
    rounds every item gets, and of as many as an item can get, and those of energy where it is asked for; ``rough`` says
    how far to trust them. Memory is that of the process that runs the largest batch, MiB, "unreadable" where a program
    does not tell it. Raises what `bench.plan_of` and `pace.pace_of` raise, and MeasurementRefused where nothing could
    say the energy.
    """
    foretold = Foretold(Artefacts(device.transport.files))
    if scope.energy is not None:
        refuse_without_source(device, runtime, scope.energy)
    plan = plan_of(space, device=device, runtime=runtime, scope=scope, artefacts=foretold)
    later = plan_again(plan) if scope.again else None
    passes = [one for one in (plan, later) if one is not None]
    drawn = None if scope.energy is None else scope.energy.facts(plan)
    windows_s = 0.0 if drawn is None else 60 * float(drawn["minutes"])
    how = _by_programs if runtime in NATIVE else _by_batches
    cost = how(plan, passes, foretold, space=space, device=device, scope=scope, on_progress=on_progress)
    kinds = [item.kind for item in plan.items]
    return {
        "rows": kinds.count("op") + kinds.count("overhead"),
        "networks": kinds.count("network"),
        "networks_again": 0 if later is None else len(later.items),
        "company": kinds.count("company"),
        "files": len(foretold.ops),
        "files_to_build": sum(not foretold.artefacts.has_built(recipe) for recipe in foretold.lacking),
        "rounds": {"least": plan.rounds, "most": plan.rounds_most},
        "batches_a_round": len(plan.batches(0)),
        "minutes": {name: round((total_s + windows_s) / 60, 2) for name, total_s in cost.seconds.items()},
        **({} if drawn is None else {"energy": drawn}),
        "rough": cost.rough,
        "batch_memory_mib": cost.memory_mib,
    }


def other_work(device: Device, runtime: RuntimeName, *, allow_load: bool) -> str | None:
    """Return what a device that is busy with other work makes of the minutes foretold, in words.

    None where it does no more of that than its profile allows, or does not tell; of programs that run one network in
    each process it is not asked. Raises DeviceLost.
    """
    limit = device.profile.calm.max_foreign_cores
    cores = None if runtime in NATIVE else foreign_cores(device)
    if cores is None or cores <= limit:
        return None
    waits = (
        f"a measurement would wait before each round until it is, for at most {LOAD_PATIENCE_S / 60:g} minutes each "
        "time; --allow-load measures anyway"
    )
    so = "beside that work a measurement may take longer" if allow_load else waits
    return f"device '{device.name}': {kept_busy(cores, limit)}; the minutes are for a quiet one, and {so}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """How long all rounds take, s, at least and at most, how far to trust that, and the largest process's memory."""

    seconds: Mapping[str, float]
    rough: str
    memory_mib: int | str


def _by_batches(
    plan: Plan, passes: Sequence[Plan], foretold: Foretold, *, space: SearchSpace, device: Device, scope: Scope,
    on_progress: OnProgress,
) -> Cost:  # fmt: skip
    """Return what batches of an agent cost."""
    pace = pace_of(space, device=device, runtime=plan.runtime, way=scope.way, on_progress=on_progress)
    return Cost(
        seconds={
            end: sum(seconds_of(one, pace, foretold.ops, rounds) for one in passes)
            for end, rounds in _ends(plan).items()
        },
        rough=ROUGH.format(count=len(pace.op_macs) + 1),
        memory_mib=round(max(_batch_mib(plan, batch, pace, foretold) for batch in plan.batches(0))),
    )


def _by_programs(
    plan: Plan, passes: Sequence[Plan], foretold: Foretold, *, space: SearchSpace, device: Device, scope: Scope,
    on_progress: OnProgress,
) -> Cost:  # fmt: skip
    """Return what processes of a program cost."""
    walk = walk_of(space, device=device, runtime=plan.runtime, way=scope.way, on_progress=on_progress)
    return Cost(
        seconds={
            end: sum(walk.seconds_of(one, rounds) for one in passes) + walk.memory_s(plan, scope.memory)
            for end, rounds in _ends(plan).items()
        },
        rough=ROUGH_WALK.format(count=walk.runs),
        memory_mib=walk.most_mib(plan),
    )


def _ends(plan: Plan) -> dict[str, int]:
    """Return how many rounds every item gets, and how many one can get."""
    return {"least": plan.rounds, "most": plan.rounds_most}


def _batch_mib(plan: Plan, batch: Sequence[int], pace: Pace, foretold: Foretold) -> float:
    """Return what a process holds with a batch loaded: itself, weights, and the activations of every network."""
    sizes = {plan.items[index].file: plan.items[index].size_bytes for index in batch}
    sizes[plan.reference.file] = plan.reference.size_bytes
    values = sum(max(map(peak_values, foretold.ops[file])) for file in sizes if file in foretold.ops)
    return (
        pace.rss_mib
        + LOADED_MIB * len(sizes)
        + (COPIES * sum(sizes.values()) + BYTES[plan.precision] * values) / MEBIBYTE
    )
