"""Foreign latency tables as ours: rows of Once-for-All, CompOFA and NSGANetV2 summed into our ops, provenance unknown.

A row there is a layer or a block; a `stem` is the first convolution and block 0, a `head` the final expansion, the
pooling, the feature mix and the classifier, a `mbconv` one row.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import JsonValue, ValidationError

import ofa.space as spaces
from ofa.files import canonical_json, sha256_bytes
from ofa.lut import errors, foreign
from ofa.lut.foreign import Cell, Role, Source
from ofa.lut.format import Header, Lut, Row
from ofa.lut.noise import NOISY_HALF_WIDTH
from ofa.lut.rows import NANOSECONDS_PER_MS
from ofa.lut.student import NORMAL_95
from ofa.space.core import SearchSpace
from ofa.space.ops import Op

Layers = dict[Role, list[Cell]]
# The rows whose sum is one op.
Parts = tuple[Cell, ...]

MOST_FILES = 100
# Every head layer with every other that fits: a small file could ask for more than memory holds.
MOST_OPS = 100_000
UNKNOWN = "unknown"
# What foreign tables never say.
NEVER_SAID = ("threads", "clock", "units")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What whoever imports knows about a table: a slug for the device, where it comes from, today's date, YYYY-MM-DD.

    Runtime and precision stay "unknown" unless the publisher says them somewhere.
    """

    device: str
    source: str
    created: str
    runtime: str = UNKNOWN
    runtime_version: str = UNKNOWN
    precision: str = UNKNOWN


def import_table(path: Path, origin: Origin, declared: Sequence[SearchSpace] = ()) -> Lut:
    """Return our table of a foreign one: a YAML or CSV file, or a folder of them (one file per resolution).

    An op that several groups of rows measured (files, or resolutions of one) is that of the largest resolution: every
    value is then a sum of published ones. ``ns`` is a mean, flag `mean`; its interval is that of the mean of the runs
    where their number is known, else that of a single run, flag `uncounted`. ``declared`` (by default MobileNetV3 at
    widths 1.0 and 1.2) says the activations that rows leave out. Raises FileInvalid naming file and line, UsageInvalid
    for an origin that no header can hold.
    """
    path = Path(path)
    sources = [foreign.read(file) for file in _files(path)]
    known = tuple(declared) or tuple(spaces.load("mobilenet_v3", width=width) for width in (1.0, 1.2))
    cells = [cell for source in sources for cell in source.cells]
    pooled = any(cell.layer.role == "pool" for cell in cells)
    found: dict[str, list[Parts]] = defaultdict(list)
    for number, (op, parts) in enumerate(
        made for members in _groups(cells) for made in _ops(members, known, pooled=pooled)
    ):
        if number == MOST_OPS:
            raise errors.foreign_invalid(path, f"its rows combine to more than {MOST_OPS:,} ops")
        found[op.key].append(parts)
    if not found:
        raise errors.foreign_invalid(path, "its rows make no whole op: a stem needs its block 0, a head all its layers")
    session = _session(sources, found)
    return Lut(
        header=_header(origin, pooled=pooled),
        rows=tuple(_row(key, groups[-1], session["id"]) for key, groups in found.items()),
        sessions=(session,),
    ).sorted()


def _files(path: Path) -> list[Path]:
    """Return the files of a foreign table; raises FileInvalid where there are none, or far too many."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in {".yaml", ".yml", ".csv"})
    if not 0 < len(found) <= MOST_FILES:
        raise errors.foreign_invalid(path, f"the folder has {len(found):,} files of YAML or CSV; 1 to {MOST_FILES} fit")
    return found


def _groups(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Return the cells by group, that of the largest map last; raises FileInvalid where two files say the same row."""
    groups: dict[str, dict[str, Cell]] = defaultdict(dict)
    for cell in cells:
        before = groups[cell.group].setdefault(cell.key, cell)
        if before is not cell:
            why = f"{errors.quoted(cell.key)} of '{cell.group}' stands in '{before.path.name}', too"
            raise errors.foreign_line(cell.path, cell.line, why)
    found = [list(members.values()) for members in groups.values()]
    return sorted(found, key=lambda members: max(cell.layer.in_size for cell in members))


def _ops(cells: Iterable[Cell], known: Sequence[SearchSpace], *, pooled: bool) -> Iterable[tuple[Op, Parts]]:
    """Yield each op that the rows of one group make, and those rows."""
    by_role: Layers = defaultdict(list)
    for cell in cells:
        by_role[cell.layer.role].append(cell)
    for cell in by_role["block"]:
        if cell.layer.mid > cell.layer.in_channels:
            yield _mbconv(cell, known), (cell,)
    yield from _stems(by_role, known)
    yield from _heads(by_role, known, pooled=pooled)


def _mbconv(cell: Cell, known: Sequence[SearchSpace]) -> Op:
    """Return the op of a block; raises FileInvalid where nothing says its activation."""
    layer = cell.layer
    act = None if layer.h_swish is None else "hswish" if layer.h_swish else "relu"
    if act is None:
        widths = (layer.in_channels, layer.out_channels, layer.se)
        act = next((stage[1] for space in known for stage in _stages(space) if stage[0] == widths), None)
    if act is None:
        raise _act_unknown(cell)
    return Op(
        kind="mbconv",
        kernel=layer.kernel,
        stride=layer.stride,
        in_channels=layer.in_channels,
        in_size=layer.in_size,
        out_channels=layer.out_channels,
        mid=(layer.mid,),
        act=act,
        se=layer.se,
    )


def _stages(space: SearchSpace) -> Iterable[tuple[tuple[int, int, bool], str]]:
    """Yield for the first and the later blocks of each stage (input channels, output channels, SE) and activation."""
    before = space.stem.out_channels
    for stage in space.stages:
        for inputs in (*before, *stage.out_channels):
            yield from (((inputs, outputs, stage.se), stage.act) for outputs in stage.out_channels)
        before = stage.out_channels


def _stems(by_role: Layers, known: Sequence[SearchSpace]) -> Iterable[tuple[Op, Parts]]:
    """Yield the stems: a first convolution with the block 0 behind it, which expands nothing."""
    plain = [c for c in by_role["block"] if c.layer.mid == c.layer.in_channels and c.layer.stride == 1]
    for first in by_role["first"]:
        for block in plain:
            if (block.layer.in_size, block.layer.in_channels) != (first.layer.out_size, first.layer.out_channels):
                continue
            channels = first.layer.out_channels
            widths = (channels, block.layer.out_channels)
            stem = next((space.stem for space in known if widths in _stem_widths(space)), None)
            if stem is None or block.layer.kernel != 3 or block.layer.se:
                raise _act_unknown(first)
            op = Op(
                kind="stem",
                kernel=3,
                stride=stem.stride,
                in_channels=first.layer.in_channels,
                in_size=first.layer.in_size,
                out_channels=block.layer.out_channels,
                mid=(channels,),
                act=stem.act,
                block_act=stem.block_act,
            )
            if op.out_size != block.layer.out_size:
                why = f"stride {stem.stride} makes no map of {first.layer.out_size} px from one of {op.in_size} px"
                raise errors.foreign_line(first.path, first.line, why)
            yield op, (first, block)


def _stem_widths(space: SearchSpace) -> set[tuple[int, int]]:
    """Return the inner and output channels a stem of a space may have."""
    return set(itertools.product(space.stem.mid_channels, space.stem.out_channels))


def _heads(by_role: Layers, known: Sequence[SearchSpace], *, pooled: bool) -> Iterable[tuple[Op, Parts]]:
    """Yield the heads: a final expansion with each pooling, feature mix and classifier that fit behind it."""
    for expand in by_role["expand"]:
        mid, size = expand.layer.out_channels, expand.layer.out_size
        pools = [(c,) for c in by_role["pool"] if (c.layer.in_channels, c.layer.in_size) == (mid, size)]
        for pool in pools if pooled else [()]:
            for mix in (cell for cell in by_role["mix"] if cell.layer.in_channels == mid):
                for last in by_role["classifier"]:
                    if last.layer.in_channels != mix.layer.out_channels:
                        continue
                    act = next((space.head.act for space in known if space.head.expand_channels == mid), None)
                    if act is None:
                        raise _act_unknown(expand)
                    op = Op(
                        kind="head",
                        in_channels=expand.layer.in_channels,
                        in_size=expand.layer.in_size,
                        out_channels=last.layer.out_channels,
                        mid=(mid, mix.layer.out_channels),
                        act=act,
                    )
                    yield op, (expand, *pool, mix, last)


def _act_unknown(cell: Cell) -> Exception:
    """Say that neither a row nor a declared space tells a layer's activation."""
    why = f"nothing says the activation of {errors.quoted(cell.key)}: no declared space has such a layer"
    return errors.foreign_line(cell.path, cell.line, why, "name the search space the table was measured for")


def _row(key: str, parts: Parts, session: str) -> Row:
    """Return the row of an op: means add, and so do the squares of their standard errors."""
    mean_ms = _mean_ms(parts)
    half_ms = NORMAL_95 * math.sqrt(sum(part.std_ms**2 / (part.count or 1) for part in parts))
    ns = max(1, round(mean_ms * NANOSECONDS_PER_MS))
    return Row(
        key=key,
        state="-",
        status="noisy" if half_ms > NOISY_HALF_WIDTH * mean_ms else "ok",
        ns=ns,
        lo=min(ns, max(0, round((mean_ms - half_ms) * NANOSECONDS_PER_MS))),
        hi=max(ns, round((mean_ms + half_ms) * NANOSECONDS_PER_MS)),
        cpu_ns=None,
        wall_ns=None,
        rounds=1,
        flags=("mean",) if all(part.count for part in parts) else ("mean", "uncounted"),
        session=session,
    )


def _mean_ms(parts: Parts) -> float:
    """Return the time of an op, ms."""
    return sum(part.mean_ms for part in parts)


def _header(origin: Origin, *, pooled: bool) -> Header:
    """Return a header that says what is not known; raises UsageInvalid for an origin that no header can hold."""
    said = {"runtime": origin.runtime, "runtime_version": origin.runtime_version, "precision": origin.precision}
    not_said: list[JsonValue] = [*(name for name, value in said.items() if value == UNKNOWN), *NEVER_SAID]
    protocol: dict[str, JsonValue] = {
        "value": "mean over runs, summed over published rows; of several resolutions, the largest",
        "interval": "normal, 95 %, of the mean; of a single run where runs are not counted",
        "pooling_in_head": pooled,
    }
    facts = said | {
        "device": origin.device,
        "conditions": "imported",
        "environment": {"provenance": UNKNOWN, "source": origin.source, "not_said": not_said},
        "protocol": {"imported": protocol},
        "simulated": False,
        "created": origin.created,
    }
    try:
        return Header.model_validate(facts)
    except ValidationError as fault:
        raise errors.origin_invalid(fault) from fault


def _session(sources: Sequence[Source], found: Mapping[str, Sequence[Parts]]) -> dict[str, Any]:
    """Return the record of the import: its files, the source rows each op rests on, and those that make no op.

    ``repeats`` says of how many ops several groups know, and by how much (median, percent) others differ from the one
    taken. The id is that of the files, so that a table is not merged with another import of the same.
    """
    files = [{"name": source.name, "sha256": source.sha256, "rows": len(source.cells)} for source in sources]
    repeated = [groups for groups in found.values() if len(groups) > 1]
    apart = [abs(_mean_ms(one) / _mean_ms(groups[-1]) - 1) for groups in repeated for one in groups[:-1]]
    used = {cell.key for groups in found.values() for parts in groups for cell in parts}
    return {
        "id": f"imported-{sha256_bytes(canonical_json(sorted(s.sha256 for s in sources)).encode())[:12]}",
        "transport": "imported",
        "files": files,
        "rests_on": {
            key: {"group": groups[-1][0].group, "rows": [cell.key for cell in groups[-1]]}
            for key, groups in found.items()
        },
        "repeats": {"ops": len(repeated), "differ_pct": round(100 * median(apart), 3) if apart else None},
        "unused": sorted({cell.key for source in sources for cell in source.cells} - used),
    }
