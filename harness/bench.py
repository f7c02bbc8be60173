"""Measures a search space on a device with one runtime: plan, rounds, table; whole networks beside its ops."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness import journal as journals
from harness import plan as plans
from harness.again import Passes, plan_again
from harness.artefacts import Artefacts
from harness.inventory import Device
from harness.networks import middle, networks_of
from harness.plan import Plan, Rounds, RuntimeName, Way
from harness.prepare import bench_plan
from harness.session import OnProgress, quiet, run
from harness.tables import AGAIN_JOURNAL, AGAIN_PLAN, JOURNAL, PLAN, TABLE, table_in
from ofa.lut.check import checked
from ofa.lut.format import Lut
from ofa.lut.write import write
from ofa.space.core import SearchSpace
from ofa.space.index import ops_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much is measured: rounds (``rounds_most`` of what is not known well after ``rounds``), whole networks to fit
    a latency twin to and to hold out from it; with ``soak_s``, as hot as the device gets; ``way`` is how the runtime
    is used. With ``again`` the networks are measured once more after all rounds.
    """

    way: Way = field(default_factory=Way)
    fit: int
    holdout: int
    rounds: int
    rounds_most: int = 15
    soak_s: int = 0
    seed: int
    again: bool = True


def bench(
    space: SearchSpace,
    *,
    device: Device,
    runtime: RuntimeName,
    folder: Path,
    scope: Scope,
    on_progress: OnProgress = quiet,
) -> Lut:
    """Measure every op of a space and some whole networks, and write plans, journals and table into ``folder``.

    The same call resumes what was interrupted; complete rounds are kept, and what is finished is not measured again.
    Raises DeviceLost, MeasurementRefused, and FileInvalid where the folder holds the journal of another plan.
    """
    plan = plan_of(space, device=device, runtime=runtime, scope=scope, on_progress=on_progress)
    carry_out(plan, device=device, folder=folder, again=scope.again, on_progress=on_progress)
    lut = table_in(folder, max_foreign_cores=device.profile.calm.max_foreign_cores)
    write(lut, folder / TABLE, allow_simulated=lut.simulated)
    return checked(folder / TABLE)


def carry_out(plan: Plan, *, device: Device, folder: Path, again: bool = True, on_progress: OnProgress = quiet) -> None:
    """Measure what the journals in a folder lack of a plan, and of its networks once more where ``again``.

    Raises DeviceLost, MeasurementRefused, and FileInvalid where a journal is of another plan; then nothing is written.
    """
    later = plan_again(plan) if again else None
    passes = Passes(on_progress, later)
    with journals.resume(folder / JOURNAL, plan) as journal:
        plans.write(plan, folder / PLAN)
        run(plan, device=device, journal=journal, on_progress=passes.first)
        if later is None:
            return
        with journals.resume(folder / AGAIN_JOURNAL, later) as second:
            plans.write(later, folder / AGAIN_PLAN)
            run(later, device=device, journal=second, like=journal, on_progress=passes.second)


def plan_of(
    space: SearchSpace,
    *,
    device: Device,
    runtime: RuntimeName,
    scope: Scope,
    on_progress: OnProgress = quiet,
) -> Plan:
    """Return the plan of `bench`; the files it names are built or found in the device's cache."""
    return bench_plan(
        device,
        runtime,
        Artefacts(device.transport.files),
        ops=ops_in(space),
        networks=networks_of(space, fit=scope.fit, holdout=scope.holdout, seed=scope.seed),
        reference=middle(space),
        way=scope.way,
        seed=scope.seed,
        rounds=scope.rounds,
        protocol=Rounds(rounds_most=scope.rounds_most, soak_s=scope.soak_s),
        on_progress=on_progress,
    )
