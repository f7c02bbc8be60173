"""From search space to plan: asks the device what it reads, builds the files, and says what will be measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from harness.artefacts import Artefacts
from harness.inventory import Device
from harness.plan import Item, Plan, Reference, Rounds, RuntimeName, State, op_items, overhead_items
from harness.session import OnProgress, quiet, ready_runtime
from ofa.errors import UsageInvalid

if TYPE_CHECKING:
    from ofa.space.ops import Op

    from ofa.space.core import Subnet

Split = Literal["fit", "holdout", "verify"]


def network_key(space: str, identity: str) -> str:
    """Return the key a whole network has in a plan."""
    return f"{space}:{identity}"


def bench_plan(
    device: Device,
    runtime: RuntimeName,
    artefacts: Artefacts,
    *,
    ops: Sequence[Op],
    networks: Sequence[tuple[Subnet, Split]],
    reference: Subnet,
    seed: int,
    rounds: int = 5,
    states: Sequence[State] = ("cold", "hot"),
    protocol: Rounds | None = None,
    on_progress: OnProgress = quiet,
) -> Plan:
    """Return the plan that measures ops (in each state) and whole networks (hot) on a device with one runtime.

    Files are built with random weights: latency does not depend on their values. ``reference`` is the network every
    round is divided by; one in the middle of the space. Equal arguments on an equal device give an equal plan, whose
    files are taken from the cache. Raises DeviceLost, MeasurementRefused where the runtime cannot run a network.
    """
    from ofa.space.ops import ops_of

    if device.profile.runtimes and runtime not in device.profile.runtimes:
        raise UsageInvalid(
            f"device '{device.name}' is not used with runtime '{runtime}'",
            why="its profile lists " + ", ".join(device.profile.runtimes),
            hint="choose one of these, or add the runtime to the profile",
        )
    total = len(ops) + len(networks) + 1
    on_progress(0, total, f"greeting {device.name}")
    _, about = ready_runtime(device, runtime)
    entries: list[tuple[str, str, int]] = []
    for op in ops:
        file = artefacts.for_op(op, about)
        entries.append((op.key, file.name, file.size_bytes))
        on_progress(len(entries), total, "building op files")
    items = op_items(entries, states) + overhead_items()
    for subnet, split in networks:
        file = artefacts.for_network(ops_of(subnet), about)
        items.append(network_item(subnet, split, file.name, file.size_bytes))
        on_progress(len(ops) + len(items) - len(ops) * len(states) - 1, total, "building network files")
    chosen = artefacts.for_network(ops_of(reference), about)
    on_progress(total, total, "files are ready")
    return Plan(
        device=device.name,
        runtime=runtime,
        rounds=rounds,
        seed=seed,
        protocol=protocol or Rounds(),
        reference=Reference(
            key=network_key(reference.space.id, reference.id), file=chosen.name, size_bytes=chosen.size_bytes
        ),
        items=tuple(items),
    )


def network_item(subnet: Subnet, split: Split, file: str, size_bytes: int) -> Item:
    """Return the item of a whole network; networks are measured hot, as an application that calls one again and
    again."""
    return Item(
        key=network_key(subnet.space.id, subnet.id),
        kind="network",
        state="hot",
        file=file,
        size_bytes=size_bytes,
        space=subnet.space.id,
        genome=bytes(subnet.array).hex(),
        split=split,
    )
