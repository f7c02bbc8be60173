"""Model files measured on a device, whoever wrote them: beside a table's prediction where one knows the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

import ofa.space as spaces
from harness import added, tables, verify
from harness.artefacts import Artefacts
from harness.discreet import discreetly
from harness.errors import (
    names_alike,
    no_data_to_test,
    no_table_named,
    sidecar_without_subnet,
    table_of_another,
)
from harness.inventory import Device
from harness.lease import held
from harness.networks import middle
from harness.plan import LONGEST_SOAK_S, NATIVE, Cores, FilePrecision, Kernels, RuntimeName, Unit, Way
from harness.points import with_points
from harness.prepare import canaries, ready_way
from harness.protocol import Runtime
from harness.session import OnProgress, quiet
from harness.ship import ANCHORS
from harness.stats import spread
from harness.tuning import prepared
from harness.verify import Anchor, Verification
from ofa import console
from ofa.errors import SpaceMismatch
from ofa.estimate import state_of, sums
from ofa.files import MEBIBYTE, read_json
from ofa.lut import heldout
from ofa.lut.format import Lut
from ofa.lut.write import write
from ofa.space.core import Subnet, from_json
from ofa.space.ops import ops_of

SIDECAR = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What was measured, by which table it was predicted, and the subnets of those verdicts that are of one."""

    found: Verification
    lut: Lut | None
    subnets: dict[str, Subnet]

    def facts(self) -> dict[str, Any]:
        """Return the verdicts as JSON, with how quiet the device was."""
        found = self.found
        return {
            "device": found.device,
            "runtime": found.runtime,
            "table": None if self.lut is None else self.lut.name,
            "slower": found.speed,
            "floor_pct": found.floor_pct,
            "statistic": found.conditions.statistic,
            "plan": found.plan,
            "verdicts": [asdict(verdict) for verdict in found.verdicts],
        }


def appraise(
    models: Sequence[Path],
    *,
    subnets: Sequence[Subnet] = (),
    device: Device,
    runtime: RuntimeName,
    way: Way | None = None,
    folder: Path,
    lut: Lut | None = None,
    rounds: int = 7,
    seed: int = 0,
    allow_load: bool = True,
    on_progress: OnProgress = quiet,
) -> Appraisal:
    """Measure model files by name, and sampled subnets (files with random weights) by id.

    A file with the sidecar of `ofa` beside it, and a subnet, is predicted by ``lut``, whose own networks are measured
    with it: by how much the device is slower than when the table was made is taken out, and said. Any other is measured
    alone. The runtime is used as the table says, on a device as hot as for the table, or else as ``way``. The device is
    held meanwhile, and what an earlier run left changed there is put back first. Without ``allow_load``, rounds wait
    until it does next to nothing else. Raises UsageInvalid for two files of one name or a table of another device or
    runtime, MeasurementRefused where somebody else holds it, and what `verify.measure` raises.
    """
    files = _checked(models, device, runtime, lut)
    artefacts = Artefacts(device.transport.files)
    chosen = (way or Way()) if lut is None else way_of(lut)
    reference = ops_of(middle(spaces.load("mobilenet_v3_tiny")))
    with discreetly(device), held(device, folder) as mine, prepared(mine, None, runtime) as ready:
        about, chosen = ready_way(ready, runtime, chosen)
        known = {name: subnet for name, path in files.items() if (subnet := subnet_of(path)) is not None}
        for subnet in subnets:
            file = artefacts.for_network(ops_of(subnet), about, chosen.file_precision)
            files[subnet.id], known[subnet.id] = artefacts.path(file.name), subnet
        found = verify.measure(
            files,
            device=ready,
            runtime=runtime,
            way=chosen,
            folder=folder,
            reference=artefacts.for_network(reference, about, chosen.file_precision),
            predicted_ms={} if lut is None else predictions(lut, known),
            anchors={} if lut is None else anchors(lut, artefacts, about, chosen.file_precision),
            canaries=canaries(artefacts, about, chosen.file_precision),
            rounds=rounds,
            seed=seed,
            soak_s=0 if lut is None else soak_of(lut),
            allow_load=allow_load,
            on_progress=on_progress,
        )
    return Appraisal(found=found, lut=lut, subnets=known)


def with_accuracy(found: Appraisal, models: Sequence[Path], data: str | None, runtime: str) -> dict[str, Any]:
    """Return the verdicts as JSON, each with "top1", percent, on test images where ``data`` names them.

    Raises UsageInvalid where a subnet was sampled: it has random weights; and what `ofa eval` of a file raises.
    """
    facts = found.facts()
    if data is None:
        return facts
    from ofa.train import accuracy

    paths = {path.name: path for path in models}
    # A program tells times and no answers: the usual runtime here for such files does.
    tester = None if runtime in NATIVE else runtime
    for verdict in facts["verdicts"]:
        if verdict["name"] not in paths:
            raise no_data_to_test(verdict["name"])
        tested = accuracy.of_file(paths[verdict["name"]], data, tester)
        verdict |= {"top1": tested["top1"], "images": tested["images"]}
    return facts


def add(found: Appraisal, folder: Path | None) -> str:
    """Add the verified networks to the table they were predicted by, in its folder, and say how many.

    Where that is a run's own table they are kept beside its journal, too: the run makes its table with them again.
    Raises UsageInvalid without a table, and what `points.with_points` raises.
    """
    if found.lut is None or folder is None:
        raise no_table_named()
    made, count = with_points(found.lut, found.found, found.subnets)
    run = tables.run_of(folder)
    if run is not None:
        made = added.kept(made, run)
    write(made, folder, allow_simulated=made.simulated)
    return f"{count} networks were added to '{folder}'"


# The cores of a table by what its environment says of them.
CORES: dict[str, Cores] = {"big cores": "big", "little cores": "little"}


def way_of(lut: Lut) -> Way:
    """Return how the runtime was used when a table was made."""
    environment = lut.header.environment
    unit: Any = environment.get("unit")
    kernels: Any = environment.get("kernels")
    threads = environment.get("threads")
    precision = lut.header.precision
    return Way(
        unit=unit if unit in get_args(Unit) else "cpu",
        kernels=kernels if kernels in get_args(Kernels) else "default",
        precision=precision if precision != "unknown" else "fp32",
        threads=threads if isinstance(threads, int) else 1,
        cores=CORES.get(str(environment.get("pinned")), "all"),
    )


def soak_of(lut: Lut) -> int:
    """Return for how long the device worked before each round of a table, s."""
    said = lut.header.protocol.get("soak_s")
    return said if isinstance(said, int) and 0 <= said <= LONGEST_SOAK_S else 0


def _checked(models: Sequence[Path], device: Device, runtime: RuntimeName, lut: Lut | None) -> dict[str, Path]:
    """Return model files by name; raises UsageInvalid for two of one name or a table of another device or runtime."""
    files = {path.name: path for path in models}
    if len(files) != len(models):
        raise names_alike()
    if lut is not None and (of := (lut.header.device, lut.header.runtime)) != (device.kind, runtime):
        raise table_of_another(lut.name, of=of, wanted=(device.name, runtime))
    return files


def subnet_of(path: Path) -> Subnet | None:
    """Return the subnet that a model file's sidecar names; None where there is none, as files of others have none.

    Raises FileInvalid for a damaged sidecar.
    """
    sidecar = path.with_name(path.name + SIDECAR)
    if not sidecar.exists():
        return None
    facts = read_json(sidecar, max_bytes=MEBIBYTE, what="sidecar of a model")
    if isinstance(facts, dict) and "subnet" not in facts:
        return None
    entry = facts.get("subnet") if isinstance(facts, dict) else None
    if not isinstance(entry, dict):
        raise sidecar_without_subnet(sidecar)
    return from_json(spaces.by_id(str(entry.get("space"))), entry)


def predictions(lut: Lut, subnets: Mapping[str, Subnet]) -> dict[str, float]:
    """Return what a table predicts for subnets by name, ms.

    Calibrated on its own fit networks where it has enough, else the plain sum of its rows. A subnet that the table does
    not price has none.
    """
    found: dict[str, float] = {}
    for space in {subnet.space.id: subnet.space for subnet in subnets.values()}.values():
        own = {name: subnet.array for name, subnet in subnets.items() if subnet.space.id == space.id}
        try:
            sums_ms = sums(lut, space, np.stack(list(own.values())), state_of(lut, space))
        except SpaceMismatch:
            continue
        priced = {name: ms for name, ms in zip(own, sums_ms.tolist(), strict=True) if np.isfinite(ms)}
        if priced:
            calibrated = heldout.predicted(lut, space, np.stack([own[name] for name in priced]))
            found |= priced if calibrated is None else dict(zip(priced, calibrated[1].tolist(), strict=True))
    return found


def anchors(lut: Lut, artefacts: Artefacts, about: Runtime, precision: FilePrecision = "fp32") -> dict[str, Anchor]:
    """Return some networks of a table, evenly from the quickest to the slowest, with files made for the device."""
    timed = sorted((row.ns, row.space, row.genome) for row in lut.networks if row.ns is not None)
    found = {}
    for ns, space, genome in (timed[place] for place in spread(len(timed), ANCHORS)):
        subnet = spaces.by_id(space).subnet(bytes.fromhex(genome))
        found[f"{space}:{subnet.id}"] = Anchor(file=artefacts.for_network(ops_of(subnet), about, precision), ns=ns)
    return found


def show(found: dict[str, Any]) -> None:
    """Print verdicts as a table."""
    columns = (
        "file",
        "status",
        "predicted ms",
        "measured ms",
        "±",
        "as timed",
        "error %",
        "loads ms",
        "first ms",
        "p95 ms",
        "peak MiB",
        "KiB",
        *(["top-1 %"] if any("top1" in verdict for verdict in found["verdicts"]) else []),
    )
    lines = []
    for verdict in found["verdicts"]:
        low, high, centre = verdict["lo_ms"], verdict["hi_ms"], verdict["measured_ms"]
        half = f"{100 * (high - low) / 2 / centre:.1f} %" if centre else None
        times = (verdict["predicted_ms"], centre, half, verdict["as_timed_ms"], verdict["error_pct"])
        size = verdict["size_bytes"] // 1024
        rest = (verdict["init_ms"], verdict["first_ms"], verdict["p95_ms"], verdict["peak_rss_mib"], size)
        top1 = [verdict["top1"]] if "top1" in verdict else []
        lines.append((verdict["name"], verdict["status"], *times, *rest, *top1))
    console.table(columns, lines, title=f"{found['runtime']} on {found['device']}")
    for verdict in found["verdicts"]:
        if verdict["reason"]:
            console.warn(f"{verdict['name']}: {verdict['reason']}")
