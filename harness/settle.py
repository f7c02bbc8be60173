"""The best networks of a search labelled on their supernet and measured on their devices, and the choice among them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import ofa.space as spaces
from harness import appraise
from harness.inventory import Device
from harness.plan import RuntimeName
from harness.refusals import answer_of_others, front_has_no_limit
from harness.report.trial import CHOICE
from harness.session import OnProgress
from harness.ship import export_all, model_path
from ofa import files
from ofa.errors import first_invalid
from ofa.lut.format import Lut
from ofa.search import Reading, Tried, settle
from ofa.search.finding import Candidate
from ofa.search.kept import FRONT
from ofa.search.kept import read as read_search
from ofa.search.request import MEASURED, own_name
from ofa.space.core import SearchSpace, Subnet, from_json

if TYPE_CHECKING:
    from ofa.search.asked import Asked
    from ofa.train.runs import Trained

MODELS, TOP = "models", "top.json"
SCHEMA = "choice/1"
RESIDENT = "resident memory"
BYTES_PER_MIB = 2.0**20
MAX_BYTES = 64 * files.MEBIBYTE

Facts = dict[str, Any]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Network(BaseModel):
    """A network as the answer of a search holds it."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    subnet: dict[str, Any]
    accuracy: Finite
    accuracy_lo: Finite | None = None
    accuracy_hi: Finite | None = None
    limits: dict[str, Finite]


class Answer(BaseModel):
    """What is read of the answer of a search for one network: the best, and those that differ, best first."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    chosen: Annotated[tuple[Network, ...], Field(min_length=1, max_length=1, strict=False)]
    top: Annotated[tuple[Network, ...], Field(max_length=16, strict=False)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one target of a search is measured: a device, and its table (with its folder, where points go to it)."""

    device: Device
    runtime: RuntimeName
    table: Lut
    folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Supernet:
    """What the networks are subnets of: the run folder of a training, its images, and the file their labels go to."""

    run: Path
    data: str
    labels: Path


def choose(
    search: Path,
    supernet: Supernet,
    places: Mapping[str, Place],
    *,
    out: Path,
    rounds: int = 7,
    seed: int = 0,
    allow_load: bool = False,
    on_progress: OnProgress,
) -> Facts:
    """Try the networks that a search kept, by name of its targets, write ``choice.json`` into ``out``, and return it.

    Each is labelled on images held back from training (the row goes to the file of labels), exported in the form that
    each device's runtime takes, and measured there whole, beside networks of the table, to which it is added where its
    folder is given. A device's measured latency and, where the search limits it, resident memory count; the rest is
    computed. Labels, files and measurements that are there are not made again. Raises FileInvalid for no kept search
    for one network, NoSubnetFits where each exceeds a limit as measured, and what labels and measurements raise.
    """
    asked = read_search(search)
    networks, candidates = networks_of(search, asked)
    verified: dict[str, appraise.Appraisal] = {}

    def measure(subnets: Sequence[Subnet]) -> dict[str, list[Reading | None]]:
        trained = _trained(supernet)
        for name, place in places.items():
            _exported(supernet, trained, subnets, place, out)
            verified[name] = appraise.appraise(
                [model_path(out / MODELS, subnet, place.runtime) for subnet in subnets],
                device=place.device,
                runtime=place.runtime,
                folder=out / place.device.name,
                lut=place.table,
                rounds=rounds,
                seed=seed,
                allow_load=allow_load,
                on_progress=on_progress,
            )
            if place.folder is not None:
                appraise.add(verified[name], place.folder)
        return _readings(verified, asked)

    at_most = limits_of(asked, candidates)
    tried = settle(candidates, at_most, label=partial(_labels, supernet, out), measure=measure)
    made_from = {"parents": [files.parent(search / FRONT, relative_to=out)]}
    facts = _facts(tried, networks, at_most, verified) | _read_as(asked, at_most, supernet) | made_from
    files.write_atomic(out / CHOICE, files.readable_json(facts))
    return facts


def _trained(supernet: Supernet) -> Trained:
    """Open the training; raises UsageInvalid where it held no images back: labels come after the measurements, which
    would be for nothing."""
    from ofa.train import runs
    from ofa.train.errors import nothing_held_back

    trained = runs.trained(supernet.run, supernet.data)
    if not len(trained.data.holdout):
        raise nothing_held_back(supernet.run)
    return trained


def networks_of(search: Path, asked: Asked) -> tuple[tuple[Network, ...], list[Candidate]]:
    """Return the networks that a kept search found, as it says and as candidates, best first; raises FileInvalid,
    UsageInvalid for a whole front."""
    if asked.points is not None:
        raise front_has_no_limit(search)
    path = search / FRONT
    content = files.read_json(path, max_bytes=MAX_BYTES, what="answer of a search")
    try:
        answer = Answer.model_validate(content)
    except ValidationError as fault:
        where, said = first_invalid(fault, "the file")
        raise answer_of_others(path, f"{where}: {said}") from fault
    space, networks = spaces.by_id(asked.space), answer.top or answer.chosen
    return networks, [_candidate(space, network) for network in networks]


def _candidate(space: SearchSpace, network: Network) -> Candidate:
    """Return a network of the answer; raises FileInvalid or SpaceMismatch where it is none of the space."""
    return Candidate(subnet=from_json(space, network.subnet), accuracy=network.accuracy, values=dict(network.limits))


def limits_of(asked: Asked, candidates: Sequence[Candidate]) -> dict[str, float]:
    """Return what was asked of a search by the name that the search gave each limit, in the units limits are held in.

    Of what each device has its own of, those are limited whose tables knew it: the others have no value.
    """
    found = {target.name: target.at_most_ms for target in asked.targets if target.at_most_ms is not None}
    for name, at_most in asked.further.items():
        own = own_names(asked, name).values() if name in MEASURED else [name]
        found |= {limit: at_most for limit in own if all(limit in one.values for one in candidates)}
    return found


def own_names(asked: Asked, name: str) -> dict[str, str]:
    """Return what a limit of what every device has its own of is called, by target."""
    several = len(asked.targets) > 1
    return {target.name: own_name(name, target.name, several=several) for target in asked.targets}


def _read_as(asked: Asked, at_most: Mapping[str, float], supernet: Supernet) -> Facts:
    """Return in which unit each limit is, and on how many images each network was labelled."""
    from ofa.train import labelled

    return {
        "units": {name: _unit(asked, name) for name in at_most},
        "images": labelled.images_of(supernet.labels, spaces.by_id(asked.space)),
    }


def _unit(asked: Asked, name: str) -> str:
    """Return the unit that a limit of a search is held in, by the name that the search gave it."""
    if name in {target.name for target in asked.targets}:
        return "ms"
    from ofa.search.asked import LIMITS

    return LIMITS[name.partition(" on ")[0]]


def _labels(supernet: Supernet, out: Path, subnets: Sequence[Subnet]) -> list[float]:
    """Return the accuracy of subnets, percent, on images held back; rows that the file of labels has stand.

    It opens the supernet by itself: on a GPU where there is one, while files are written on the CPU.
    """
    from ofa.train import accuracy, labelled, ranks

    wanted = out / TOP
    files.write_atomic(wanted, json.dumps([subnet.to_json() for subnet in subnets]))
    with ranks.joined() as group:
        accuracy.label_run(
            supernet.run,
            supernet.data,
            accuracy.Choice(subnets=wanted),
            supernet.labels,
            weights="last",
            ranks=group,
        )
    genomes, top1 = labelled.read(supernet.labels, subnets[0].space)
    known = {bytes(genome): float(value) for genome, value in zip(genomes, top1, strict=True)}
    return [known[bytes(subnet.array)] for subnet in subnets]


def _exported(supernet: Supernet, trained: Trained, subnets: Sequence[Subnet], place: Place, out: Path) -> None:
    """Write the files of subnets in the form that a device's runtime takes; those that are there stay."""
    from ofa.train import folder

    export_all(
        trained.supernet,
        subnets,
        out / MODELS,
        device=place.device,
        runtimes=[place.runtime],
        checkpoint=supernet.run / folder.CHECKPOINT,
        calibration=trained.images("calibration", supernet.data),
        on_file=lambda path: None,
    )


def _readings(verified: Mapping[str, appraise.Appraisal], asked: Asked) -> dict[str, list[Reading | None]]:
    """Return what devices said of each network: milliseconds by target, and bytes where memory is limited."""
    found: dict[str, list[Reading | None]] = {}
    limited = {target.name for target in asked.targets if target.at_most_ms is not None}
    resident = own_names(asked, RESIDENT) if RESIDENT in asked.limits else {}
    for name, appraisal in verified.items():
        own = appraisal.found.verdicts
        if name in limited:
            found[name] = [
                None
                if verdict.measured_ms is None or verdict.lo_ms is None or verdict.hi_ms is None
                else Reading(value=verdict.measured_ms, lo=verdict.lo_ms, hi=verdict.hi_ms)
                for verdict in own
            ]
        peaks = [None if verdict.peak_rss_mib is None else verdict.peak_rss_mib * BYTES_PER_MIB for verdict in own]
        if name in resident and any(peak is not None for peak in peaks):
            # One measurement has no interval.
            found[resident[name]] = [None if peak is None else Reading(value=peak, lo=peak, hi=peak) for peak in peaks]
    return found


def _facts(
    tried: Sequence[Tried],
    networks: Sequence[Network],
    at_most: Mapping[str, float],
    verified: Mapping[str, appraise.Appraisal],
) -> Facts:
    """Return the choice as JSON: every network with what was predicted and measured of it, the chosen first."""
    ends = {network.subnet.get("id"): (network.accuracy_lo, network.accuracy_hi) for network in networks}
    return {
        "schema": SCHEMA,
        "chosen": tried[0].candidate.subnet.id,
        "predicted_best": max(tried, key=lambda one: one.candidate.accuracy).candidate.subnet.id,
        "at_most": dict(at_most),
        "networks": [
            {
                "id": one.candidate.subnet.id,
                "subnet": one.candidate.subnet.to_json(),
                "predicted": {
                    "top1": one.candidate.accuracy,
                    **dict(zip(("top1_lo", "top1_hi"), ends.get(one.candidate.subnet.id, (None, None)), strict=True)),
                    "limits": one.candidate.values,
                },
                "measured": {
                    "top1": one.top1,
                    "limits": {name: asdict(reading) for name, reading in one.readings.items()},
                },
                "over": list(one.over),
            }
            for one in tried
        ],
        "devices": {name: appraisal.facts() for name, appraisal in verified.items()},
    }
