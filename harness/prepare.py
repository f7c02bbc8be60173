"""From search space to plan: asks the device what it reads, builds the files, and says what will be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from harness.artefacts import File, Source
from harness.inventory import Device
from harness.native.errors import no_little_cores
from harness.plan import (
    EMPTY,
    IO,
    IO_KEY,
    NATIVE,
    SESSION_KEY,
    FilePrecision,
    Item,
    Plan,
    Reference,
    Rounds,
    RuntimeName,
    Split,
    State,
    Way,
)
from harness.protocol import Hello, Runtime
from harness.refusals import runtime_not_offered, unit_not_ready, way_not_offered
from harness.session import OnProgress, quiet, ready_runtime
from harness.ways import check_use
from ofa.space.core import Subnet
from ofa.space.ops import Op, ops_of, parse

# What tells that a device has drifted: work that keeps the arithmetic units busy, and work that waits for memory; the
# third is a call of the network that does nothing.
CANARIES = {
    "compute": "mbconv.k3.s1.i160x14.o160x14.m960.relu.n1",
    "memory": "mbconv.k3.s2.i24x112.o40x56.m144.relu.n1",
}


# What a device of fast and slow cores says of them in its environment, the fastest first: "7 4-6 0-3".
TIERS = "tiers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a table has already: rows (key, state) that are not measured again, and ops that keep the others company;
    and whether its values are of CPU time."""

    rows: frozenset[tuple[str, str]] = frozenset()
    company: tuple[Op, ...] = ()
    clock: Literal["cpu_min_ns"] | None = None

    def lacking(self, op: Op, states: Sequence[State]) -> list[State]:
        """Return the states an op is still to be measured in."""
        return [state for state in states if (op.key, state) not in self.rows]

    def beside(self, states: Sequence[State]) -> tuple[Op, ...]:
        """Return the ops that keep others company: only cold ones need any."""
        return self.company if "cold" in states else ()


def network_key(space: str, identity: str) -> str:
    """Return the key a whole network has in a plan."""
    return f"{space}:{identity}"


def bench_plan(
    device: Device,
    runtime: RuntimeName,
    artefacts: Source,
    *,
    ops: Sequence[Op],
    networks: Sequence[tuple[Subnet, Split]],
    reference: Subnet,
    way: Way | None = None,
    seed: int,
    rounds: int = 5,
    states: Sequence[State] | None = None,
    known: Known | None = None,
    protocol: Rounds | None = None,
    on_progress: OnProgress = quiet,
) -> Plan:
    """Return the plan that measures ops in each state that a runtime has, and whole networks hot, on a device with it.

    Files have random weights: latency does not depend on them. ``reference`` is what every round is divided by; rows
    that are ``known`` are left out. Equal arguments on an equal device give an equal plan, its files from the cache.
    Raises UsageInvalid for a ``way`` that is not there, DeviceLost, MeasurementRefused for a runtime that runs nothing.
    """
    way, known, states = way or Way(), known or Known(), states or states_of(runtime)
    on_progress(0, 1, f"greeting {device.name}")
    about, way = ready_way(device, runtime, way)
    build = partial(artefacts.for_network, runtime=about, precision=way.file_precision)
    work = [(op, wanted) for op in ops if (wanted := known.lacking(op, states))]
    total = len(work) + len(known.beside(states)) + len(networks) + 1
    items = [item for item in overhead_items() if (item.key, item.state) not in known.rows]
    for number, (op, wanted) in enumerate(work, start=1):
        items += op_items(op.key, build([op]), wanted)
        on_progress(number, total, "building op files")
    items += [item for op in known.beside(states) for item in op_items(op.key, build([op]), ["cold"], kind="company")]
    for number, (subnet, split) in enumerate(networks, start=total - len(networks)):
        items.append(network_item(subnet, split, build(ops_of(subnet))))
        on_progress(number, total, "building network files")
    chosen = reference_of(reference, build(ops_of(reference)))
    on_progress(total, total, "files are ready")
    return Plan(
        device=device.kind,
        runtime=runtime,
        **way.said(),
        rounds=rounds,
        seed=seed,
        clock=known.clock,
        protocol=protocol or Rounds(),
        reference=chosen,
        canaries=canaries(artefacts, about, way.file_precision),
        items=tuple(items),
    )


def states_of(runtime: RuntimeName) -> tuple[State, ...]:
    """Return the states a runtime can be measured in."""
    return ("hot",) if runtime in NATIVE else ("cold", "hot")


def reference_of(subnet: Subnet, file: File) -> Reference:
    """Return the network that rounds are divided by, as a plan names it."""
    return Reference(key=network_key(subnet.space.id, subnet.id), file=file.name, size_bytes=file.size_bytes)


def check_way(device: Device, runtime: RuntimeName, way: Way) -> None:
    """Raise UsageInvalid where a device's profile does not offer a runtime, or not as it is to be used, and where the
    runtime cannot be used so on any device."""
    offers = device.profile.runtimes
    if offers and runtime not in offers:
        raise runtime_not_offered(device.name, runtime, offers)
    check_use(runtime, way)
    offer = offers.get(runtime)
    if offer is not None and way.unit not in offer.units:
        raise way_not_offered(device.name, runtime, f"unit {way.unit}", offer.units)
    if offer is not None and way.precision not in offer.precisions:
        raise way_not_offered(device.name, runtime, way.precision, offer.precisions)
    if offer is not None and way.threads not in offer.threads:
        raise way_not_offered(device.name, runtime, f"{way.threads} threads", offer.threads)


def ready_way(device: Device, runtime: RuntimeName, way: Way) -> tuple[Runtime, Way]:
    """Return a runtime as a device found it, and the way with its cores settled; raises DeviceLost, MeasurementRefused
    where it cannot be used so."""
    hello, about = ready_runtime(device, runtime)
    check_unit(device, about, way)
    return about, on_cores(device, hello, way)


def on_cores(device: Device, hello: Hello, way: Way) -> Way:
    """Return a way whose cores are settled: those that were asked for, else those of the profile; all where a device
    has cores of one kind only.

    Raises MeasurementRefused where little cores are asked for and there are none.
    """
    wanted = device.profile.cores if way.cores == "usual" else way.cores
    if TIERS in hello.environment:
        return replace(way, cores=wanted)
    if wanted == "little":
        raise no_little_cores(device.name)
    return replace(way, cores="all")


def check_unit(device: Device, about: Runtime, way: Way) -> None:
    """Raise MeasurementRefused where a device's runtime found no such unit, or not the kernels for it."""
    if way.unit == "cpu":
        return
    found = about.units.get(way.unit)
    if found is None or not found.ready:
        why = f"the runtime does not know of any {way.unit}" if found is None else found.says
        raise unit_not_ready(device.name, about.name, way.unit, why)
    if way.kernels not in found.kernels:
        why = f"there it has kernels {', '.join(found.kernels)}, and not {way.kernels}"
        raise unit_not_ready(device.name, about.name, way.unit, why)


def canaries(artefacts: Source, about: Runtime, precision: FilePrecision = "fp32") -> dict[str, str]:
    """Return the files of the canaries by name."""
    return {name: artefacts.for_op(parse(key), about, precision).name for name, key in CANARIES.items()} | {
        "dispatch": EMPTY
    }


def overhead_items() -> list[Item]:
    """Return the items `@session` and `@io`: a call of one elementwise node on four floats, and on 1 x 3 x 224 x 224.

    What the second takes longer is what a large input and output cost at the least. In fp32 whatever the precision of
    the plan: a network takes and gives floats in int8 too.
    """
    return [
        Item(key=SESSION_KEY, kind="overhead", state="hot", file=EMPTY),
        Item(key=IO_KEY, kind="overhead", state="hot", file=IO),
    ]


def op_items(key: str, file: File, states: Sequence[State], kind: Literal["op", "company"] = "op") -> list[Item]:
    """Return the items of an op, one for each state."""
    return [Item(key=key, kind=kind, state=state, file=file.name, size_bytes=file.size_bytes) for state in states]


def network_item(subnet: Subnet, split: Split, file: File) -> Item:
    """Return the item of a whole network; measured hot, as an application that calls it again and again."""
    return Item(
        key=network_key(subnet.space.id, subnet.id),
        kind="network",
        state="hot",
        file=file.name,
        size_bytes=file.size_bytes,
        space=subnet.space.id,
        genome=bytes(subnet.array).hex(),
        split=split,
    )
