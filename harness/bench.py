"""Measures a search space on a device with one runtime: plan, rounds, table; whole networks beside its ops."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from harness import added, footprint, windows
from harness import journal as journals
from harness import plan as plans
from harness.again import Passes, plan_again
from harness.artefacts import Artefacts, Source
from harness.inventory import Device
from harness.missing import known_of, refuse_unlike
from harness.networks import middle, networks_of, parted
from harness.plan import Plan, Rounds, RuntimeName, Split, Way
from harness.prepare import bench_plan, check_way
from harness.session import OnProgress, quiet, run
from harness.tables import AGAIN_JOURNAL, AGAIN_PLAN, JOURNAL, PLAN, TABLE, table_in
from harness.windows import Energies
from ofa.lut.check import checked
from ofa.lut.format import Lut
from ofa.lut.write import write
from ofa.space.core import SearchSpace, Subnet
from ofa.space.index import ops_in
from ofa.space.ops import Op, ops_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much is measured: rounds (``rounds_most`` of what is not known well after ``rounds``), whole networks to fit
    a latency twin to and to hold out from it; with ``soak_s``, as hot as the device gets; ``way`` is how the runtime
    is used. With ``again`` the networks are measured once more after all rounds, with ``memory`` each in a process of
    its own, with ``energy`` that of some of them; with ``missing_from`` only what that table lacks is measured. Of
    ``subnets`` that are given, only the ops are measured, and they are the networks, ``holdout`` of them held out and
    all others to fit to; of those ``beside`` them the ops too, but not they themselves. Without ``ops``, whole networks
    alone. Without ``allow_load``, rounds wait until other work on the device ends.
    """

    way: Way = field(default_factory=Way)
    fit: int = 0
    holdout: int = 0
    rounds: int
    rounds_most: int = 15
    soak_s: int = 0
    seed: int
    again: bool = True
    memory: bool = True
    energy: Energies | None = None
    missing_from: Lut | None = None
    subnets: tuple[Subnet, ...] = ()
    beside: tuple[Subnet, ...] = ()
    ops: bool = True
    allow_load: bool = True

    def ops_of(self, space: SearchSpace) -> tuple[Op, ...]:
        """Return the ops that are measured."""
        if not self.ops:
            return ()
        if not self.subnets:
            return ops_in(space)
        return tuple({op.key: op for subnet in (*self.subnets, *self.beside) for op in ops_of(subnet)}.values())

    def networks_of(self, space: SearchSpace) -> list[tuple[Subnet, Split]]:
        """Return the whole networks that are measured, each with the part it is for."""
        if self.subnets:
            return parted(self.subnets, self.holdout)
        return networks_of(space, fit=self.fit, holdout=self.holdout, seed=self.seed)

    @property
    def protocol(self) -> Rounds:
        """Return the parameters of the protocol."""
        return Rounds(rounds_most=self.rounds_most, soak_s=self.soak_s)


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
    Raises DeviceLost, MeasurementRefused (at once where energy is asked for and nothing could say it), and FileInvalid
    where the folder holds the journal of another plan.
    """
    if scope.energy is not None:
        windows.refuse_without_source(device, runtime, scope.energy)
    plan = plan_of(space, device=device, runtime=runtime, scope=scope, on_progress=on_progress)
    carry_out(
        plan,
        device=device,
        folder=folder,
        again=scope.again,
        memory=scope.memory,
        allow_load=scope.allow_load,
        energy=scope.energy,
        on_progress=on_progress,
    )
    added.found_in(folder / TABLE, folder)
    lut = table_in(folder, max_foreign_cores=device.profile.calm.max_foreign_cores)
    write(lut, folder / TABLE, allow_simulated=lut.simulated)
    return checked(folder / TABLE)


def carry_out(
    plan: Plan,
    *,
    device: Device,
    folder: Path,
    again: bool = True,
    memory: bool = True,
    allow_load: bool = True,
    energy: Energies | None = None,
    on_progress: OnProgress = quiet,
) -> None:
    """Measure what the journals in a folder lack of a plan, its networks once more where ``again``, then their memory,
    and the ``energy`` of some.

    Raises DeviceLost, MeasurementRefused, and FileInvalid where a journal is of another plan; then nothing is written.
    """
    later = plan_again(plan) if again else None
    passes = Passes(on_progress, later)
    measured = partial(run, device=device, allow_load=allow_load)
    if later is not None and (folder / AGAIN_JOURNAL).exists():
        # What cannot be gone on with is refused now, and not once all rounds before it are measured.
        journals.resume(folder / AGAIN_JOURNAL, later).close()
    with journals.resume(folder / JOURNAL, plan) as journal:
        plans.write(plan, folder / PLAN)
        _note_again(later, folder)
        session = measured(plan, journal=journal, on_progress=passes.first)
        if later is not None:
            with journals.resume(folder / AGAIN_JOURNAL, later) as second:
                measured(later, journal=second, like=journal, on_progress=passes.second)
        if memory:
            footprint.run(plan, device=device, journal=journal, session=session, on_progress=on_progress)
        if energy is not None:
            windows.run(plan, energy, device=device, journal=journal, session=session, on_progress=on_progress)


def _note_again(later: Plan | None, folder: Path) -> None:
    """Write the plan of the second measurement before anything is measured: a run that breaks off says by it whether
    that was asked for. Where it is asked for no more, and was not begun, remove what an earlier call wrote.
    """
    if later is not None:
        plans.write(later, folder / AGAIN_PLAN)
    elif not (folder / AGAIN_JOURNAL).exists():
        (folder / AGAIN_PLAN).unlink(missing_ok=True)


def plan_of(
    space: SearchSpace,
    *,
    device: Device,
    runtime: RuntimeName,
    scope: Scope,
    artefacts: Source | None = None,
    on_progress: OnProgress = quiet,
) -> Plan:
    """Return the plan of `bench`; the files it names are built or found in the device's cache, unless ``artefacts`` are
    others.

    Raises UsageInvalid where a table that is to be completed lacks nothing, or is of other conditions.
    """
    known, reference, table = None, middle(space), scope.missing_from
    networks = scope.networks_of(space)
    check_way(device, runtime, scope.way)
    if table is not None:
        refuse_unlike(
            table, device=device, runtime=runtime, way=scope.way, protocol=scope.protocol, reference=reference
        )
        known = known_of(table, space, networks=len(networks), protocol=scope.protocol, seed=scope.seed)
    return bench_plan(
        device,
        runtime,
        artefacts or Artefacts(device.transport.files),
        ops=scope.ops_of(space),
        networks=networks,
        reference=reference,
        way=scope.way,
        seed=scope.seed,
        rounds=scope.rounds,
        known=known,
        protocol=scope.protocol,
        on_progress=on_progress,
    )
