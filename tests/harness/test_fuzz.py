"""A little of the fuzzing that `benchmarks/fuzz.py` does at length: no reader crashes, hangs or unpickles."""

from __future__ import annotations

import importlib
import io
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
QUICK = {"answers": 400, "conversations": 60, "tables": 40}
SLOW = {"requests": 1500, "journals on the device": 400, "journals here": 60, "answers": 4000, "tables": 300}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return what imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.mark.parametrize("reader", list(QUICK))
def test_damaged_inputs_are_refused_in_documented_ways(
    reader: str, module: Callable[[str], Any], tmp_path: Path
) -> None:
    found = module("fuzz").fuzzed(reader, QUICK[reader], 1, tmp_path).facts()
    assert found["faults"] == [] and found["crashed"] == found["hung"] == found["unpickled"] == 0
    assert found["inputs"] == QUICK[reader] and found["refused"]


@pytest.mark.slow
@pytest.mark.parametrize("reader", list(SLOW))
def test_many_damaged_inputs_are_refused_in_documented_ways(
    reader: str, module: Callable[[str], Any], tmp_path: Path
) -> None:
    found = module("fuzz").fuzzed(reader, SLOW[reader], 2, tmp_path).facts()
    assert found["faults"] == [] and found["crashed"] == found["hung"] == found["unpickled"] == 0
    # Of one of the two a reader that takes everything, or a seed that nothing takes, would have none.
    assert found["accepted"] and (found["refused"] or reader == "journals on the device")


def test_what_must_not_be_is_seen(module: Callable[[str], Any]) -> None:
    guard = module("guard")
    tally = guard.Tally()
    with guard.poisoned() as poison:
        for deed in (lambda: pickle.loads(b"N."), lambda: pickle.load(io.BytesIO(b"N.")), lambda: 1 // 0):
            with guard.alone_within(tally, "an input"):
                deed()
        with guard.alone_within(tally, "a long one", most_s=0.05):
            time.sleep(5)
    found = tally.facts()
    assert (found["crashed"], found["hung"], found["inputs"], poison.calls) == (3, 1, 4, 2)
    assert "ZeroDivisionError" in found["faults"][2] and "an input" in found["faults"][2]
    assert pickle.loads(pickle.dumps([1])) == [1], "the poison is taken out again"


def test_the_same_seed_gives_the_same_inputs(module: Callable[[str], Any]) -> None:
    import random

    damaged = module("damage").damaged
    one, other = (
        [damaged(random.Random(seed), b'{"a":[1,2,{"b":"c"}]}', [b"x,y\n"]) for seed in range(200)] for _ in range(2)
    )
    assert one == other and len(set(one)) > 150


def test_every_kind_of_answer_is_a_seed(module: Callable[[str], Any]) -> None:
    from harness.protocol import parse

    seeds = module("fuzz_seeds").ANSWERS
    for seed in seeds:
        assert parse(json.dumps(seed).encode()).ev == seed["ev"]
    source = "".join((ROOT / "harness" / name).read_text() for name in ("protocol.py", "answers.py"))
    assert {seed["ev"] for seed in seeds} == {
        line.split('"')[1] for line in source.splitlines() if line.strip().startswith('ev: Literal["')
    }


@pytest.mark.parametrize(
    "state",
    [
        '{"a":1e999}',
        '{"a":"\\ud800"}',
        '{"\\udfff":1}',
        '{"a":' + "[" * 25 + "]" * 25 + "}",
        '{"a":1' + "0" * 400 + "}",
    ],
    ids=["infinite", "half a character", "half a character in a name", "deep", "huge"],
)
def test_what_could_not_be_kept_is_refused_when_it_is_said(state: str) -> None:
    from harness.protocol import parse

    with pytest.raises(ValueError, match="state"):
        parse(f'{{"id":1,"ev":"rested","state":{state}}}'.encode())
