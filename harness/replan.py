"""From a table to the plan that measures a part of it again: by its own protocol, reference and way."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from pydantic import ValidationError

import ofa.space as spaces
from harness.appraise import way_of
from harness.artefacts import Source
from harness.errors import recheck_elsewhere, recheck_impossible
from harness.header import conditions_slug
from harness.inventory import Device
from harness.missing import company_of
from harness.networks import middle
from harness.plan import Plan, Rounds, RuntimeName, State
from harness.prepare import Known, bench_plan, network_key, on_cores
from harness.refusals import runtime_of_others
from harness.session import OnProgress, environment_of, quiet, ready_runtime
from ofa.errors import FileInvalid
from ofa.lut.draw import draw, networks_of_table, ops_of_table
from ofa.lut.format import Lut
from ofa.lut.rows import MEASURED
from ofa.space.core import Subnet

# With fewer rounds an interval says little.
LEAST_ROUNDS = 3


def plan_of(lut: Lut, device: Device, artefacts: Source, *, seed: int, on_progress: OnProgress = quiet) -> Plan:
    """Return the plan that measures 30 ops of a table in its states, and 8 of its networks, by its own protocol.

    Other ops run beside the cold ones, as many as share a batch where all of the table's are measured. Raises
    FileInvalid where the table has neither ops nor networks, or does not say how it was measured.
    """
    protocol, rounds = protocol_of(lut)
    ops, networks = ops_of_table(lut), networks_of_table(lut)
    if not ops and not networks:
        raise recheck_impossible(lut.name, "it has neither ops nor networks that were measured in several rounds")
    drawn = draw(ops, np.random.default_rng(seed))
    known: dict[State, set[str]] = {"cold": set(), "hot": set()}
    for row in lut.rows:
        if row.state in known and row.status in MEASURED:
            known[row.state].add(row.key)
    states = [state for state, keys in known.items() if keys]
    others = [op for op in ops if op not in drawn and op.key in known["cold"]]
    company = company_of(lut, ops, others, lacking=len(drawn), protocol=protocol, seed=seed) if drawn else ()
    return bench_plan(
        device,
        runtime_of(lut),
        artefacts,
        ops=drawn,
        networks=[(spaces.by_id(row.space).subnet(bytes.fromhex(row.genome)), "verify") for row in networks],
        reference=reference_of_table(lut),
        way=way_of(lut),
        seed=seed,
        rounds=rounds,
        states=states or ["hot"],
        known=Known(company=company),
        protocol=protocol,
        on_progress=on_progress,
    )


def protocol_of(lut: Lut) -> tuple[Rounds, int]:
    """Return the protocol that a table was measured by, and in how many rounds it is rechecked; raises FileInvalid."""
    said = lut.header.protocol
    known = {name: said[name] for name in Rounds.model_fields if name in said}
    rounds = said.get("rounds")
    if "name" not in known or not isinstance(rounds, int):
        raise recheck_impossible(lut.name, "its header does not say by which protocol it was measured")
    rounds = max(LEAST_ROUNDS, rounds)
    try:
        return Rounds.model_validate(known | {"rounds_most": rounds}), rounds
    except ValidationError as fault:
        raise recheck_impossible(lut.name, f"its protocol is none of this version's: {known['name']!r}") from fault


def reference_of_table(lut: Lut) -> Subnet:
    """Return the network that a table's rounds were divided by; raises FileInvalid where nobody knows it."""
    key = lut.header.protocol.get("reference")
    for row in lut.networks:
        if network_key(row.space, row.id) == key:
            return spaces.by_id(row.space).subnet(bytes.fromhex(row.genome))
    space, _, _ = str(key).rpartition(":")
    try:
        subnet = middle(spaces.by_id(space))
    except FileInvalid as fault:
        raise recheck_impossible(lut.name, f"its reference network {key!r} is of no space known here") from fault
    if network_key(subnet.space.id, subnet.id) != key:
        raise recheck_impossible(lut.name, f"its reference network {key!r} is not known here")
    return subnet


def runtime_of(lut: Lut) -> RuntimeName:
    """Return the runtime of a table; raises FileInvalid where nobody knows it."""
    runtime: Any = lut.header.runtime
    if runtime not in get_args(RuntimeName):
        raise runtime_of_others(lut.name, runtime, get_args(RuntimeName))
    name: RuntimeName = runtime
    return name


def refuse_others(lut: Lut, device: Device) -> None:
    """Raise UsageInvalid unless a table is of a kind of device: a simulated one says nothing of any other."""
    if lut.header.device != device.kind:
        why = f"it is of '{lut.header.device}', and device '{device.name}' is of kind '{device.kind}'"
        raise recheck_elsewhere(lut.name, why)
    if lut.simulated != (runtime_of(lut) == "simulated"):
        raise recheck_elsewhere(lut.name, "it holds values of a recorded device")


def refuse_other_conditions(lut: Lut, device: Device, plan: Plan) -> None:
    """Raise UsageInvalid where a device is in other conditions than a table names: another power mode, not tuned."""
    hello, about = ready_runtime(device, plan.runtime)
    now = environment_of(hello, about, on_cores(device, hello, plan.way), plan.protocol.regime)
    slug = conditions_slug(plan, now)
    if slug != lut.header.conditions:
        why = f"its conditions are '{lut.header.conditions}', those of the device now '{slug}'"
        raise recheck_elsewhere(lut.name, why)
