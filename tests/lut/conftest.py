"""A table with rows of every kind, made of real ops and real networks, and ways to spoil its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.errors import FileInvalid
from ofa.files import sha256_bytes
from ofa.lut import format
from ofa.lut.format import Header, Lut, NetworkRow, Row
from ofa.space import sample
from ofa.space.core import Subnet
from ofa.space.ops import Op, ops_of

Change = Callable[[str], str | bytes]
Spoil = Callable[..., Path]
Refused = Callable[..., FileInvalid]

PARTS = ("lut.json", "ops.csv", "networks.csv", "sessions.jsonl")


def rows_of_table() -> tuple[Row, ...]:
    """Return rows of every status and state, in no order: ops of all kinds, an overhead, flags."""
    tiny = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    ops = {*ops_of(tiny.corner("max")), *ops_of(spaces.load("resnet50").corner("max"))}
    keys = [op.key for op in sorted(ops, key=lambda op: (op.macs, op.key))]
    rows = [
        Row(key, state, "ok", 1000 * place + 7, 1000 * place, 1000 * place + 90, 900, 1100, 31, (), "s1")
        for place, key in enumerate(keys, 1)
        for state in ("hot", "cold")
    ]
    rows[0] = rows[0]._replace(status="noisy", flags=("drift", "wide"))
    rows[1] = rows[1]._replace(status="modelled", cpu_ns=None, wall_ns=None, rounds=0, session="")
    rows[2] = rows[2]._replace(
        status="unsupported", ns=None, lo=None, hi=None, cpu_ns=None, wall_ns=None, rounds=0, session=""
    )
    rows[3] = rows[3]._replace(
        status="failed", ns=None, lo=None, hi=None, cpu_ns=None, wall_ns=None, rounds=0, session="s2"
    )
    rows[4] = rows[4]._replace(status="thermal", flags=("hot",))
    rows[5] = rows[5]._replace(status="thermal", ns=None, lo=None, hi=None, rounds=0)
    return (*rows, Row("@session", "-", "ok", 52_000, 50_000, 55_000, None, 52_000, 31, (), "s1"))


def network_row(subnet: Subnet, **facts: Any) -> NetworkRow:
    """Return the row of a measured network."""
    row = NetworkRow(
        subnet.space.id, subnet.id, bytes(subnet.genome).hex(), "fit", "ok", 600, 500, 700, 550, 650, 31, (), "s1"
    )
    return row._replace(**facts)


def parts_of(op: Op, *, ratio: bool = False) -> list[str]:
    """Return the keys of the foreign rows an op is the sum of; with ``ratio`` as NSGANetV2 writes them."""
    size, out = f"{op.in_size}x{op.in_size}", f"{op.out_size}x{op.out_size}"
    if op.kind == "stem":
        block = Op(
            kind="mbconv", kernel=3, in_channels=op.mid[0], in_size=op.out_size, out_channels=op.out_channels,
            mid=op.mid, act="relu",
        )  # fmt: skip
        first = "first_conv" if ratio else "Conv"
        return [f"{first}-input:{size}x{op.in_channels}-output:{out}x{op.mid[0]}", *parts_of(block, ratio=ratio)]
    if op.kind == "head":
        mid, mix = op.mid
        names = ("final_expand_layer", "feature_mix_layer", "classifier") if ratio else ("Conv_1", "Conv_2", "Logits")
        pool = [] if ratio else [f"AvgPool2D-input:{size}x{mid}-output:1x1x{mid}"]
        return [
            f"{names[0]}-input:{size}x{op.in_channels}-output:{size}x{mid}", *pool,
            f"{names[1]}-input:1x1x{mid}-output:1x1x{mix}", f"{names[2]}-input:{mix}-output:{op.out_channels}",
        ]  # fmt: skip
    expand = op.mid[0] // op.in_channels if ratio else op.mid[0]
    shortcut = int(op.stride == 1 and op.in_channels == op.out_channels)
    return [
        f"{'MBConv' if ratio else 'expanded_conv'}-input:{size}x{op.in_channels}-output:{out}x{op.out_channels}"
        f"-expand:{expand}-kernel:{op.kernel}-stride:{op.stride}-idskip:{shortcut}-se:{int(op.se)}"
        + ("" if ratio else f"-hs:{int(op.act == 'hswish')}")
    ]


def means_of(subnet: Subnet, *, ratio: bool = False, factor: float = 1.0) -> dict[str, float]:
    """Return a made-up mean, ms, for each foreign row that a subnet needs."""
    keys = dict.fromkeys(key for op in ops_of(subnet) for key in parts_of(op, ratio=ratio))
    return {key: factor * (0.1 + place / 64) for place, key in enumerate(keys)}


def yaml(means: Mapping[str, float]) -> str:
    """Return rows as Once-for-All writes them."""
    return "".join(f"{key}:\n  count: 100\n  mean: {ms}\n  std: {ms / 50}\n" for key, ms in means.items())


@pytest.fixture(scope="session")
def table() -> Lut:
    """Return a whole table in no particular order."""
    tiny = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    subnets = [tiny.subnet(genome) for genome in sample.random(tiny, 6, np.random.default_rng(0))]
    networks = [network_row(subnet) for subnet in subnets]
    networks[1] = networks[1]._replace(split="holdout", init_ns=5, first_ns=6, file_bytes=123_456)
    networks[2] = networks[2]._replace(split="verify", status="noisy", flags=("wide",), session="s2")
    networks.append(network_row(spaces.load("mobilenet_v3").corner("k7e6d2", 160)))
    return Lut(
        header=Header(
            device="pixel-8",
            runtime="litert",
            runtime_version="2.1.0",
            precision="fp32",
            conditions="xnnpack-1t",
            environment={"threads": 1, "delegate": "xnnpack", "board": "шиба 8", "nested": {"b": [1, 2.5], "a": None}},
            protocol={"rounds": 31},
            units=2,
            simulated=False,
            created="2026-02-28",
        ),
        rows=rows_of_table(),
        networks=tuple(networks),
        sessions=({"id": "s2", "transport": "adb", "unit": "ünit"}, {"id": "s1", "transport": "adb", "warm_s": 1.5}),
    )


@pytest.fixture
def saved(table: Lut, tmp_path: Path) -> Path:
    """Return the folder of the table; its files are put there directly, because the writer waits for the disk."""
    folder = tmp_path / "table"
    folder.mkdir()
    for part, raw in format.render(table.sorted()).items():
        (folder / part).write_bytes(raw)
    return folder


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def seal(folder: Path) -> None:
    """Make the header name the other files as they are, so that only what they say can be wrong."""
    path = folder / "lut.json"
    header = json.loads(path.read_text())
    for part, count in zip(PARTS[1:], ("ops", "networks", "sessions"), strict=True):
        raw = (folder / part).read_bytes()
        header["sha256"][part] = sha256_bytes(raw)
        header["counts"][count] = max(0, raw.count(b"\n") - (part != "sessions.jsonl"))
    path.write_text(json.dumps(header))


@pytest.fixture
def spoil(saved: Path) -> Spoil:
    """Return a function that changes the text of one file of the table; the header vouches for it where sealed."""

    def change_file(part: str, change: Change, *, sealed: bool = True) -> Path:
        path = saved / part
        before = path.read_bytes()
        after = change(before.decode())
        path.write_bytes(after.encode() if isinstance(after, str) else after)
        assert path.read_bytes() != before, "nothing was changed"
        if sealed and part != "lut.json":
            seal(saved)
        return saved

    return change_file


@pytest.fixture
def refused() -> Refused:
    """Return a function that runs a reader and returns its FileInvalid, having checked what every one must have."""

    def run(read: Callable[[Path], object], folder: Path, *, names: Path | str) -> FileInvalid:
        before = snapshot(folder) if folder.is_dir() else {}
        with pytest.raises(FileInvalid) as caught:
            read(folder)
        fault = caught.value
        assert fault.exit_code == 3
        assert fault.what and fault.why and fault.hints and all(fault.hints)
        assert str(names) in fault.what, fault.what
        assert "\n" not in fault.what + fault.why and len(fault.why) < 700
        assert before == (snapshot(folder) if folder.is_dir() else {}), "reading changed a file"
        return fault

    return run
