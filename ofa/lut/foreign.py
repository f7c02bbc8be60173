"""Rows of foreign tables: the text of YAML and CSV files as layers with a mean time, and nothing believed unread.

PyYAML would be a dependency for a file of two levels, and its loaders accept far more than such a table can hold; so
the shape is read line by line, and every message names file and line.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ofa.files import MEBIBYTE, read_capped, sha256_bytes
from ofa.lut import errors

Role = Literal["first", "block", "expand", "pool", "mix", "classifier"]

MOST_BYTES = 4 * MEBIBYTE
MOST_CHANNELS = 999_999
# What the layers are called in the tables of Once-for-All and CompOFA, and in those of NSGANetV2.
ROLES: dict[str, Role] = {
    "Conv": "first",
    "first_conv": "first",
    "expanded_conv": "block",
    "MBConv": "block",
    "Conv_1": "expand",
    "final_expand_layer": "expand",
    "AvgPool2D": "pool",
    "Conv_2": "mix",
    "feature_mix_layer": "mix",
    "Logits": "classifier",
    "classifier": "classifier",
}
# In these blocks `expand` is the ratio; in the others it is the number of inner channels.
EXPAND_IS_RATIO = frozenset({"MBConv"})
STATISTICS = ("count", "mean", "std", "var")

_MAP = r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}x[1-9][0-9]{0,5}|[1-9][0-9]{0,5}"
_KEY = re.compile(
    rf"(?P<layer>[A-Za-z][A-Za-z0-9_]*)-input:(?P<input>{_MAP})-output:(?P<output>{_MAP})"
    r"(?:-expand:(?P<expand>[1-9][0-9]{0,5})-kernel:(?P<kernel>[1-9][0-9]?)-stride:(?P<stride>[1-9])"
    r"-idskip:(?P<idskip>[01])-se:(?P<se>[01])(?:-hs:(?P<hs>[01]))?)?"
)
_VALUE = re.compile(rf"[ \t]+({'|'.join(STATISTICS)}):[ \t]+(\S+)[ \t]*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_RESOLUTION = re.compile(r"[1-9][0-9]{0,4}")
# Columns of a re-tabled file that repeat what its key says.
REPEATED = ("layer", "input", "output", "expand", "kernel", "stride", "idskip", "se", "hs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What a key says. Sizes are edges of square maps, px; ``mid`` is inner channels, ``h_swish`` None where unsaid."""

    name: str
    role: Role
    in_size: int
    in_channels: int
    out_size: int
    out_channels: int
    mid: int = 0
    kernel: int = 1
    stride: int = 1
    shortcut: bool = False
    se: bool = False
    h_swish: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One row: a layer and its time, ms. ``std_ms`` is over single runs; ``count`` is their number, None where unsaid.

    ``group`` names what was measured together: a file, or a resolution of one.
    """

    key: str
    group: str
    line: int
    path: Path
    layer: Layer
    mean_ms: float
    std_ms: float
    count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file that was read: its name, the SHA-256 of its bytes, and its rows."""

    name: str
    sha256: str
    cells: tuple[Cell, ...]


def read(path: Path) -> Source:
    """Read a YAML file (`key:`, below it `mean`, `std` or `var`, `count`) or a CSV file of at most 4 MiB; times in ms.

    Raises FileInvalid naming the line for what is malformed, not finite, not above zero, contradictory or there twice.
    """
    raw = read_capped(path, max_bytes=MOST_BYTES, what="foreign table")
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise errors.foreign_line(path, line, f"byte 0x{raw[fault.start]:02x} is no ASCII text") from fault
    cells = _csv(text, path) if path.suffix.lower() == ".csv" else _yaml(text, path)
    if not cells:
        raise errors.foreign_invalid(path, "it has no rows")
    first: dict[tuple[str, str], int] = {}
    for cell in cells:
        before = first.setdefault((cell.group, cell.key), cell.line)
        if before != cell.line:
            raise errors.foreign_line(path, cell.line, f"{errors.quoted(cell.key)} stands in line {before:,}, too")
    return Source(name=path.name, sha256=sha256_bytes(raw), cells=tuple(cells))


def _yaml(text: str, path: Path) -> list[Cell]:
    """Read keys at the margin with indented numbers below each."""
    cells: list[Cell] = []
    key, at, values = "", 0, dict[str, float]()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] not in " \t" and line.rstrip().endswith(":"):
            if key:
                cells.append(_cell(key, values, path.stem, path, at))
            key, at, values = line.rstrip()[:-1], number, {}
            continue
        found = _VALUE.fullmatch(line)
        if found is None or not key:
            why = "is neither 'key:' at the margin nor one of " + ", ".join(STATISTICS) + " below one"
            raise errors.foreign_line(path, number, f"{errors.quoted(line)} {why}")
        if found[1] in values:
            raise errors.foreign_line(path, number, f"'{found[1]}' stands twice below one key")
        values[found[1]] = _number(found[1], found[2], path, number)
    if key:
        cells.append(_cell(key, values, path.stem, path, at))
    return cells


def _csv(text: str, path: Path) -> list[Cell]:
    """Read a table with a column `key`; a column `resolution` says what was measured together."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(reader, [])
        missing = [name for name in ("key", "mean_ms") if name not in columns]
        if missing or len(set(columns)) < len(columns):
            why = f"column '{missing[0]}' is missing" if missing else "a column stands twice"
            raise errors.foreign_line(path, 1, why)
        cells = []
        for fields in reader:
            if len(fields) != len(columns):
                why = f"it has {len(fields)} fields; there are {len(columns)} columns"
                raise errors.foreign_line(path, reader.line_num, why)
            said = {name: field for name, field in zip(columns, fields, strict=True) if field}
            _agree(said, path, reader.line_num)
            values = {
                name: _number(name, said[column], path, reader.line_num)
                for name, column in _COLUMNS.items()
                if column in said
            }
            group = said.get("resolution", path.stem)
            if "resolution" in said and not _RESOLUTION.fullmatch(group):
                raise errors.foreign_line(path, reader.line_num, f"resolution is {errors.quoted(group)}")
            cells.append(_cell(said.get("key", ""), values, group, path, reader.line_num))
        return cells
    except csv.Error as fault:
        raise errors.foreign_line(path, reader.line_num, str(fault)) from fault


_COLUMNS = {"count": "count", "mean": "mean_ms", "std": "std_ms", "var": "var"}


def _agree(said: dict[str, str], path: Path, line: int) -> None:
    """Raise FileInvalid where a column does not say what the key says."""
    found = _KEY.fullmatch(said.get("key", ""))
    for name in REPEATED:
        if found is not None and said.get(name, found[name]) != found[name]:
            why = f"column '{name}' is {errors.quoted(said[name])}, and the key says {errors.quoted(found[name] or '')}"
            raise errors.foreign_line(path, line, why)


def _cell(key: str, numbers: dict[str, float], group: str, path: Path, line: int) -> Cell:
    """Return the row of a key and its statistics; raises FileInvalid."""
    if "mean" not in numbers or not {"std", "var"} & set(numbers):
        raise errors.foreign_line(path, line, "a row needs its 'mean', and 'std' or 'var'")
    if numbers["mean"] <= 0:
        raise errors.foreign_line(path, line, "mean is 0; a time is above 0")
    count = numbers.get("count")
    if count is not None and (count < 1 or count != int(count)):
        raise errors.foreign_line(path, line, f"count is {count:g}; it must be a whole number from 1")
    return Cell(
        key=key,
        group=group,
        line=line,
        path=path,
        layer=_layer(key, path, line),
        mean_ms=numbers["mean"],
        std_ms=numbers["std"] if "std" in numbers else math.sqrt(numbers["var"]),
        count=None if count is None else int(count),
    )


def _number(name: str, text: str, path: Path, line: int) -> float:
    """Return a statistic; raises FileInvalid for what is no plain number of zero or more."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not 0 <= value < 1e9:
        raise errors.foreign_line(path, line, f"{name} is {errors.quoted(text)}; it must be a number from 0 to 1e9")
    return value


def _layer(key: str, path: Path, line: int) -> Layer:
    """Return what a key says; raises FileInvalid for a key of another form or one that contradicts itself."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise errors.foreign_line(
            path, line, f"{errors.quoted(key)} is no key of the form 'layer-input:HxWxC-output:…'"
        )
    role = ROLES.get(found["layer"])
    if role is None or (role == "block") != (found["expand"] is not None):
        why = "has no expand, kernel and stride, or has them and should not" if role else "is no layer of such tables"
        raise errors.foreign_line(path, line, f"{errors.quoted(found['layer'])} {why}")
    in_size, in_channels = _map(found["input"], path, line)
    out_size, out_channels = _map(found["output"], path, line)
    layer = Layer(
        name=found["layer"],
        role=role,
        in_size=in_size,
        in_channels=in_channels,
        out_size=out_size,
        out_channels=out_channels,
    )
    if role != "block":
        return layer
    expand, stride = int(found["expand"]), int(found["stride"])
    layer = replace(
        layer,
        mid=expand * in_channels if found["layer"] in EXPAND_IS_RATIO else expand,
        kernel=int(found["kernel"]),
        stride=stride,
        shortcut=found["idskip"] == "1",
        se=found["se"] == "1",
        h_swish=None if found["hs"] is None else found["hs"] == "1",
    )
    if out_size != -(-in_size // stride):
        raise errors.foreign_line(path, line, f"stride {stride} makes no map of {out_size} px from one of {in_size} px")
    if layer.mid > MOST_CHANNELS:
        raise errors.foreign_line(path, line, f"{layer.mid:,} inner channels; {MOST_CHANNELS:,} are the most")
    if layer.shortcut != (stride == 1 and in_channels == out_channels) or layer.kernel % 2 == 0:
        why = f"a block with kernel {layer.kernel}, idskip {found['idskip']} and stride {stride} is none of our ops"
        raise errors.foreign_line(path, line, why)
    return layer


def _map(text: str, path: Path, line: int) -> tuple[int, int]:
    """Return edge (px) and channels of `HxWxC` or of bare channels; raises FileInvalid for a map that is no square."""
    height, width, channels = (int(part) for part in (text if "x" in text else f"1x1x{text}").split("x"))
    if height != width:
        raise errors.foreign_line(path, line, f"map '{text}' is not square")
    return height, channels
