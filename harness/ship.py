"""From chosen subnets to verdicts: exported once per format, run on every device, tested through the runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import plan as plans
from harness import verify
from harness.artefacts import File, target
from harness.inventory import Device
from harness.plan import Plan, RuntimeName
from harness.refusals import environment_changed
from harness.session import OnProgress, environment, quiet, ready_runtime
from harness.stats import spread
from harness.tables import PLAN
from harness.verify import Anchor, Verification
from ofa.errors import FileInvalid
from ofa.files import MEBIBYTE, read_json, sha256_file
from ofa.graphs.forms import FORMATS, SUFFIX
from ofa.lut.format import Lut
from ofa.lut.header import environment_id

if TYPE_CHECKING:
    from ofa.nn.supernet import Supernet
    from ofa.space.core import Subnet
    from ofa.train.data import Images

ANCHORS = 7


def model_path(folder: Path, subnet: Subnet, runtime: RuntimeName) -> Path:
    """Return where the file of a subnet for a runtime is or would be."""
    return folder / f"{subnet.id}{SUFFIX[FORMATS[runtime]]}"


def export_all(
    supernet: Supernet,
    subnets: Sequence[Subnet],
    folder: Path,
    *,
    device: Device,
    runtimes: Sequence[RuntimeName],
    checkpoint: Path,
    calibration: Images,
    on_file: Callable[[Path], None],
) -> None:
    """Export every subnet in the form each runtime takes; a file already there, whole and of this checkpoint, stays.

    Batch-norm statistics come from ``calibration`` (training images). Raises VerificationFailed where a file does not
    compute what the network computes.
    """
    from ofa.train import exporting

    origin = sha256_file(checkpoint)
    for runtime in runtimes:
        options = target(ready_runtime(device, runtime)[1])
        form = options.pop("format")
        for subnet in subnets:
            path = model_path(folder, subnet, runtime)
            if not _exported(path, subnet, origin, options):
                exporting.write(
                    supernet,
                    subnet,
                    path,
                    form,
                    calibration=calibration,
                    checkpoint_sha256=origin,
                    options=options,
                )
            on_file(path)


def _exported(path: Path, subnet: Subnet, origin: str, options: Mapping[str, Any]) -> bool:
    """Say whether a file is there, whole, and made from this subnet, checkpoint and form."""
    sidecar = path.with_name(path.name + ".json")
    if not path.exists() or not sidecar.exists():
        return False
    try:
        facts = read_json(sidecar, max_bytes=MEBIBYTE, what="sidecar")
    except FileInvalid:
        return False
    if not isinstance(facts, dict) or not isinstance(facts.get("file"), dict):
        return False
    keys = ("subnet_id", "checkpoint_sha256", "writer", "precision")
    known = [*(facts.get(key) for key in keys), facts["file"].get("sha256")]
    return known == [subnet.id, origin, dict(options), "fp32", sha256_file(path)]


def verify_on(
    device: Device,
    runtime: RuntimeName,
    folder: Path,
    lut: Lut,
    *,
    models: Mapping[str, Path],
    predicted_ms: Mapping[str, float],
    rounds: int,
    seed: int,
    on_progress: OnProgress = quiet,
) -> Verification:
    """Measure model files beside networks of the table that ``folder`` holds, by its reference.

    Raises MeasurementRefused where a round is missing and the table was measured under other conditions, and what
    `verify.measure` raises.
    """
    plan = plans.read(folder / PLAN)
    reference = File(name=plan.reference.file, size_bytes=plan.reference.size_bytes)
    return verify.measure(
        models,
        device=device,
        runtime=runtime,
        folder=folder / "verify",
        reference=reference,
        predicted_ms=predicted_ms,
        anchors=anchors(plan, lut),
        rounds=rounds,
        seed=seed,
        # Where every round is done, the device may have been updated since.
        before=partial(same_conditions, device, plan, lut, folder),
        on_progress=on_progress,
    )


def same_conditions(device: Device, plan: Plan, lut: Lut, folder: Path) -> None:
    """Raise MeasurementRefused where the device, or its runtime, is not what the table was measured on."""
    now = environment(plan, *ready_runtime(device, plan.runtime))
    before = lut.header.environment
    if environment_id(now) != lut.header.environment_id:
        differing = sorted(name for name in before | now if before.get(name) != now.get(name))
        raise environment_changed(device.name, differing, folder)


def anchors(plan: Plan, lut: Lut) -> dict[str, Anchor]:
    """Return some networks of a table, evenly from the quickest to the slowest, with their files."""
    files = {item.genome: File(name=item.file, size_bytes=item.size_bytes) for item in plan.items if item.genome}
    known = sorted(
        ((row.ns, row.id, row.genome) for row in lut.networks if row.ns is not None and row.genome in files),
    )
    chosen = [known[place] for place in spread(len(known), ANCHORS)]
    return {identity: Anchor(file=files[genome], ns=ns) for ns, identity, genome in chosen}


def tested_top1(path: Path, runtime: RuntimeName, images: Images, resolution: int) -> float:
    """Return the top-1 accuracy, percent, of an exported file run by its runtime on test images."""
    from ofa.graphs import run
    from ofa.train.accuracy import right_in
    from ofa.train.evaluate import percent

    assert runtime != "simulated", "a simulated device has no files that anyone can run"
    assert runtime != "benchmark_model" and runtime != "ort_perf_test" and runtime != "trtexec", "it tells times only"
    return percent(right_in(run.load(path, runtime), images, resolution))
