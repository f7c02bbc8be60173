"""What will be measured: items and rounds on one device with one runtime, frozen, hashed, and written as a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import fields_invalid, file_invalid
from ofa.files import canonical_json, read_json, readable_json, sha256_bytes, write_atomic
from ofa.lut.diff import differing
from ofa.lut.markdown import short

SCHEMA = "plan/1"
MAX_BYTES = 64 << 20
MOST_NAMED = 3
# Networks of one elementwise node that every runtime's adapter has itself: on four floats, and on an image's.
LONGEST_SOAK_S = 7200
EMPTY = "empty"
IO = "io"
SESSION_KEY = "@session"
IO_KEY = "@io"

Word = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Key = Annotated[str, Field(min_length=1, max_length=400, pattern=r'^[^\s,"]+$')]
FileName = Annotated[str, Field(pattern=r"^([0-9a-f]{64}|empty|io)$")]
Hex = Annotated[str, Field(max_length=400, pattern=r"^([0-9a-f]{2})+$")]
State = Literal["hot", "cold"]
RuntimeName = Literal[
    "onnxruntime", "litert", "tflite_runtime", "torch", "benchmark_model", "ort_perf_test", "trtexec", "simulated"
]
# Programs that run one network in each process: none of them has a cold state, and they are slow at many small files.
NATIVE: tuple[RuntimeName, ...] = ("benchmark_model", "ort_perf_test", "trtexec")
Split = Literal["fit", "holdout", "verify"]
Unit = Literal["cpu", "gpu", "npu"]
Kernels = Literal["default", "builtin", "cuda", "tensorrt", "xnnpack", "nnapi", "qnn"]
Precision = Literal["fp32", "fp16", "int8"]
# Of a file: computing in fp16 is done with files of fp32, and of int8 there are two forms.
FilePrecision = Literal["fp32", "int8", "int8_symmetric"]
# Which cores a process is kept to: "usual" is what the device's profile says, settled once the device was asked.
Cores = Literal["usual", "big", "little", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a runtime is used: on which unit, with which of its kernels, in which precision, on how many threads, and on
    which of the device's cores.

    ``builtin`` are TFLite's own kernels without XNNPACK; ``cuda`` and ``tensorrt`` are those of onnxruntime on a GPU,
    ``xnnpack``, ``nnapi`` and ``qnn`` those of its program for phones.
    """

    unit: Unit = "cpu"
    kernels: Kernels = "default"
    precision: Precision = "fp32"
    threads: int = 1
    cores: Cores = "usual"

    @classmethod
    def of(cls, told: Any) -> Self:
        """Return it from what a plan or a request says of it; without a word on cores, all of them."""
        named = {name: getattr(told, name) for name in ("unit", "kernels", "precision", "threads")}
        return cls(**named, cores=told.cores or "all")

    def said(self) -> dict[str, Any]:
        """Return it as plans and requests name it: cores only where the process is kept to some of them."""
        pinned = {"cores": self.cores} if self.cores in ("big", "little") else {}
        named = {"unit": self.unit, "kernels": self.kernels, "precision": self.precision, "threads": self.threads}
        return named | pinned

    @property
    def file_precision(self) -> FilePrecision:
        """Return the precision of the files: a runtime that computes in fp16 does so with files of fp32, and TensorRT
        knows no zero points."""
        if self.precision == "int8":
            return "int8_symmetric" if self.kernels == "tensorrt" else "int8"
        return "fp32"


class Entry(BaseModel):
    """A part of the plan file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Rounds(Entry):
    """The protocol `rounds-3` and its parameters; every table made by it carries them.

    A round is a fresh process with a new order. Cold: ``cold_cycles`` cycles over all items, one timed call each. Hot:
    ``hot_bursts`` passes over all items, each a burst of ``warm_calls`` untimed and then ``burst_least`` to
    ``burst_most`` timed calls, as many as fill ``burst_us``. The reference network is timed every ``reference_every``
    items. Items of at most ``batch_files`` files and ``batch_bytes`` bytes are loaded at once.

    Canaries are timed before, between and after the states of a batch, by ``canary_calls`` or as many as fill
    ``canary_us``; a batch in which one moved by more than ``drift_most`` is discarded and begun anew, at most
    ``redo_most`` times. After the plan's rounds, those
    items whose interval is wider than ± ``half_width`` are measured on, up to ``rounds_most`` rounds. With ``soak_s``
    the device is worked that long before each round, and is measured as hot as it then is; without, it is let cool.
    """

    name: Literal["rounds-3"] = "rounds-3"
    warm_calls: Annotated[int, Field(ge=1, le=100)] = 2
    cold_cycles: Annotated[int, Field(ge=1, le=10000)] = 30
    hot_bursts: Annotated[int, Field(ge=1, le=1000)] = 4
    burst_least: Annotated[int, Field(ge=1, le=10000)] = 4
    burst_most: Annotated[int, Field(ge=1, le=10000)] = 16
    burst_us: Annotated[int, Field(ge=1, le=10**7)] = 600
    reference_every: Annotated[int, Field(ge=1, le=10000)] = 24
    canary_calls: Annotated[int, Field(ge=1, le=10000)] = 15
    canary_us: Annotated[int, Field(ge=0, le=10**7)] = 50_000
    drift_most: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.05
    redo_most: Annotated[int, Field(ge=0, le=100)] = 1
    half_width: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.01
    rounds_most: Annotated[int, Field(ge=1, le=1000)] = 15
    soak_s: Annotated[int, Field(ge=0, le=LONGEST_SOAK_S)] = 0
    batch_files: Annotated[int, Field(ge=1, le=20000)] = 250
    batch_bytes: Annotated[int, Field(ge=1)] = 256 << 20

    def for_agent(self, *, rested: bool) -> dict[str, int]:
        """Return the parameters the agent needs for a batch; ``rested``: the first of a round, before which it did."""
        names = ("warm_calls", "cold_cycles", "hot_bursts", "burst_least", "burst_most", "burst_us")
        soak_s = self.soak_s if rested else self.soak_s // 20
        return self.model_dump(include={*names, "reference_every", "canary_calls", "canary_us"}) | {"soak_s": soak_s}

    @property
    def regime(self) -> Literal["burst", "sustained"]:
        """Return how hot the device is measured."""
        return "sustained" if self.soak_s else "burst"


class Item(Entry):
    """One thing to measure in one state. A network also names its space, genome (hex) and part (fit, holdout,
    verify); company is an op that only keeps others as cold as they would be among many, and is in no table."""

    key: Key
    kind: Literal["op", "network", "overhead", "company"]
    state: State
    file: FileName
    size_bytes: Annotated[int, Field(ge=0)] = 0
    space: Word | None = None
    genome: Hex | None = None
    split: Split | None = None


class Reference(Entry):
    """The network every round is divided by."""

    key: Key
    file: FileName
    size_bytes: Annotated[int, Field(ge=0)] = 0


class Plan(Entry):
    """Everything that decides what a journal holds; two equal plans have the same hash.

    ``rounds_before`` is how many rounds of another plan the device was measured in before, where this one goes on.
    ``clock`` is there where values are to be of CPU time however quiet the device is: what completes a table is of its
    clock. That of wall time is not to be had by asking: it needs a quiet device.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_name: Literal["plan/1"] = Field(default="plan/1", alias="schema")
    device: Word
    runtime: RuntimeName
    unit: Unit = "cpu"
    kernels: Kernels = "default"
    precision: Precision = "fp32"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    cores: Literal["big", "little"] | None = None
    rounds: Annotated[int, Field(ge=1, le=1000)] = 5
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)]
    rounds_before: Annotated[int, Field(ge=1, le=1000)] | None = None
    clock: Literal["cpu_min_ns"] | None = None
    protocol: Rounds = Rounds()
    reference: Reference
    canaries: dict[Word, FileName] = Field(default_factory=dict)
    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=200_000, strict=False)]

    @model_validator(mode="after")
    def unique(self) -> Self:
        """Refuse a plan that measures one thing twice."""
        names = [(item.key, item.state) for item in self.items]
        if len(set(names)) != len(names):
            [(twice, _)] = Counter(names).most_common(1)
            raise ValueError(f"'{twice[0]}' {twice[1]} stands in the plan twice")
        return self

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the plan's canonical JSON."""
        return sha256_bytes(canonical_json(self.content()).encode())

    def content(self) -> dict[str, Any]:
        """Return the plan as the file holds it, less the hash; what is absent is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def batch_seed(self, number: int, place: int) -> int:
        """Return the seed the device shuffles one batch of one round with."""
        return int(np.random.default_rng([self.seed, number, place]).integers(2**31))

    @property
    def way(self) -> Way:
        """Return how the runtime is used."""
        return Way.of(self)

    @property
    def rounds_most(self) -> int:
        """Return how many rounds there can be: those of all items, and more for those that are not known well yet."""
        return max(self.rounds, self.protocol.rounds_most)

    def batches(self, number: int, items: Collection[int] | None = None) -> list[list[int]]:
        """Return the indexes of items (all, where not given) in one round's own shuffled order, in groups that are
        loaded together.

        The two states of a file share a group, so that each file is loaded once a round. Groups have equally many files
        with cold items, and equally many without: among few others a cold item would find its own data still in the
        caches, and its time would depend on the group it fell into.
        """
        rng = np.random.default_rng([self.seed, number])
        by_file: dict[str, list[int]] = {}
        for index in sorted(range(len(self.items)) if items is None else items):
            by_file.setdefault(self.items[index].file, []).append(index)
        files = list(by_file)
        shuffled = [files[place] for place in rng.permutation(len(files))]
        is_cold = {name: any(self.items[index].state == "cold" for index in by_file[name]) for name in shuffled}
        cold, hot = ([name for name in shuffled if is_cold[name] == wanted] for wanted in (True, False))
        groups = self._groups(cold, hot, {name: self.items[members[0]].size_bytes for name, members in by_file.items()})
        members = [[index for name in group for index in by_file[name]] for group in groups]
        return [[group[place] for place in rng.permutation(len(group))] for group in members]

    def _groups(self, cold: list[str], hot: list[str], size_bytes: dict[str, int]) -> list[list[str]]:
        """Divide files into as few equal groups as keep to the limits; a file beyond the limit is loaded alone."""
        files = len(cold) + len(hot)
        for count in range(-(-files // self.protocol.batch_files), files + 1):
            groups = [cold[place::count] + hot[count - 1 - place :: count] for place in range(count)]
            if all(
                len(group) <= self.protocol.batch_files
                and (len(group) == 1 or sum(map(size_bytes.__getitem__, group)) <= self.protocol.batch_bytes)
                for group in groups
            ):
                return groups
        return [[name] for name in [*cold, *hot]]


def unlike(there: Plan, here: Plan) -> str:
    """Return in words the first fields in which a plan differs from another one; items are counted, not listed."""
    there_said, here_said = (plan.content() | {"items": len(plan.items)} for plan in (there, here))
    found = [
        f"{entry['path']}: {short(entry.get('a', 'none'))} there, {short(entry.get('b', 'none'))} here"
        # What a person chose stands outermost, such as the rounds; the protocol has what follows from it.
        for entry in sorted(differing(there_said, here_said), key=lambda entry: str(entry["path"]).count("."))
    ]
    if not found:
        return "its items are others"
    more = len(found) - MOST_NAMED
    return "; ".join(found[:MOST_NAMED]) + (f"; and {more:,} more" if more > 0 else "")


def write(plan: Plan, path: Path) -> None:
    """Write the plan with its hash."""
    write_atomic(path, readable_json({**plan.content(), "hash": plan.hash}))


def read(path: Path) -> Plan:
    """Read a plan; raises FileInvalid where it is damaged, of another schema, too large, or not what its hash says."""
    content = read_json(path, max_bytes=MAX_BYTES, what="plan")
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise file_invalid("plan", path, f"its schema is {found!r}, this version reads '{SCHEMA}'")
    return validate(content, path)


def validate(content: dict[str, Any], path: Path) -> Plan:
    """Return the plan that JSON content describes; raises FileInvalid naming the field that is wrong."""
    stated = content.pop("hash", None)
    try:
        plan = Plan.model_validate(content)
    except ValidationError as fault:
        known = {name for part in (Plan, Item, Rounds, Reference) for name in part.model_fields}
        raise fields_invalid("plan", path, fault, known) from fault
    if stated != plan.hash:
        why = f"its content has hash {plan.hash[:12]}…, it states {str(stated)[:12]}…"
        raise file_invalid("plan", path, why, "make the plan again: a plan is not edited by hand")
    return plan
