"""What a command line asks of a search: devices, limits and a predictor, of one precision and one part of a space."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa.errors import UsageInvalid
from ofa.lut import shelf
from ofa.lut.heldout import learnt_of
from ofa.search import errors, limits, proof, published
from ofa.search.devices import COVERAGE, Device, device, energy_limit, tables_at
from ofa.search.limits import Limit, Predictor, Values
from ofa.search.part import Part, part_of
from ofa.search.proof import Above
from ofa.space.core import Genomes, SearchSpace
from ofa.twins.precision import agreed

if TYPE_CHECKING:
    from ofa.lut.format import Lut
    from ofa.twins.accuracy import AccuracyTwin

PUBLISHED = "ofa-mlp:"
# As the header of a table says it that was imported.
UNKNOWN = "unknown"
# Further limits of what every device has its own of; the others are computed.
MEASURED = ("energy", "resident memory")
# A unit by quantity, as what one of it is in the unit that limits are held in.
UNITS: dict[str, dict[str, float]] = {
    "latency": {"ms": 1.0, "us": 1e-3, "µs": 1e-3, "s": 1e3},
    "energy": {"mJ": 1.0, "uJ": 1e-3, "µJ": 1e-3, "J": 1e3},
    "memory": {"B": 1.0, "kB": 1e3, "KB": 1e3, "KiB": 1024.0, "MB": 1e6, "MiB": 2.0**20, "GB": 1e9, "GiB": 2.0**30},
    "count": {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9},
}
_QUANTITY = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµ]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A device by name, the paths of its tables, and the most that a network may take on it, ms (None: no limit)."""

    name: str
    paths: tuple[Path, ...]
    at_most_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A predictor over a space, its precision (None: nobody says), and a sum it never exceeds, where there is one.

    ``half`` is half the width of its interval at `COVERAGE`, points, for networks of the whole space; None where it
    says nothing of how far off it may be.
    """

    predict: Predictor
    precision: str | None
    above: Above | None
    resolutions: tuple[int, ...]
    half: Predictor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything a search needs, over the part of a space that every table and the predictor know.

    ``latency_ms`` says for networks of the whole space what each device takes, ``accuracy_half`` half the width of the
    interval of their accuracy, points, where the predictor has one.
    """

    part: Part
    accuracy: Predictor
    above: Above | None
    limits: tuple[Limit, ...]
    latency_ms: dict[str, Predictor]
    precision: str
    assumed: tuple[str, ...]
    accuracy_half: Predictor | None = None


def quantity(text: str, kind: str, *, of: str) -> float:
    """Return a quantity such as "25ms" or "4MB" in the unit limits are held in; raises UsageInvalid, which says what it
    is ``of``: an option."""
    found = _QUANTITY.fullmatch(text.strip())
    unit = found[2] if found else ""
    if found is None or unit not in UNITS[kind]:
        raise errors.no_quantity(text, kind, list(UNITS[kind]), of=of)
    return float(found[1]) * UNITS[kind][unit]


def target(text: str) -> Target:
    """Return the device that "NAME=PATH[,PATH...]:25ms" means; raises UsageInvalid."""
    name, equals, rest = text.partition("=")
    paths, colon, at_most = rest.rpartition(":")
    if not (equals and colon and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) and all(paths.split(","))):
        raise errors.no_target(text)
    return Target(
        name=name, paths=tuple(map(Path, paths.split(","))), at_most_ms=quantity(at_most, "latency", of="--target")
    )


def accuracy_of(spec: str, space: SearchSpace) -> Accuracy:
    """Return the predictor a SPEC names, over the whole space; raises FileInvalid, SpaceMismatch or UsageInvalid."""
    if spec.startswith(PUBLISHED):
        known = tuple(px for px in space.resolutions if published.predicts(px))
        cut = part_of(space, known)
        predictor = published.read(Path(spec.removeprefix(PUBLISHED)), cut.space)
        lines = proof.network_above(cut.space, predictor.network)
        return Accuracy(
            predict=_over(cut, predictor),
            precision=None,
            above=replace(lines, base=cut.spread(lines.base)),
            resolutions=known,
        )
    from ofa.twins import accuracy

    if not Path(spec).is_dir():
        raise errors.no_predictor(spec)
    twin = accuracy.load(Path(spec), space)
    precision = twin.card.get("precision")
    named = precision if isinstance(precision, str) else None
    return Accuracy(
        predict=twin.predict,
        precision=named,
        above=proof.above_of(twin),
        resolutions=space.resolutions,
        half=_half(twin, space),
    )


def _half(twin: AccuracyTwin, space: SearchSpace) -> Predictor | None:
    """Return half the width of a twin's interval, points; None where it has too few labels for one."""

    def half(genomes: Genomes) -> Values:
        low, high = twin.interval(genomes, COVERAGE)
        return np.asarray((high - low) / 2)

    try:
        half(space.corner("min").array[None])
    except UsageInvalid:
        return None
    return half


def _over(cut: Part, predict: Predictor) -> Predictor:
    """Return a predictor over a part as one over the whole space, for networks of that part."""
    resolution = cut.space.at("resolution")
    back = {1 + cut.whole.resolutions.index(px): number for number, px in enumerate(cut.space.resolutions, 1)}

    def predicted(genomes: Any) -> Any:
        narrow = genomes.copy()
        for wide, number in back.items():
            narrow[genomes[:, resolution] == wide, resolution] = number
        return predict(narrow)

    return predicted


def request(
    space: SearchSpace,
    spec: str,
    targets: Sequence[Target],
    asked: dict[str, float],
    *,
    warn: Callable[[str], None],
) -> Request:
    """Put together what a search needs; ``asked`` holds further limits by name, in the units limits are held in.

    Raises UsageInvalid where precisions that are known differ or two limits have one name, and whatever reading a table
    or a predictor raises.
    """
    accuracy = accuracy_of(spec, space)
    tables = [(each.name, tables_at(each.paths, space)) for each in targets]
    for line in [line for each in targets for path in each.paths for line in shelf.warnings(path)]:
        warn(line)
    # Before ops are looked for: a table of another precision may lack some, and that would be beside the point.
    precision, assumed = _precision(spec, accuracy, tables, warn)
    devices = [device(name, own, space) for name, own in tables]
    common = [px for px in accuracy.resolutions if all(px in each.resolutions for each in devices)]
    if not common:
        raise errors.no_resolution(space.id, {each.name: each.resolutions for each in devices}, accuracy.resolutions)
    part = part_of(space, common)
    if len(common) < len(space.resolutions):
        warn(f"searched at {', '.join(map(str, common))} px only: nothing prices or predicts the others")
    held = [
        each.limit(part, wanted.at_most_ms, "latency" if len(devices) == 1 else each.name)
        for each, wanted in zip(devices, targets, strict=True)
        if wanted.at_most_ms is not None
    ]
    for name, at_most in asked.items():
        held += _measured(part, devices, name, at_most, warn) if name in MEASURED else [_computed(part, name, at_most)]
    names = [limit.name for limit in held]
    if twice := [name for name in names if names.count(name) > 1]:
        raise errors.named_twice(twice[0])
    return Request(
        part=part,
        accuracy=part.of(accuracy.predict) if len(common) < len(space.resolutions) else accuracy.predict,
        above=None if accuracy.above is None else replace(accuracy.above, base=part.cut(accuracy.above.base)),
        limits=tuple(held),
        latency_ms={each.name: each.predict for each in devices},
        precision=precision,
        assumed=assumed,
        accuracy_half=accuracy.half,
    )


def _precision(
    spec: str, accuracy: Accuracy, tables: Sequence[tuple[str, Sequence[Lut]]], warn: Callable[[str], None]
) -> tuple[str, tuple[str, ...]]:
    """Return the one precision of everything, and what was taken for fp32 because nobody says; raises UsageInvalid."""
    # Not by its path: what is assumed is kept, and may be passed on.
    said = {"the published predictor" if spec.startswith(PUBLISHED) else "the accuracy twin": accuracy.precision}
    for name, own in tables:
        for table in own:
            known = table.header.precision
            said[f"table '{table.name}' of {name}"] = None if known == UNKNOWN else known
    precision, assumed = agreed(said)
    if assumed:
        warn(f"nobody says the precision of {assumed[0]}{_more(assumed)}: counted as {precision}")
    return precision, tuple(assumed)


def _more(names: Sequence[str]) -> str:
    """Return how many more names there are."""
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def own_name(name: str, device: str, *, several: bool) -> str:
    """Return what a limit of what every device has its own of is called on one: by its name alone where it is the only
    one."""
    return f"{name} on {device}" if several else name


def _computed(part: Part, name: str, at_most: float) -> Limit:
    """Return a limit of what is the same on every device."""
    space = part.space
    if name == "activation":
        return limits.activation_limit(space, at_most)
    from ofa.twins import memory

    sums = {
        "parameters": ("", lambda op: float(op.params)),
        "MACs": ("", lambda op: float(op.macs)),
        "size": ("B", lambda op: float(memory.parameter_bytes(op))),
    }
    unit, of = sums[name]
    return limits.sum_limit(space, name, at_most, unit, of)


def _measured(
    part: Part, devices: Sequence[Device], name: str, at_most: float, warn: Callable[[str], None]
) -> list[Limit]:
    """Return a limit of what each device has its own of, for every device that measured it; raises UsageInvalid where
    none did."""
    made = {"energy": energy_limit, "resident memory": _memory_limit}[name]
    own = [own_name(name, each.name, several=len(devices) > 1) for each in devices]
    found = [made(each, part, at_most, called) for each, called in zip(devices, own, strict=True)]
    held = [limit for limit in found if limit is not None]
    if not held and name == "energy":
        raise errors.energy_limit_without_source(f"{at_most:g} mJ")
    if not held:
        raise errors.memory_limit_without_source(f"{at_most / 1e6:g} MB")
    if lacking := [each.name for each, limit in zip(devices, found, strict=True) if limit is None]:
        warn(f"{name} is not limited on {', '.join(lacking)}: too few networks of its tables have any measured")
    return held


def _memory_limit(device: Device, part: Part, at_most: float, name: str) -> Limit | None:
    """Limit the peak resident memory of a process on a device, bytes; None where too few networks have any."""
    from ofa.twins import memory

    table = next((table for table in device.tables if _knows_memory(table, part.whole)), None)
    if table is None:
        return None
    twin = memory.fit_memory(table, part.whole)

    def rss_bytes(genomes: Any) -> Any:
        return twin.predict(part.widened(genomes)) * memory.BYTES_PER_KIB

    return Limit(name=name, predict=rss_bytes, at_most=at_most, unit="B")


def _knows_memory(table: Any, space: SearchSpace) -> bool:
    """Say whether enough networks of a space were measured for their memory."""
    from ofa.twins import memory

    return sum(row.peak_rss_kib is not None for row in learnt_of(table, space)) >= memory.FEWEST_NETWORKS
